"""Cases written in Markdown: cases/*.md, as llhttp keeps its own.

A case is a heading of the second level, which is its name; the section of the RFC; a fenced block with the
bytes; and what comes of them. The cases of files whose name starts with ``response`` are responses, to GET
unless the line of the section ends with another method (``RFC 9112 section 6.3, to HEAD``); all others are
requests.

In the block the ends of lines and every byte that cannot be seen are written as escapes (``\\r``, ``\\n``,
``\\t``, ``\\\\``, ``\\x00``): a line of the block ends with nothing that is not written there. What comes of
it is ``accepted`` or a status and the name of the error. Below it, what the first message must hold: a field
of its head, ``body``, ``trailers`` or ``switched`` (whether UPGRADE came), and with ``messages`` how many there
are (1 if it is accepted and nothing is said).
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / "cases"

CASE = re.compile(
    r"## (?P<name>.+)\n\n(?P<section>RFC \d+ section [\d.]+)(?:, to (?P<method>[A-Z]+))?\n\n"
    r"```\n(?P<raw>(?s:.+?))\n```\n\n"
    r"(?P<answer>.+)\n(?:\n(?P<facts>(?:- .+\n)+))?\Z"
)
ESCAPE = re.compile(rb"\\(?:([rnt\\])|x([0-9a-f]{2}))")
ESCAPED = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}


class Case(NamedTuple):
    name: str
    answers: str | None
    """The method that it is a response to; None if it is a request."""
    raw: bytes
    status: int | None
    """None if it is accepted."""
    kind: str | None
    facts: dict[str, Any]


def read_cases(*files: str) -> Iterator[Case]:
    """The cases of these files, of all without any."""
    for path in sorted(FOLDER.glob("*.md")):
        if files and path.stem not in files:
            continue
        for text in re.split(r"\n(?=## )", path.read_text(encoding="utf-8"))[1:]:
            match = CASE.match(text)
            assert match, f"{path.name}: this is not a case:\n{text}"
            yield make_case(match, path.stem.startswith("response"))


def make_case(match: re.Match[str], is_response: bool) -> Case:
    assert is_response or not match["method"], match["name"]
    facts = {}
    for line in (match["facts"] or "").splitlines():
        name, _, value = line[2:].partition(": ")
        facts[name] = literal_eval(value)
    status, _, kind = match["answer"].partition(" ")
    answers = match["method"] or "GET" if is_response else None
    if match["answer"] == "accepted":
        return Case(match["name"], answers, unescape(match["raw"]), None, None, facts)
    return Case(match["name"], answers, unescape(match["raw"]), int(status), kind, facts)


def unescape(text: str) -> bytes:
    raw = text.replace("\n", "").encode("ascii")
    return ESCAPE.sub(lambda match: ESCAPED[match[1]] if match[1] else bytes.fromhex(match[2].decode()), raw)


def escape(raw: bytes) -> str:
    """The bytes as a case writes them."""
    marks = {value[0]: "\\" + name.decode() for name, value in ESCAPED.items()}
    text = "".join(marks.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in raw)
    return text.replace("\\n", "\\n\n").rstrip("\n")
