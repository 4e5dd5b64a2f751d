"""How long a server takes from its command line to its first answer: ``python -m bench.load.start --help``.

Every round starts each server once, alone, and asks for one hello world until it comes: time by the clock, and CPU time
of the process and its children up to then. A parent of workers is then left alone for ten seconds, to see what it
costs when nothing happens, in CPU time and memory.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from bench.arguments import add_outcome, add_peer_python, finish, log, names, refuse, whole

from . import cputime
from .process import HOST, InvalidRun, ServerProcess
from .report import about, row
from .servers import SERVERS, Launch, Server, installed, pythons, versions
from .workloads import WORKLOADS, Goal

PROGRAM = "python -m bench.load.start"
HELLO = WORKLOADS["hello"]
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
DEFAULT = ("esg", "uvicorn", "peregrine")
GOAL = Goal("esg", "uvicorn", 1.0)
PATIENCE = 20.0
POLL = 0.001
# Of a parent of workers, while nothing happens.
IDLE_SECONDS = 10.0
MOST_MEMORY = 30 * 10**6


@dataclass
class Found:
    """Seconds of each start, by the clock and of CPU."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Parent:
    """A parent of two workers, over ``IDLE_SECONDS``."""

    cpu: float
    memory: int

    @property
    def word(self) -> str:
        return "PASS" if self.cpu == 0 and self.memory < MOST_MEMORY else "MISS"

    def __str__(self) -> str:
        used = f"{self.cpu * 1000:.0f} ms of CPU in {IDLE_SECONDS:g} s, {self.memory / 1e6:.1f} MB"
        return f"{self.word} an idle parent of two workers: no CPU time, below {MOST_MEMORY / 1e6:.0f} MB ({used})"


def main() -> int:
    options = _parser().parse_args()
    interpreters = pythons(options.peer_python)
    here = versions(interpreters)
    found = {name: Found() for name in options.servers if name in here}
    try:
        for turn in range(options.rounds + 1):
            for name, times in found.items():
                wall, cpu = _start(SERVERS[name], interpreters[name])
                if turn:  # the first one fills the caches of files
                    times.wall.append(wall)
                    times.cpu.append(cpu)
                    log(f"round {turn}/{options.rounds}: {name} {wall * 1000:.0f} ms")
        parent = _leave_alone(interpreters["esg"])
    except InvalidRun as error:
        return refuse(f"INVALID: {error}")
    ratio = _ratio(found)
    word = "SKIP" if ratio is None else "PASS" if GOAL.met(ratio) else "MISS"
    header = about(PROGRAM, sorted({installed(interpreters[name])["python"] for name in found}))
    header.append(f"{options.rounds} starts of each, one behind the other, medians")
    goal = f"{word} {GOAL} ({'not measured' if ratio is None else f'{ratio:.3f}'}, by the clock)"
    text = _render(header, found, here, (goal, str(parent)))
    print(text)
    return finish("start", text, [word, parent.word], options)


# -- Measuring


def _start(server: Server, python: str) -> tuple[float, float]:
    """Seconds to the first answer, by the clock and of CPU."""
    begun = time.monotonic()
    with ServerProcess(server, python, HELLO, min(os.sched_getaffinity(0))) as process:
        while not _answers(process.port):
            process.check_alive()
            if time.monotonic() - begun > PATIENCE:
                raise InvalidRun(f"{server.name} was not ready after {PATIENCE:g} s")
            time.sleep(POLL)
        wall = time.monotonic() - begun
        return wall, cputime.used(cputime.Snapshot({}, {}), cputime.snapshot(process.pid)).total


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=PATIENCE) as sock:
            sock.sendall(REQUEST)
            answer = b""
            while data := sock.recv(65536):
                answer += data
    except OSError:
        return False
    return answer.endswith(HELLO.probe.answer)


def _leave_alone(python: str) -> Parent:
    def argv(launch: Launch) -> list[str]:
        return [*SERVERS["esg"].argv(launch), "--workers", "2"]

    with ServerProcess(replace(SERVERS["esg"], argv=argv), python, HELLO, min(os.sched_getaffinity(0))) as process:
        deadline = time.monotonic() + PATIENCE
        while not _answers(process.port):
            process.check_alive()
            if time.monotonic() > deadline:
                raise InvalidRun("the parent's workers do not answer")
            time.sleep(POLL)
        time.sleep(1)
        before = _own_cpu(process.pid)
        time.sleep(IDLE_SECONDS)
        return Parent(_own_cpu(process.pid) - before, _memory(process.pid))


def _own_cpu(pid: int) -> float:
    """Seconds that a process alone has used, in ticks: less than one is none."""
    stat = cputime.read_stat(pid)
    if stat is None:
        raise InvalidRun("the parent has ended")
    return (stat.user + stat.kernel) / cputime.TICKS_PER_SECOND


def _memory(pid: int) -> int:
    """Resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# -- The report


def _ratio(found: Mapping[str, Found]) -> float | None:
    own, other = found.get(GOAL.server), found.get(GOAL.reference)
    if own is None or other is None:
        return None
    return median(mine / theirs for mine, theirs in zip(own.wall, other.wall, strict=True))


def _render(header: Iterable[str], found: Mapping[str, Found], here: Mapping[str, str], verdicts: Iterable[str]) -> str:
    lines = [row(("server", "version", "ms to the first answer", "least", "most", "ms of CPU"))]
    lines.append(row(("---", "---", "---:", "---:", "---:", "---:")))
    for name, times in found.items():
        numbers = (median(times.wall), min(times.wall), max(times.wall), median(times.cpu))
        lines.append(row((name, here[name], *(f"{seconds * 1000:.0f}" for seconds in numbers))))
    sections = ["# start: from the command line to the first answer"]
    sections += ["\n".join(f"- {line}" for line in header), "\n".join(lines)]
    return "\n\n".join([*sections, "\n".join(f"- {verdict}" for verdict in verdicts)]) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="From the command line to the first answer.")
    parser.add_argument("--servers", type=names(SERVERS), default=list(DEFAULT), metavar="A,B")
    parser.add_argument("--rounds", type=whole(1, 1000), default=15, help="starts of every server (default: 15)")
    add_peer_python(parser)
    add_outcome(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
