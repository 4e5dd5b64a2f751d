"""Odd requests through nginx and HAProxy: the app sees no request that the proxy has not counted as one.

The proxy numbers each request that it passes on, and overwrites the number if a client sends one. A request that the
app sees without a number, or with one that it has seen already, is one that the proxy took for something else: part of
a body, or of another request's head. An answer whose two numbers differ was given to the wrong request.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import random
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from .conftest import ROOT
from .traffic import noted_fields

HOST = b"Host: a.example\r\n"
# What must not become a request of its own, and what comes behind it.
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a.example\r\nX-Front-Id: forged\r\n\r\n"
SECOND = b"GET /second HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
LAST = b"0\r\n\r\n"

# -- The attacks -----------------------------------------------------------------------------------------------------

LENGTH_LINES = [
    b"Content-Length: %d",
    b"Content-Length: +%d",
    b"Content-Length: 0%d",
    b"Content-Length: %d, 0",
    b"Content-Length: 0, %d",
    b"Content-Length: 0x%x",
    b"Content-Length: %d.0",
    b"Content-Length: %d 0",
    b"Content-Length: \x0b%d",
    b"Content-Length:\t%d\t",
    b"Content-Length:\r\n %d",
    b"Content-Length : %d",
    b"Content_Length: %d",
    b"Content-Length: 1844674407370955161%d",
    b"Content-Length: %d\r\nContent-Length: 0",
    b"Content-Length: 0\r\nContent-Length: %d",
    b"Content-Length: %d\r\nContent-Length: 5",
    b"X: y\nContent-Length: %d",
    b"X: y\rContent-Length: %d",
    b"Connection: Content-Length\r\nContent-Length: %d",
]
CODING_LINES = [
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: CHUNKED",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: , chunked",
    b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding: chunked;a=b",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunkedx",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding:\tchunked\t",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b"Transfer_Encoding: chunked",
    b"Transfer-Encoding: ",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    b"X: y\nTransfer-Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked",
    b"X: y\r\n Transfer-Encoding: chunked",
    b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
]
CHUNK_LINES = [
    b"3;a=b\r\n",
    b"3;\r\n",
    b"3;a=b\n",
    b"3;a=b\rc\r\n",
    b'3;a="b\r\n',
    b'3;a="\r\n"\r\n',
    b"3 ;a=b\r\n",
    b"3 \r\n",
    b" 3\r\n",
    b"3\n",
    b"3\r",
    b"+3\r\n",
    b"-3\r\n",
    b"0x3\r\n",
    b"3_\r\n",
    b"3,0\r\n",
    b"0000000000000003\r\n",
    b"10000000000000003\r\n",
    b"\r\n3\r\n",
]
CHUNK_ENDS = [b"abc\r\n", b"abc\n", b"abc\r", b"abcX\r\n", b"abc"]
LAST_CHUNKS = [
    b"0\n\n",
    b"0\r\n\n",
    b"0\n\r\n",
    b"0\r\r\n\r\n",
    b"0;a\r\n\r\n",
    b"0\r\nX-T: 1\r\n\r\n",
    b"0\r\nX-T: 1\n\r\n",
    b"0\r\nX-T : 1\r\n\r\n",
    b"0\r\nX-T: 1\r\n folded\r\n\r\n",
    b"0\r\nContent-Length: 64\r\n\r\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"0\r\nX-Front-Id: forged\r\n\r\n",
    b"0\r\nGET /hidden HTTP/1.1\r\n\r\n",
]
HEADS = [
    b"GET http://b.example/a HTTP/1.1\r\n" + HOST,
    b"GET http://a.example@b.example/a HTTP/1.1\r\n" + HOST,
    b"GET http:///a HTTP/1.1\r\n" + HOST,
    b"GET //b.example/a HTTP/1.1\r\n" + HOST,
    b"GET  /a HTTP/1.1\r\n" + HOST,
    b"GET\t/a HTTP/1.1\r\n" + HOST,
    b"GET /a HTTP/1.1 \r\n" + HOST,
    b"GET /a HTTP/1.1\n" + HOST,
    b"GET /a\r\n" + HOST,
    b"GET /a HTTP/0.9\r\n" + HOST,
    b"GET /a HTTP/1.2\r\n" + HOST,
    b"GET /a HTTP/2.0\r\n" + HOST,
    b"GET /a HTTP/1.0\r\n",
    b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n",
    b"GET /a%0d%0aX:%20y HTTP/1.1\r\n" + HOST,
    b"GET /a#b HTTP/1.1\r\n" + HOST,
    b"GET /a\xff HTTP/1.1\r\n" + HOST,
    b"GET /a\x00 HTTP/1.1\r\n" + HOST,
    b"GET /a HTTP/1.1\r\n" + HOST + HOST,
    b"GET /a HTTP/1.1\r\nHost: b.example\r\n" + HOST,
    b"GET /a HTTP/1.1\r\n",
    b"GET /a HTTP/1.1\r\n " + HOST,
    b"GET /a HTTP/1.1\r\n" + HOST + b"Connection: X-Front-Id\r\n",
    b"GET /a HTTP/1.1\r\n" + HOST + b"X-Front-Id: forged\r\nX-Front-Id: forged\r\n",
    b"GET /a HTTP/1.1\r\n" + HOST + b"X: y\r\n\rX-Front-Id: forged\r\n",
    b"GET /a HTTP/1.1\r\n" + HOST + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n",
    b"GET /a HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
    b"CONNECT a.example:80 HTTP/1.1\r\n" + HOST,
    b"TRACE /a HTTP/1.1\r\n" + HOST,
    b"FOO /a HTTP/1.1\r\n" + HOST,
    b"get /a HTTP/1.1\r\n" + HOST,
]


def post(*lines: bytes) -> bytes:
    return b"POST /first HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def attacks() -> Iterator[bytes]:
    """All of them, each with a request hidden where one of two readers may see its body, or the end of it."""
    chunked = CODING_LINES[0]
    for line in LENGTH_LINES:
        yield post(line % len(HIDDEN) if b"%" in line else line) + HIDDEN
        yield post(line % len(LAST + HIDDEN), chunked) + LAST + HIDDEN
    for line in CODING_LINES:
        yield post(line) + LAST + HIDDEN
        yield post(line) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
        for length in (len(LAST), len(LAST + HIDDEN), 0):
            yield post(b"Content-Length: %d" % length, line) + LAST + HIDDEN
            yield post(line, b"Content-Length: %d" % length) + LAST + HIDDEN
    for line in CHUNK_LINES:
        yield post(chunked) + line + b"abc\r\n" + LAST + HIDDEN
    for end in CHUNK_ENDS:
        yield post(chunked) + b"3\r\n" + end + LAST + HIDDEN
    for last in LAST_CHUNKS:
        yield post(chunked) + b"3\r\nabc\r\n" + last + HIDDEN
    for head in HEADS:
        yield head + b"\r\n"
        yield head + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN
        yield head + chunked + b"\r\n\r\n" + LAST + HIDDEN
    yield post(b"Expect: 100-continue", b"Content-Length: %d" % len(HIDDEN)) + HIDDEN
    yield post(b"Expect: 100-continue", chunked) + LAST + HIDDEN
    yield from (b"HEAD" + post(line)[4:] + LAST + HIDDEN for line in (chunked, b"Content-Length: 5"))


def parser_cases() -> Iterator[bytes]:
    """The requests that docs/strictness.md speaks of."""
    path = ROOT / "packages/esg-parser/tests/cases.py"
    spec = importlib.util.spec_from_file_location("parser_cases", path)
    assert spec is not None and spec.loader is not None
    cases = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cases)
    return (case.raw for case in cases.read_cases() if case.answers is None)


def damaged(count: int) -> Iterator[bytes]:
    """So many attacks with a few bytes of others in them, the same ones each time."""
    chance, known = random.Random(count), list(attacks())
    for _ in range(count):
        raw = chance.choice(known)
        for _ in range(chance.randint(1, 3)):
            other, at = chance.choice(known), chance.randrange(len(raw))
            start = chance.randrange(len(other))
            new = chance.choice(
                [b"", b"\r", b"\n", b" ", b"\t", b"\x00", other[start : start + chance.randrange(1, 30)]]
            )
            raw = raw[:at] + new + raw[at + chance.choice([0, 1, len(new)]) :]
        yield raw


# -- What came of them -----------------------------------------------------------------------------------------------


class Sent(NamedTuple):
    """An attack, the port it came from, and all that came back."""

    raw: bytes
    port: int
    answers: bytes


def number_of(note: Any) -> list[bytes]:
    return [value for name, value in noted_fields(note) if name == b"x-front-id"]


def is_as_counted(note: Any) -> bool:
    """Whether the app saw the method and the target that the proxy did."""
    fields = dict(noted_fields(note))
    if fields.get(b"x-front-method") != note["method"].encode():
        return False
    if note["raw_path"] in ("", "*"):
        return True  # there is no path, and the proxies do not agree on how to say so
    # An absolute-form is passed on in origin-form, with the same path (RFC 9112 section 3.2.2).
    counted = re.sub(r"^https?://[^/?]*", "", fields.get(b"x-front-target", b"").decode("latin-1"), flags=re.IGNORECASE)
    target = note["raw_path"] + ("?" + note["query_string"] if note["query_string"] else "")
    return target == counted if counted.startswith("/") else target == "/" + counted


def smuggled(notes: list[Any]) -> list[Any]:
    """Requests that no proxy has counted, or that it counted as something else."""
    found, numbers = [], {b"forged"}
    for note in notes:
        number = number_of(note)
        if len(number) != 1 or number[0] in numbers or not is_as_counted(note):
            found.append(note)
        numbers.update(number)
    return found


def misdelivered(sent: list[Sent], notes: list[Any]) -> list[Any]:
    """Answers of the app that are not to the request that the proxy gives them to, or not to this client."""
    ports = {number_of(note)[0]: dict(noted_fields(note))[b"x-front-client"] for note in notes if number_of(note)}
    found = []
    for attack in sent:
        for head in re.findall(rb"HTTP/1\.\d \d+.*?\r\n\r\n", attack.answers, re.S):
            by_app = re.findall(rb"^x-app-id: (.*)\r", head, re.M | re.I)
            by_front = re.findall(rb"^x-front-id: (.*)\r", head, re.M | re.I)
            if by_app and (by_app != by_front or ports.get(by_app[0]) != b"%d" % attack.port):
                found.append((attack, head))
    return found


@pytest.fixture(scope="module")
def server(serve_module: Any) -> Any:
    return serve_module("mirror:app", "--no-access-log", test_app=True)


@pytest.fixture(scope="module", params=["nginx", "nginx-buffering", "haproxy"])
def behind(request: pytest.FixtureRequest, server: Any, front: Any) -> Any:
    """A proxy that soon gives up a client of which no more comes."""
    name, _, buffering = request.param.partition("-")
    return front(name, server, buffering=bool(buffering), patience=1, faults=True)


def attack(front: Any, raw: bytes) -> Sent:
    """Send it and another request, and wait for the end of the connection."""
    with front.connect() as wire:
        port = wire.socket.getsockname()[1]
        with contextlib.suppress(ConnectionError):
            wire.send(raw + SECOND)
        return Sent(raw, port, wire.rest())


def seen(server: Any) -> list[Any]:
    notes: list[Any] = json.loads(server.get("/seen").body)
    return notes


def test_nothing_is_smuggled(behind: Any, server: Any) -> None:
    seen(server)
    # Many at once, as some are waited for until the proxy gives them up.
    with ThreadPoolExecutor(32) as pool:
        sent = list(pool.map(lambda raw: attack(behind, raw), [*attacks(), *parser_cases(), *damaged(2000)]))
    notes = seen(server)
    assert not smuggled(notes)
    assert not misdelivered(sent, notes)
    # It was not all for nothing: many got through, and so did many of what came behind them.
    firsts = [note for note in notes if note["raw_path"] == "/first"]
    seconds = [note for note in notes if note["raw_path"] == "/second"]
    assert min(len(firsts), len(seconds)) > 20
    assert attack(behind, b"GET /clean HTTP/1.1\r\n" + HOST + b"\r\n").answers.count(b" 200 OK\r\n") == 2


def test_what_is_smuggled_would_be_seen(server: Any) -> None:
    seen(server)
    with server.connect() as wire:
        wire.send(HIDDEN)
        assert wire.answer().status == 200
    assert len(smuggled(seen(server))) == 1
