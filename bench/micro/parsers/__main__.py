"""The time from bytes to a usable request, of esg_parser and of other parsers, in one run.

Each library gets a short window of time in every round, one right behind the other, and a ratio is taken inside each
round: a shared machine changes its speed from second to second, and hardly between two neighbours. Time is the CPU
time of this process, so that whatever else runs does not count.

Run: python -m bench.micro.parsers --help
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from importlib import metadata

from bench.arguments import add_outcome, finish, log, refuse, whole

from . import report
from .drivers import LIBRARIES, Driver, Library, Reads
from .inputs import CHECKED, INPUTS

MOST = 10_000  # rounds, and milliseconds of a window


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    drivers = _installed()
    if LIBRARIES[0] not in drivers:
        return refuse("esg-parser is not installed, and everything is measured by it.")
    for library, driver in drivers.items():
        if why := _wrong(library, driver):
            return refuse(f"{library.name} made something else of {why}; nothing was measured.")
    times = _measure(drivers, options.rounds, options.milliseconds)
    rows = report.rows(times)
    versions = {library: metadata.version(library.distribution) for library in drivers}
    text = report.render(rows, versions, options.rounds, options.milliseconds)
    print(text)
    return finish("parsers", text, (row.word for row in rows if row.word), options)


def _installed() -> dict[Library, Driver]:
    drivers = {}
    for library in LIBRARIES:
        try:
            drivers[library] = library.driver(importlib.import_module(library.name))
        except ImportError:
            log(f"!!! {library.distribution} IS NOT INSTALLED: left out, its goals are not checked")
    return drivers


def _wrong(library: Library, driver: Driver) -> str:
    """The input of which a driver does not make what it has to, twice in a row on the same connection, if any."""
    for given in CHECKED:
        if not all(given.is_met_by(library.usable(driver(given.reads))) for _ in range(2)):
            return given.name
    return ""


def _measure(drivers: dict[Library, Driver], rounds: int, milliseconds: int) -> report.Times:
    """Nanoseconds per message of every input and library, one number a round."""
    counts = {
        (given, library): _count(driver, given.reads, milliseconds)
        for given in INPUTS
        for library, driver in drivers.items()
    }
    times: report.Times = {key: [] for key in counts}
    for _ in range(rounds):
        for (given, library), count in counts.items():
            times[given, library].append(_window(drivers[library], given.reads, count) / count)
    return times


def _count(driver: Driver, reads: Reads, milliseconds: int) -> int:
    """How many messages fill a window; also the warm-up."""
    count = 1
    while (took := _window(driver, reads, count)) < milliseconds * 1e6 / 4:
        count *= 2
    return max(1, round(count * milliseconds * 1e6 / took))


def _window(driver: Driver, reads: Reads, count: int) -> int:
    start = time.process_time_ns()
    for _ in range(count):
        driver(reads)
    return time.process_time_ns() - start


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=report.PROGRAM, description="Time from bytes to a usable request.")
    add = parser.add_argument
    add(
        "--rounds",
        type=whole(2, MOST),
        default=100,
        metavar="N",
        help="windows of every library (default: %(default)s)",
    )
    add("--milliseconds", type=whole(1, MOST), default=5, metavar="N", help="length of a window (default: %(default)s)")
    add_outcome(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
