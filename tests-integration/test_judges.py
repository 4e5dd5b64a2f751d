"""Other implementations of HTTP as judges: what they send is what the app sees, and what it answers is what they get.

None of them stands on llhttp: h11 on a socket, httpx, aiohttp's parser in Python, curl, and nginx and HAProxy in front.
What may differ on the way is in ``ALLOWED``, with the reason, and nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import h11
import httpx
import pytest

from .proxies import ADDED, NUMBERS
from .traffic import (
    FRAMING,
    Fields,
    Got,
    Request,
    check_answer,
    check_note,
    lowered,
    sequences,
    without,
)

pytestmark = pytest.mark.once

hypothesis = pytest.importorskip("hypothesis")

from tools.examples import examples  # noqa: E402

st = hypothesis.strategies

OWN = (b"server", b"date", b"connection", b"content-length", b"transfer-encoding")
"""Fields of an answer that are the server's, not the app's."""


@pytest.fixture(scope="module")
def server(serve_module: Any, loop: str) -> Any:
    return serve_module("mirror:app", "--loop", loop, "--no-access-log", test_app=True)


@pytest.fixture(scope="module")
def notes(server: Any) -> Callable[[], list[Any]]:
    """What the app has seen since the last time."""

    def take() -> list[Any]:
        return json.loads(server.get("/seen").body)

    return take


# -- What may differ -------------------------------------------------------------------------------------------------


class Difference(NamedTuple):
    """Something that does not arrive as it was sent.

    Attributes:
        who: makes the difference.
        why: and where that is written.
        fields: what becomes of the fields.
        added: fields that come to it.
        unchunked: whether a chunked body may come with its length instead.
        refused: requests that never get through.
    """

    who: str
    way: str
    why: str
    fields: Callable[[Fields], Fields] = lambda fields: fields
    added: tuple[bytes, ...] = ()
    unchunked: bool = False
    refused: Callable[[Request], bool] = lambda request: False


def only(letters: bytes) -> Callable[[Fields], Fields]:
    return lambda fields: [field for field in fields if re.fullmatch(letters, field[0])]


def decoded_path(request: Request) -> bytes:
    return urllib.parse.unquote_to_bytes(request.target.partition(b"?")[0])


ALLOWED = [
    Difference(
        "nginx",
        "request",
        "A field whose name has other letters is dropped: ignore_invalid_headers and underscores_in_headers of "
        "https://nginx.org/en/docs/http/ngx_http_core_module.html, as a gateway might take a_b for a-b.",
        fields=only(rb"[A-Za-z0-9-]+"),
    ),
    Difference(
        "nginx",
        "request",
        "A body that is there whole gets a Content-Length: proxy_request_buffering of "
        "https://nginx.org/en/docs/http/ngx_http_proxy_module.html; RFC 9112 section 6.1 lets a proxy do so.",
        unchunked=True,
    ),
    Difference(
        "nginx",
        "request",
        "It looks for its location by the decoded path and answers 400 to one that holds a NUL or may lead above the "
        "root: ngx_http_parse_complex_uri in its src/http/ngx_http_parse.c.",
        refused=lambda request: b"\0" in decoded_path(request) or b"/.." in decoded_path(request),
    ),
    Difference("nginx", "request", "Our configuration numbers requests.", added=ADDED),
    Difference("nginx", "answer", "Our configuration numbers requests.", added=NUMBERS),
    Difference("haproxy", "request", "Our configuration numbers requests.", added=ADDED),
    Difference("haproxy", "answer", "Our configuration numbers requests.", added=NUMBERS),
]


def allowed(who: str, way: str) -> list[Difference]:
    return [difference for difference in ALLOWED if (difference.who, difference.way) == (who, way)]


def expected(who: str, way: str, fields: Fields) -> Fields:
    for difference in allowed(who, way):
        fields = difference.fields(fields)
    return fields


def added(who: str, way: str) -> tuple[bytes, ...]:
    return tuple(name for difference in allowed(who, way) for name in difference.added)


def gets_through(who: str) -> Callable[[Request], bool]:
    return lambda request: not any(difference.refused(request) for difference in allowed(who, "request"))


def check(who: str, requests: list[Request], got: list[Got], notes: list[Any], version: str = "1.1") -> None:
    """Hold both ends against each other, request by request."""
    assert len(got) == len(requests)
    assert len(notes) == len(requests)
    unchunked = any(difference.unchunked for difference in allowed(who, "request"))
    for request, answer, note in zip(requests, got, notes, strict=True):
        note["headers"] = [pair for pair in note["headers"] if pair[0].encode() not in added(who, "request")]
        framings = [request.framing(), request.length()] if unchunked else [request.framing()]
        check_note(request, note, expected(who, "request", request.fields()), framings, version)
        fields = expected(who, "answer", request.plan.headers)
        check_answer(request, answer, fields, OWN + added(who, "answer"))


# -- h11 -------------------------------------------------------------------------------------------------------------


def h11_sends(request: Request) -> bytes:
    connection = h11.Connection(h11.CLIENT)
    fields = [(b"Host", b"judge.example"), *request.fields(), *request.framing()]
    data = connection.send(h11.Request(method=request.method, target=request.target, headers=fields))
    for part in request.parts:
        data += connection.send(h11.Data(data=part))
    return data + connection.send(h11.EndOfMessage())


def h11_reads(wire: Any, request: Request) -> Got:
    """The next answer on a wire; what was read beyond it stays there."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=request.method, target="/", headers=[("Host", "judge.example")]))
    connection.send(h11.EndOfMessage())
    if wire.buffer:
        connection.receive_data(wire.exactly(len(wire.buffer)))
    head, body = None, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(wire.read())
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            break
        else:
            raise AssertionError(f"{event} instead of an answer")
    wire.buffer = connection.trailing_data[0]
    assert head is not None
    return Got(head.status_code, list(head.headers), body)


