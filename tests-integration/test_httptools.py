"""uvicorn and Sanic, with esg_parser.httptools in the place of httptools."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import APPS, Process, Wire

PARSERS = {
    "uvicorn": "esg_parser.httptools.HttpRequestParser",
    "sanic": "esg_parser.httptools.URL",  # it has a parser of its own, and takes parse_url alone
}


@pytest.fixture(scope="module", params=list(PARSERS))
def name(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param, reason=f"{request.param.upper()} IS NOT INSTALLED, so it was not tried")
    return str(request.param)


@pytest.fixture(scope="module")
def port(name: str) -> Iterator[int]:
    process = Process(sys.executable, str(APPS / "with_httptools.py"), name)
    try:
        yield int(process.wait_for("listening on ").rpartition(" ")[2])
        assert not [line for line in process.lines if "Traceback" in line or "ERROR" in line], process.told()
    finally:
        process.close()


@pytest.fixture
def wire(port: int) -> Iterator[Wire]:
    with Wire(port) as wire:
        yield wire


def test_it_is_ours(wire: Any, name: str) -> None:
    wire.request("/parsers")
    assert wire.answer().body.decode() == PARSERS[name]


def test_get(wire: Any) -> None:
    wire.request("/echo?a=b%20c")
    answer = wire.answer()
    assert (answer.status, answer.body) == (200, b"GET /echo?a=b%20c ")


def test_post(wire: Any) -> None:
    body = bytes(range(256)) * 1000
    wire.request("/echo", "POST", body=body)
    assert wire.answer().body == b"POST /echo? " + body


def test_chunked_upload(wire: Any) -> None:
    wire.send(b"PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
    wire.send(b"lo\r\n1;a=b\r\n!\r\n")
    wire.send(b"0\r\n\r\n")
    assert wire.answer().body == b"PUT /echo? hello!"


def test_keep_alive(wire: Any) -> None:
    for _ in range(5):
        wire.request("/peer")
        assert wire.answer().body == b"%d" % wire.socket.getsockname()[1]
    wire.request("/peer", close=True)
    assert wire.answer().complete and wire.is_over()


def test_bad_request(wire: Any) -> None:
    wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
    assert wire.answer().status == 400
