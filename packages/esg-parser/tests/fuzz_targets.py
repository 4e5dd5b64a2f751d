"""What is fuzzed: three functions from any bytes to nothing, or to an AssertionError.

The first bytes of an input of requests or responses choose the limits, the method that a response answers and where the
reads are cut; the others are what is read. A case of cases/*.md behind ``PLAIN`` is fed whole, without limits.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from zlib import crc32

from esg_parser import URL, InvalidURL, parse_url

from .cases import escape
from .feeding import Reading, failure_in, messages_of, read
from .h11_peer import compare, explain, is_cut_off, unfinished_of
from .random_messages import LIMITS, RESPONSE_BYTES, RESPONSE_SEEDS, SEEDS, mutate

LONGEST = 512
TOKEN = re.compile(rb"[A-Za-z][A-Za-z0-9-]+|\r\n|[^A-Za-z0-9]")
# One byte for the limits, one for the method and the way of cutting, two for each of two cuts.
CHOICES = 6
PLAIN = bytes(CHOICES)
METHODS = ("GET", "HEAD", "CONNECT")  # that a response may answer
TARGET_LIMITS = [*LIMITS, {"max_target_size": 8}]
PIECES = (1, 2, 3, 7)
STRETCH = 16
# h11 costs more than all else, so only one of so many inputs is compared with it, whatever it looks like.
COMPARED = 3


def requests(data: bytes) -> None:
    check(data, None, TARGET_LIMITS[data[0] % len(TARGET_LIMITS)] if data else {})


def responses(data: bytes) -> None:
    limits = LIMITS[data[0] % len(LIMITS)] if data else {}
    check(data, METHODS[data[1] // 8 % len(METHODS)] if len(data) > 1 else "GET", limits)


def check(data: bytes, answers: str | None, limits: dict[str, int]) -> None:
    choices, raw = data[:CHOICES].ljust(CHOICES, b"\0"), data[CHOICES:]
    whole = read([raw], answers=answers, **limits)
    pieces = cut(choices, raw)
    assert outcome(read(pieces, answers=answers, **limits)) == outcome(whole), f"the cut makes a difference: {pieces}"
    if not limits and crc32(raw) % COMPARED == 0:
        found = compare(raw, whole, answers)
        assert found is None or explain(found), f"h11 differs: {found}"


def outcome(reading: Reading) -> tuple[object, ...]:
    """What must not hang on how the bytes arrived. How far a bad message came does."""
    failure = failure_in(reading)
    refused = reading.error is not None and not is_cut_off(reading.error)
    unfinished = None if refused else unfinished_of(reading.events)
    return messages_of(reading.events), reading.ends, failure, unfinished


def cut(choices: bytes, raw: bytes) -> list[bytes]:
    """One way of cutting: into three parts anywhere, or with a stretch of small pieces instead of the one between."""
    first, last = sorted(int.from_bytes(choices[i : i + 2], "big") % (len(raw) + 1) for i in (2, 4))
    if not choices[1] & 4:
        return [raw[:first], raw[first:last], raw[last:]]
    size = PIECES[choices[1] % len(PIECES)]
    last = min(len(raw), first + STRETCH * size)
    return [raw[:first], *(raw[i : min(i + size, last)] for i in range(first, last, size)), raw[last:]]


def url(data: bytes) -> None:
    for connect in (False, True):
        try:
            parsed = parse_url(data, connect=connect)
        except InvalidURL:
            continue
        assert parsed.port is None or 0 <= parsed.port <= 65535
        assert put_together(parsed, data) == data
        assert parse_url(data, connect=connect) == parsed


def put_together(parsed: URL, data: bytes) -> bytes:
    """The URL from its parts; what they do not tell is taken from the URL itself."""
    before = b"" if parsed.schema is None else parsed.schema + b"://"
    if parsed.host is not None:
        before += parsed.userinfo or b""
        if parsed.userinfo or data[len(before) :].startswith(b"@"):
            before += b"@"
        bracketed = data[len(before) :].startswith(b"[")
        before += b"[" + parsed.host + b"]" if bracketed else parsed.host
    if parsed.port is not None:
        digits = len(data[len(before) + 1 :]) - len(data[len(before) + 1 :].lstrip(b"0123456789"))
        before += b":" + data[len(before) + 1 :][:digits]
        assert int(before.rpartition(b":")[2]) == parsed.port
    # A part that is empty is None, and its mark is written all the same; http-parser skips more of a fragment's.
    for mark, value in ((b"", parsed.path), (b"?", parsed.query), (b"#", parsed.fragment)):
        rest = data[len(before) :]
        if mark == b"#":
            mark *= len(rest) - len(rest.lstrip(mark))
        if rest.startswith(mark):
            before += mark + (value or b"")
    return before


TARGETS: dict[str, Callable[[bytes], None]] = {"requests": requests, "responses": responses, "url": url}


# -- Where inputs come from ----------------------------------------------------------------------------------


def seeds(target: str) -> list[bytes]:
    if target == "url":
        first_lines = [raw.split(b"\r\n", 1)[0].split(b" ") for raw in SEEDS]
        return sorted({words[1] for words in first_lines if len(words) > 1} | {b"http://u:p@[::1]:80/a?b#c"})
    if target == "requests":
        return [PLAIN + raw for raw in SEEDS]
    return [answering(method) + raw for method, raw in RESPONSE_SEEDS]


def answering(method: str) -> bytes:
    return bytes([0, 8 * METHODS.index(method), *PLAIN[2:]])


def words() -> set[bytes]:
    return {word for raw in SEEDS + RESPONSE_BYTES for word in TOKEN.findall(raw)}


def tell(target: str, data: bytes) -> str:
    raw = data if target == "url" else data[CHOICES:]
    return "\n".join((f"choices: {data[:CHOICES].hex()}", "bytes as in a case:", "", "```", f"{escape(raw)}```"))


def inputs(target: str, chance: random.Random) -> Iterator[bytes]:
    """Seeds with bytes changed, without end."""
    first = seeds(target)
    others = RESPONSE_BYTES if target == "responses" else SEEDS
    while True:
        seed = chance.choice(first)
        if target == "url":
            yield mutate(chance, seed)
        else:
            tail = chance.choice([b"", b"", chance.choice(others)])
            yield chance.randbytes(CHOICES) + mutate(chance, seed[CHOICES:], others) + tail