def h11_client(server: Any, requests: list[Request], pipelined: bool) -> list[Got]:
    with server.connect() as wire:
        if pipelined:
            # Sent while answers are read: the server need not take all of it before (RFC 9112 section 9.3.2).
            with ThreadPoolExecutor(1) as pool:
                sending = pool.submit(wire.send, b"".join(map(h11_sends, requests)))
                got = [h11_reads(wire, request) for request in requests]
                sending.result()
            return got
        got = []
        for request in requests:
            wire.send(h11_sends(request))
            got.append(h11_reads(wire, request))
        return got


def test_h11(server: Any, notes: Any) -> None:
    @examples(100)
    @hypothesis.given(requests=sequences(5), pipelined=st.booleans())
    def judge(requests: list[Request], pipelined: bool) -> None:
        notes()
        check("h11", requests, h11_client(server, requests, pipelined), notes())

    judge()


# -- httpx -----------------------------------------------------------------------------------------------------------


def httpx_request(client: httpx.Client, request: Request) -> httpx.Request:
    content = None if request.body is None else iter(request.parts) if request.chunked else request.content
    url = client.base_url.copy_with(raw_path=request.target)
    return httpx.Request(request.method, url, headers=request.fields(), content=content)


def httpx_sends(client: httpx.Client, requests: list[Request]) -> tuple[list[Request], list[Got]]:
    """What it made of the requests, by its own account, and what it got."""
    sent, got = [], []
    for request in requests:
        made = httpx_request(client, request)
        fields = [field for field in without(lowered(made.headers.raw), FRAMING) if field[0] != b"x-plan"]
        sent.append(request._replace(target=made.url.raw_path, headers=fields))
        answer = client.send(made)
        got.append(Got(answer.status_code, answer.headers.raw, answer.content))
    return sent, got


def test_httpx(server: Any, notes: Any) -> None:
    with httpx.Client(base_url=server.url, timeout=20) as client:

        @examples(60)
        @hypothesis.given(requests=sequences(4))
        def judge(requests: list[Request]) -> None:
            notes()
            sent, got = httpx_sends(client, requests)
            check("httpx", sent, got, notes())

        judge()


# -- aiohttp ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aiohttp() -> Any:
    aiohttp = pytest.importorskip("aiohttp")
    from aiohttp import http_parser

    assert http_parser.HttpResponseParser is http_parser.HttpResponseParserPy, "conftest.py asks for the one in Python"
    return aiohttp


async def aiohttp_sends(aiohttp: Any, url: str, requests: list[Request]) -> list[Got]:
    from yarl import URL

    jar = aiohttp.DummyCookieJar()
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=timeout, auto_decompress=False) as session:
        got = []
        for request in requests:
            async with session.request(
                request.method,
                URL(url + request.target.decode(), encoded=True),
                headers=[(name.decode(), value.decode()) for name, value in request.fields()],
                data=aiohttp_body(request),
                chunked=True if request.chunked and request.body is not None else None,
                skip_auto_headers=["Accept", "Accept-Encoding", "Content-Type", "User-Agent"],
                allow_redirects=False,
            ) as answer:
                got.append(Got(answer.status, list(answer.raw_headers), await answer.read()))
        return got


def aiohttp_body(request: Request) -> Any:
    async def parts() -> Any:
        for part in request.parts:
            yield part

    return None if request.body is None else parts() if request.chunked else request.content


