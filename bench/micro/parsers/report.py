"""The report: one Markdown table with what one needs to know to believe it, and a line for each goal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from bench.load.report import about, row
from bench.load.servers import installed

from .drivers import LIBRARIES, Library
from .inputs import INPUTS, Input

PROGRAM = "python -m bench.micro.parsers"
COLUMNS = ("input", "library", "version", "ns/message", "spread", "x esg", "spread", "goal", "")
FIRST_NUMBER, LAST_NUMBER = 3, 7
NOTES = (
    "Every driver is Python, and its share of the time is the same kind of work for each library. None asks for what "
    "only some tell, such as keep-alive or the version; all but h11 go on with the next message on the same parser.",
    "The same messages come again and again: esg_parser has common fields that repeat ready-made "
    "(`bench.micro.fields` shows what they cost when they are new), and no library meets cold memory.",
    "Reads are made ahead. An event loop allocates each, which costs every library the same.",
    "zttp keeps names as they were sent; it is asked for lower case, which it can do by itself.",
)
Times = dict[tuple[Input, Library], list[float]]


@dataclass(frozen=True)
class Row:
    """One library with one input; without times when it is not installed."""

    given: Input
    library: Library
    times: Sequence[float]
    ratios: Sequence[float]  # to ESG, inside each round

    @property
    def word(self) -> str:
        if not self.library.goal:
            return ""
        if not self.times:
            return "SKIP"
        return "PASS" if self.library.is_met(median(self.ratios)) else "MISS"

    @property
    def goal(self) -> str:
        if not self.library.goal:
            return ""
        return f"{'>' if self.library.strict else '>='} {self.library.goal:g}"


def rows(times: Times) -> list[Row]:
    found = []
    for given in INPUTS:
        ours = times[given, LIBRARIES[0]]
        for library in LIBRARIES:
            theirs = times.get((given, library), [])
            ratios = [one / other for one, other in zip(theirs, ours, strict=True)] if theirs else []
            found.append(Row(given, library, theirs, ratios))
    return found


def render(found: Sequence[Row], versions: Mapping[Library, str], rounds: int, milliseconds: int) -> str:
    """The whole report as Markdown."""
    sections = [
        "# parsers: CPU time from bytes to a usable request",
        "\n".join(f"- {line}" for line in _header(rounds, milliseconds)),
        _table(found, versions),
        "\n".join(f"- {line}" for line in NOTES),
        "What is copied of a body:",
        "\n".join(f"- {library.name}: {library.copies}" for library in LIBRARIES),
        "\n".join(f"- {_verdict(one)}" for one in found if one.word),
    ]
    return "\n\n".join(sections) + "\n"


def _header(rounds: int, milliseconds: int) -> list[str]:
    return [
        *about(PROGRAM, [installed(sys.executable)["python"]]),
        f"{rounds} rounds, in each {milliseconds} ms of every library with every input; medians",
        "x esg: time of the library by that of esg_parser in the same round; spread: the middle half, by the median",
    ]


def _table(found: Sequence[Row], versions: Mapping[Library, str]) -> str:
    rules = ["---:" if FIRST_NUMBER <= at < LAST_NUMBER else "---" for at in range(len(COLUMNS))]
    lines = [row(COLUMNS), row(rules)]
    for one in found:
        name = [one.given.name, one.library.name]
        if one.times:
            time, ratio = f"{median(one.times):,.0f}", f"{median(one.ratios):.2f}"
            numbers = [time, _spread(one.times), ratio, _spread(one.ratios)]
            lines.append(row([*name, versions[one.library], *numbers, one.goal, one.word]))
        else:
            lines.append(row([*name, "NOT INSTALLED", *[""] * 4, one.goal, one.word]))
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    low, _, high = quantiles(values, n=4)
    return f"{(high - low) / median(values):.1%}"


def _verdict(one: Row) -> str:
    measured = f"{median(one.ratios):.2f}" if one.times else "not measured"
    return f"{one.word} {one.given.name}: {one.goal} x {one.library.name} ({measured})"
