"""Fuzz esg-parser: build it with sanitizers into .cache/fuzz and try inputs until something breaks.

With clang libFuzzer chooses the inputs by the coverage they reach, and keeps those that reached more; without it they
are the cases with bytes changed by chance.

The input that broke something is kept in a file, for ``--input``, and printed as cases/*.md writes bytes: make it
shorter, and put it there as a case when it is mended. If only h11 makes something else of it, and we are right, that
belongs into ``KNOWN`` of h11_peer.py, with its reason.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from ..random_messages import RESPONSE_BYTES, SEEDS
from .build import CACHE, PACKAGE, Build, Compiler, Missing, build, find_clang, find_gcc
from .targets import TARGETS, seeds

LONGEST = 512
TOKEN = re.compile(rb"[A-Za-z][A-Za-z0-9-]+|\r\n|[^A-Za-z0-9]")


def dictionary() -> str:
    """The words and marks of all cases, as libFuzzer wants them written."""
    tokens = sorted({token for raw in SEEDS + RESPONSE_BYTES for token in TOKEN.findall(raw)})
    return "".join('"{}"\n'.format("".join(f"\\x{byte:02x}" for byte in token)) for token in tokens)


def write_corpus(target: str) -> Path:
    """The seeds as files, beside what earlier runs have found."""
    folder = CACHE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (folder / f"seed-{number:04}").write_bytes(seed)
    return folder


def arguments_for_libfuzzer(target: str, options: argparse.Namespace) -> list[str]:
    words = CACHE / "words.dict"
    words.write_text(dictionary(), encoding="ascii")
    found = CACHE / f"found-{target}-"
    arguments = [f"-max_len={LONGEST}", f"-dict={words}", f"-artifact_prefix={found}", "-print_final_stats=1"]
    arguments += [f"-seed={options.seed}", "-timeout=300", "-rss_limit_mb=4096"]
    if options.executions >= 0:
        arguments.append(f"-runs={options.executions}")
    if options.seconds:
        arguments.append(f"-max_total_time={options.seconds:.0f}")
    return [*arguments, str(write_corpus(target))]


def fuzz(target: str, built: Build, options: argparse.Namespace) -> int:
    command = [sys.executable, "-m", "tests.fuzz.run", target]
    if options.input:
        command += ["--input", str(options.input.resolve())]
    elif built.library:
        command += ["--libfuzzer", str(built.library), *arguments_for_libfuzzer(target, options)]
    else:
        command += ["--executions", str(options.executions), "--seconds", str(options.seconds)]
        command += ["--seed", str(options.seed), "--keep", str(CACHE / f"found-{target}")]
    return subprocess.call(command, cwd=PACKAGE, env=built.environment)


def find_compiler(name: str) -> Compiler:
    if name == "gcc":
        return find_gcc()
    try:
        return find_clang()
    except Missing as missing:
        if name == "clang":
            raise
        print(f"without coverage, because there is {missing}", file=sys.stderr, flush=True)
        return find_gcc()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", choices=TARGETS, action="append", help="which; all without it, one after the other")
    parser.add_argument("--executions", type=int, default=-1, metavar="N", help="of each target; without end if -1")
    parser.add_argument("--seconds", type=float, default=0, metavar="N", help="for each target; without end if 0")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--compiler", choices=["clang", "gcc"], help="clang if it is here, gcc if not")
    parser.add_argument("--input", type=Path, metavar="FILE", help="try this one alone, as found by an earlier run")
    options = parser.parse_args()
    if options.executions < 0 and not options.seconds and not options.input and len(options.target or TARGETS) > 1:
        parser.error("name one target, or --executions or --seconds")
    try:
        built = build(find_compiler(options.compiler or "any"))
    except Missing as missing:
        sys.exit(f"cannot fuzz: {missing}")
    for target in options.target or TARGETS:
        if fuzz(target, built, options):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
