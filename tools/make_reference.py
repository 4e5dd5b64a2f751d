"""Write what the documentation derives from the code: options, a connection's states, the parser's API.

They stand in pages of docs/, each between two marks that name it; everything else there is written by hand.
With --check nothing is written, and the exit status says whether every table is as the code has it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import TypeVar

import click
from api_reference import reference
from esg.cli import GROUPS, group_of
from esg.cli import main as command
from esg.options import OptionOfField, variables_of
from esg_protocols.http1.states import READING, WRITING, ReadEvent, Reading, WriteEvent, Writing

State = TypeVar("State", bound=IntEnum)
Event = TypeVar("Event", bound=IntEnum)

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PART = re.compile(r"(<!-- made by tools/make_reference\.py: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


# -- The options


def options() -> Iterator[str]:
    """One table for each group, with what --help says, and what the option is called elsewhere."""
    found = [param for param in command.params if isinstance(param, click.Option)]
    for title in GROUPS:
        rows = [row_of(option) for option in found if group_of(option) == title]
        if rows:
            yield f"### {title}\n"
            yield from table(["Option", "Key", "Variable", "Default", ""], rows)
            yield ""


def row_of(option: click.Option) -> list[str]:
    flags = [f"`{flag}`" for flag in (*option.opts, *option.secondary_opts)]
    return [
        " ".join([" / ".join(flags), values_of(option)]).strip(),
        f"`{option.name}`" if isinstance(option, OptionOfField) else "",
        ", ".join(f"`{name}`" for name in variables_of(option)) + separator_of(option),
        default_of(option),
        # The default has a column of its own.
        (option.help or "").partition("  [default")[0],
    ]


def values_of(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return ", ".join(map(str, option.type.choices))
    return option.metavar or option.type.name.upper()


def separator_of(option: click.Option) -> str:
    """What stands between several values in a variable."""
    if not option.multiple:
        return ""
    named = {None: "white space", "\n": "line ends", os.pathsep: f"`{os.pathsep}`"}
    return f", values apart by {named[getattr(option, 'separator', None)]}"


def default_of(option: click.Option) -> str:
    if not isinstance(option, OptionOfField) or option.default in (None, (), ""):
        return ""
    if option.is_flag:
        return "on" if option.default else "off"
    return f"`{option.default}`"


# -- The states


def reading() -> Iterator[str]:
    """What may come in."""
    return transitions(READING, Reading, ReadEvent)


def writing() -> Iterator[str]:
    """What may go out."""
    return transitions(WRITING, Writing, WriteEvent)


def transitions(moves: Mapping[tuple[State, Event], State], states: type[State], events: type[Event]) -> Iterator[str]:
    """A row for each state, a column for each event, and where they lead."""
    rows = [[f"**{state.name}**", *(name_of(moves.get((state, event))) for event in events)] for state in states]
    return table(["", *(event.name for event in events)], rows)


def name_of(state: IntEnum | None) -> str:
    return "" if state is None else state.name


# -- The parser


def parser() -> Iterator[str]:
    """What esg_parser has; its drop-in for httptools has a part of its own."""
    folder = ROOT / "packages/esg-parser/src/esg_parser"
    return reference([folder / name for name in ("parser.pyi", "events.py", "errors.py", "url.pyi")])


def httptools() -> Iterator[str]:
    return reference([ROOT / "packages/esg-parser/src/esg_parser/httptools.pyi"])


# -- The pages


def table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


MAKERS = {"options": options, "reading": reading, "writing": writing, "parser": parser, "httptools": httptools}


def made(page: str) -> str:
    """A page with its tables as they should be."""
    return PART.sub(lambda part: part[1] + "\n".join(MAKERS[part[2]]()).rstrip("\n") + "\n" + part[3], page)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a table is not up to date")
    check = parser.parse_args().check
    old = []
    for path in sorted(DOCS.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        if made(page) != page:
            old.append(path)
            if not check:
                path.write_text(made(page), encoding="utf-8")
    for path in old:
        name = path.relative_to(DOCS.parent)
        print(f"{name} is not up to date: run python tools/make_reference.py" if check else f"{name} written")
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
