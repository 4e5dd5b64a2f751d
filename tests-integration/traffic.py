"""Requests made up by hypothesis, each with the answer that it asks apps/mirror.py for; and how both ends compare."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

Fields = list[tuple[bytes, bytes]]

PATTERN = bytes(range(251)) * 2000  # as apps/mirror.py
FRAMING = (b"host", b"content-length", b"transfer-encoding")
"""Fields that are compared by what they say, not by where they stand."""


EMPTY = (b"content-length", b"0")


class Plan(NamedTuple):
    """The answer that a request asks for."""

    status: int
    headers: Fields
    pieces: list[int]
    length: bool
    first: bool

    def field(self) -> bytes:
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers]
        return json.dumps({**self._asdict(), "headers": headers}).encode()

    def body(self, method: str) -> bytes:
        """What the client must get (RFC 9110 sections 9.3.2, 15.3.5 and 15.4.5)."""
        if method == "HEAD" or self.status in (204, 304):
            return b""
        return PATTERN[: sum(self.pieces)]


class Request(NamedTuple):
    """What is given to a client to send.

    Attributes:
        headers: beside Host, framing and the plan.
        body: None for none, several pieces if it is chunked.
        times: how often each piece comes in its place, so that a large body has a short name.
    """

    method: str
    target: bytes
    headers: Fields
    body: list[bytes] | None
    times: int
    chunked: bool
    plan: Plan

    @property
    def parts(self) -> list[bytes]:
        return [piece * self.times for piece in self.body or []]

    @property
    def content(self) -> bytes:
        return b"".join(self.parts)

    def fields(self) -> Fields:
        """Everything but Host and framing, in order."""
        return [*self.headers, (b"X-Plan", self.plan.field())]

    def framing(self) -> Fields:
        if self.body is not None and self.chunked:
            return [(b"Transfer-Encoding", b"chunked")]
        return self.length()

    def length(self) -> Fields:
        return [] if self.body is None else [(b"Content-Length", b"%d" % len(self.content))]


class Got(NamedTuple):
    """What a client has of an answer; names in any case."""

    status: int
    headers: Fields
    body: bytes


# -- Made up ---------------------------------------------------------------------------------------------------------

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "REPORT", "PROPFIND", "M-SEARCH", "PURGE"]
# Names that mean something to those on the way are sent on purpose, not by chance.
RULED = {"te", "age", "via", "date", "host", "server", "expect", "cookie", "trailer", "upgrade", "link", "vary"}
PCHAR = "abcXYZ019-._~!$&'()*+,;=:@"

escapes = st.integers(0, 255).map("%{:02x}".format) | st.integers(0, 255).map("%{:02X}".format)
segments = st.lists(st.text(PCHAR, min_size=1, max_size=6) | escapes, max_size=4).map("".join)
paths = st.lists(segments, max_size=4).map(lambda parts: "/m/" + "/".join(parts))
queries = st.lists(st.text(PCHAR + "/?", min_size=1, max_size=8) | escapes, max_size=4).map("".join)
targets = st.tuples(paths, st.none() | queries).map(lambda t: (t[0] if t[1] is None else f"{t[0]}?{t[1]}").encode())
# Never shorter than a word that might mean something, which begins with something else.
names = st.text(TOKEN, min_size=1, max_size=20).map(lambda name: "X" + name)
KNOWN = ["Accept-Language", "Authorization", "Cache-Control", "Content-Type", "If-None-Match", "Referer"]
REPEATED = ["X-Repeated", "x-repeated"]
visible = st.text([chr(c) for c in range(0x20, 0x7F)], max_size=30).map(lambda text: text.strip(" ").encode())
obs_text = st.binary(max_size=20).map(lambda raw: bytes(b for b in raw if b >= 0x20 and b != 0x7F).strip(b" "))
values = visible | obs_text


def field_lists(known: list[str], size: int) -> Any:
    """Fields of any names, some of them repeated; but once those with a meaning, as most may not stand twice."""
    any_name = names | st.sampled_from(REPEATED)
    many = st.lists(st.tuples(any_name.map(str.encode), values), max_size=size)
    once = st.dictionaries(st.sampled_from(known).map(str.encode), values, max_size=3).map(lambda d: list(d.items()))
    return st.tuples(many, once).map(lambda both: both[0] + both[1]).flatmap(st.permutations)


fields = field_lists(KNOWN, 6)
answer_fields = field_lists(["Content-Language", "X-Frame-Options"], 5).map(lambda made: lowered(made))
statuses = st.sampled_from([200, 201, 202, 203, 204, 206, 300, 304, 400, 404, 409, 418, 422, 451, 500, 502, 503, 599])
sizes = st.lists(st.integers(0, 300) | st.sampled_from([1, 16_384, 65_536, 70_000]), max_size=4)
plans = st.builds(Plan, statuses, answer_fields, sizes, st.booleans(), st.booleans())
bodies = st.none() | st.lists(st.binary(max_size=100) | st.just(b"0\r\n\r\n"), max_size=4)
times = st.sampled_from([1] * 9 + [2000])


def requests(where: Callable[[Request], bool] = lambda request: True) -> Any:
    """Requests that a client can send: it says by ``where`` which."""
    made = st.builds(Request, st.sampled_from(METHODS), targets, fields, bodies, times, st.booleans(), plans)
    return made.filter(where)


def sequences(size: int, where: Callable[[Request], bool] = lambda request: True) -> Any:
    return st.lists(requests(where), min_size=1, max_size=size)


# -- Compared --------------------------------------------------------------------------------------------------------


def lowered(fields: Fields) -> Fields:
    return [(name.lower(), value) for name, value in fields]


def without(fields: Fields, names: Any) -> Fields:
    return [(name, value) for name, value in fields if name not in names]


def noted_fields(note: Any) -> Fields:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in note["headers"]]


def check_note(request: Request, note: Any, fields: Fields, framings: list[Fields], version: str) -> None:
    """The app saw what was sent: these fields in this order, and one of these framings."""
    assert (note["method"], note["http_version"]) == (request.method, version)
    path, _, query = request.target.partition(b"?")
    assert (note["raw_path"].encode(), note["query_string"].encode()) == (path, query)
    assert note["path"] == urllib.parse.unquote(path.decode(), errors="replace")
    assert note["body"] is not None
    assert note["body"].encode("latin-1") == request.content
    noted = noted_fields(note)
    assert without(noted, FRAMING) == lowered(fields)
    # To say that there is nothing and to say nothing is the same (RFC 9112 section 6.3).
    nothing = [[], [EMPTY]] if not request.content else []
    assert [field for field in noted if field[0] in FRAMING[1:]] in [*map(lowered, framings), *nothing]
    assert len([name for name, _ in noted if name == b"host"]) == 1


def check_answer(request: Request, got: Got, fields: Fields, own: tuple[bytes, ...]) -> None:
    """The client got what the app answered: these fields in this order; and ``own`` ones of those on the way."""
    assert got.status == request.plan.status
    assert got.body == request.plan.body(request.method)
    assert without(lowered(got.headers), own) == lowered(fields)