def aiohttp_can(request: Request) -> bool:
    """It takes fields as text, and drops one whose name comes again in other letters."""
    names = {name for name, _ in request.headers}
    return all(value.isascii() for _, value in request.headers) and len(names) == len({name.lower() for name in names})


def test_aiohttp(server: Any, notes: Any, aiohttp: Any) -> None:
    @examples(60)
    @hypothesis.given(requests=sequences(4, aiohttp_can))
    def judge(requests: list[Request]) -> None:
        notes()
        got = asyncio.run(aiohttp_sends(aiohttp, server.url, requests))
        check("aiohttp", requests, got, notes())

    judge()


# -- curl ------------------------------------------------------------------------------------------------------------


def quoted(value: bytes) -> bytes:
    """As curl's configuration files have it."""
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def curl_lines(request: Request, url: str, base: Path, version: str) -> Iterator[bytes]:
    """One request; it leaves head and body of the answer in files."""
    yield b"url = " + quoted(url.encode() + request.target)
    yield b"dump-header = " + quoted(os.fsencode(base.with_suffix(".head")))
    yield b"output = " + quoted(os.fsencode(base.with_suffix(".body")))
    yield b"head" if request.method == "HEAD" else b"request = " + request.method.encode()
    for name, value in [*request.fields(), (b"Accept:", b""), (b"User-Agent:", b"")]:
        # A name alone is a field to leave out; one without a value ends in a semicolon.
        yield b"header = " + quoted(name if name.endswith(b":") else name + b": " + value if value else name + b";")
    if request.body is not None:
        content = base.with_suffix(".sent")
        content.write_bytes(request.content)
        yield b"data-binary = " + quoted(b"@" + os.fsencode(content))
        if b"content-type" not in dict(lowered(request.headers)):
            yield b'header = "Content-Type:"'
    if request.chunked and request.body is not None:
        yield b'header = "Transfer-Encoding: chunked"'
        yield b'header = "Expect:"'
    for option in (f"http{version}", "silent", "show-error", "globoff", "path-as-is", 'noproxy = "*"', "max-time = 20"):
        yield option.encode()


def curl_sends(curl: str, url: str, requests: list[Request], folder: Path, version: str) -> list[Got]:
    """All of them by one curl, which keeps its connection."""
    parts = [b"\n".join(curl_lines(r, url, folder / str(number), version)) for number, r in enumerate(requests)]
    config = folder / "config"
    config.write_bytes(b"\nnext\n".join(parts))
    # -q: no configuration of whoever runs the test.
    done = subprocess.run([curl, "-q", "--config", str(config)], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    return [curl_got(request, folder / str(number)) for number, request in enumerate(requests)]


def curl_got(request: Request, base: Path) -> Got:
    lines = base.with_suffix(".head").read_bytes().split(b"\r\n")
    pairs = [line.partition(b":") for line in lines[1:] if line]
    body = base.with_suffix(".body")
    content = body.read_bytes() if body.exists() and request.method != "HEAD" else b""
    return Got(int(lines[0].split()[1]), [(name, value.strip(b" ")) for name, _, value in pairs], content)


def curl_can(version: str) -> Callable[[Request], bool]:
    """Whether curl can send it, and does so to its end.

    HEAD with a body is two things to ask of it, and HTTP/1.0 has no chunks. Where an answer begins before the body is
    sent, the rest of the body never is if the answer is one from 300 on (CURLOPT_KEEP_SENDING_ON_ERROR is not among its
    options), or the last one of the connection.
    """

    def can(request: Request) -> bool:
        if request.body is None:
            return True
        stops = request.plan.first and (request.plan.status >= 300 or version == "1.0")
        return request.method != "HEAD" and not stops and not (request.chunked and version == "1.0")

    return can


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_curl(server: Any, notes: Any, program: Any, tmp_path_factory: Any, version: str) -> None:
    curl = program("curl")

    @examples(20)
    @hypothesis.given(requests=sequences(8, curl_can(version)))
    def judge(requests: list[Request]) -> None:
        notes()
        got = curl_sends(curl, server.url, requests, tmp_path_factory.mktemp("curl"), version)
        check("curl", requests, got, notes(), version)

    judge()


# -- nginx and HAProxy -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["nginx", "nginx-buffering", "haproxy"])
def behind(request: pytest.FixtureRequest, server: Any, front: Any) -> Any:
    name, _, buffering = request.param.partition("-")
    return front(name, server, buffering=bool(buffering))


def test_proxies(behind: Any, notes: Any) -> None:
    who = behind.proxy.name

    @examples(60)
    @hypothesis.given(requests=sequences(4, gets_through(who)), pipelined=st.booleans())
    def judge(requests: list[Request], pipelined: bool) -> None:
        notes()
        check(who, requests, h11_client(behind, requests, pipelined), notes())

    judge()
