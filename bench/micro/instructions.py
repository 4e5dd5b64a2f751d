"""Instructions per message of esg_parser, counted by callgrind and compared with the figures that were recorded.

Two runs differ by well below 1 %, whatever else the machine does, so they show what the clock cannot: a few percent.
Each figure is the difference of two runs, of few and of many messages, so that what comes once cancels out. The loop
round the parser is in C and no Python code runs in it; its own share is a few hundred instructions for each read.

Run: python -m bench.micro.instructions --help
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import deque
from collections.abc import Iterable, Sequence
from importlib import metadata
from itertools import chain, repeat
from pathlib import Path

from esg_parser import END, RequestParser

from bench.arguments import RESULTS, log, refuse
from bench.load.report import row
from bench.load.servers import installed
from bench.micro.parsers.inputs import INPUTS, Input

PROGRAM = "python -m bench.micro.instructions"
RECORDED = RESULTS / "instructions.json"
ROOT = Path(__file__).parents[2]
GROWTH = 0.05  # more than this, and --check fails
FEW, MANY = 50, 550
# A copy by one instruction that runs for as long as the copy does would count as one: have glibc copy in steps.
COPY_IN_STEPS = "glibc.cpu.hwcaps=-ERMS,-FSRM:glibc.cpu.x86_non_temporal_threshold=0x4000000"

Figures = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.drive is not None:
        _drive(INPUTS[options.drive[0]], options.drive[1])
        return 0
    if shutil.which("valgrind") is None:
        return refuse("valgrind is not installed (Debian and Ubuntu: apt install valgrind).")
    key = _key()
    recorded = _read().get(key)
    figures = {given.name: _per_message(at) for at, given in enumerate(INPUTS)}
    print(f"{key}\n\n{_table(figures, recorded)}\n")
    if options.record:
        _record(key, figures)
        return 0
    return _judge(key, figures, recorded, options.check)


def _judge(key: str, figures: Figures, recorded: Figures | None, check: bool) -> int:
    if recorded is None:
        log(f"!!! NOTHING WAS COMPARED: there are no figures for {key}; --record writes them")
        return 0
    grown = [name for name, figure in figures.items() if _growth(figure, recorded.get(name)) > GROWTH]
    for name in figures.keys() - recorded.keys():
        log(f"!!! NOT COMPARED: {name} has no recorded figure")
    for name in grown:
        log(f"GREW by {_growth(figures[name], recorded[name]):.1%}, more than {GROWTH:.0%}: {name}")
    return int(check and bool(grown))


def _growth(figure: float, before: float | None) -> float:
    return 0.0 if before is None else figure / before - 1


def _table(figures: Figures, recorded: Figures | None) -> str:
    lines = [row(("input", "instructions/message", "recorded", "change")), row(("---", "---:", "---:", "---:"))]
    for name, figure in figures.items():
        before = (recorded or {}).get(name)
        compared = ("-", "-") if before is None else (f"{before:,.0f}", f"{_growth(figure, before):+.1%}")
        lines.append(row((name, f"{figure:,.0f}", *compared)))
    return "\n".join(lines)


# -- The record


def _key() -> str:
    """What else than our own code makes the figures what they are."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    version = subprocess.run([compiler, "-dumpfullversion", "-dumpversion"], check=True, capture_output=True, text=True)
    flags = " ".join(re.findall(r"-O\S+|-D\S+|-fwrapv|-fno-\S+", sysconfig.get_config_var("PY_CFLAGS") or ""))
    python = f"{installed(sys.executable)['python']}, {flags}"
    return f"{platform.machine()}; {python}; gcc {version.stdout.strip()}; Cython {metadata.version('Cython')}"


def _read() -> dict[str, Figures]:
    figures: dict[str, Figures] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    return figures


def _record(key: str, figures: Figures) -> None:
    rounded = {name: round(figure) for name, figure in figures.items()}
    RECORDED.write_text(json.dumps({**_read(), key: rounded}, indent=2, sort_keys=True) + "\n")
    log(f"recorded in bench/results/{RECORDED.name}")


# -- Counting


def _per_message(at: int) -> float:
    _run([], at, FEW)  # writes what Python keeps of its modules, and fails in plain sight if it fails
    with tempfile.TemporaryDirectory() as folder:
        few, many = (_instructions(Path(folder, str(count)), at, count) for count in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def _instructions(output: Path, at: int, count: int) -> int:
    _run(["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={output}"], at, count)
    found = re.search(r"^totals: (\d+)", output.read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def _run(tool: Iterable[str], at: int, count: int) -> None:
    # Nothing else of the environment: it could change what Python does.
    environment = {"PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1", "PATH": os.defpath, "GLIBC_TUNABLES": COPY_IN_STEPS}
    command = [*tool, sys.executable, "-m", "bench.micro.instructions", "--drive", str(at), str(count)]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)


def _drive(given: Input, messages: int) -> None:
    """Have a parser parse the input so often, and make sure that it does."""
    feed = RequestParser().feed
    last = deque(map(feed, chain.from_iterable(repeat(given.reads, messages))), maxlen=1)
    if last[0][-1] is not END:
        raise SystemExit(f"{given.name} was not parsed to its end")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Instructions per message of esg_parser.")
    add = parser.add_argument
    add("--record", action="store_true", help="write the figures to bench/results/instructions.json")
    add("--check", action="store_true", help=f"exit with 1 when a figure grew by more than {GROWTH * 100:g} %%")
    add("--drive", nargs=2, type=int, metavar=("INPUT", "N"), help="parse an input N times; what callgrind runs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
