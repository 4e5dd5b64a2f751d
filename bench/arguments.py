"""What the commands of the benchmarks share: their options, their exit statuses, and where reports are kept."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timezone
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
INVALID = 2  # exit status when there is nothing to believe; 1 is for a goal that --check found missed


def whole(least: int, most: int) -> Callable[[str], int]:
    """The type of an option: a whole number between two bounds."""

    def number(text: str) -> int:
        if not least <= (found := int(text)) <= most:
            raise argparse.ArgumentTypeError(f"must be from {least} to {most}")
        return found

    return number


def names(known: Collection[str]) -> Callable[[str], list[str]]:
    """The type of an option: some of the known names, with commas between them."""

    def some(text: str) -> list[str]:
        found = list(dict.fromkeys(text.split(",")))
        if unknown := [name for name in found if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return found

    return some


def add_peer_python(parser: argparse.ArgumentParser) -> None:
    peers = os.environ.get("ESG_BENCH_PEER_PYTHON", sys.executable)
    parser.add_argument(
        "--peer-python", metavar="PATH", default=peers, help="who has the peers, or ESG_BENCH_PEER_PYTHON"
    )


def add_outcome(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--save", action="store_true", help="also write the report to bench/results/")
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 when a goal is missed, or when none could be measured"
    )


def finish(name: str, text: str, words: Iterable[str], options: argparse.Namespace) -> int:
    """Keeps a report if --save is given; the exit status, by the verdicts PASS, MISS and SKIP, if --check is."""
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{datetime.now(timezone.utc):%Y-%m-%d}-{name}.md"
        path.write_text(text)
        log(f"saved as bench/results/{path.name}")
    found = set(words)
    return int(options.check and ("MISS" in found or found <= {"SKIP"}))


def log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def refuse(message: str) -> int:
    log(message)
    return INVALID
