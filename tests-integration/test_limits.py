"""Clients that would take a server down, against a real one with limits that can be waited for."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest

MIB = 1024 * 1024
MOST_GROWN = 8 * MIB
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
TIMES = ["--timeout-request-head", "1", "--timeout-request-body", "1", "--timeout-write", "1", "--timeout-request", "4"]
SIZES = ["--limit-request-body", "100000", "--limit-requests-per-connection", "3"]


@pytest.fixture(scope="module")
def server(serve_module: Any) -> Any:
    return serve_module(*TIMES, *SIZES, "limits:app", test_app=True)


def is_silent(wire: Any, seconds: float = 0.1) -> bool:
    """Whether the server says nothing, and does not close either, for so long."""
    return not select.select([wire.socket], [], [], seconds)[0]


def dribble(wire: Any, byte: bytes) -> None:
    """Send a byte ten times a second until the server has had enough."""
    with contextlib.suppress(ConnectionError):
        while is_silent(wire):
            wire.send(byte)


@pytest.mark.parametrize("begin", [b"", b"\r\n"], ids=["nothing", "an empty line"])
def test_a_connection_on_which_no_head_begins(server: Any, begin: bytes) -> None:
    with server.says("(timeout_request_head is 1)"), server.connect() as wire:
        wire.send(begin)
        assert wire.rest().partition(b"\r\n")[0] in (b"", b"HTTP/1.1 408 Request Timeout")


@pytest.mark.parametrize(
    ("begin", "byte", "limit"),
    [
        (b"GET /", b"a", "timeout_request_head"),
        (HEAD, b"", "timeout_request_head"),
        (HEAD + b"X: ", b"x", "timeout_request_head"),
        (HEAD + b"Content-Length: 50000\r\n\r\n", b"", "timeout_request_body"),
        (HEAD + b"Content-Length: 50000\r\n\r\n", b"x", "timeout_request_body"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0", "timeout_request_body"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n", b"x", "timeout_request_body"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"x", "timeout_request_body"),
    ],
    ids=["target", "fields stall", "fields", "body stalls", "body", "chunk size", "chunk", "trailer"],
)
def test_a_request_that_does_not_come(server: Any, begin: bytes, byte: bytes, limit: str) -> None:
    with server.says(f"({limit} is 1)"), server.connect() as wire:
        wire.send(begin)
        dribble(wire, byte)
        answer = wire.answer()
        assert (answer.status, answer["connection"]) == (408, "close")
        assert wire.is_over()


def test_a_response_that_is_not_read(server: Any) -> None:
    before = server.memory()
    with server.says("(timeout_write is 1)"), server.connect(receive_buffer=4096) as wire:
        wire.request("/stream")
        server.wait_for("(timeout_write is 1)", len(server.lines))
        assert server.memory() - before < MOST_GROWN
        assert not wire.answer().complete


def test_a_request_that_takes_too_long(server: Any) -> None:
    with server.says("(timeout_request is 4)"), server.connect() as wire:
        wire.request("/wait")
        answer = wire.answer()
        assert (answer.status, answer["retry-after"]) == (503, "1")
        assert wire.is_over()


def test_an_endless_head(server: Any) -> None:
    """200 MB are on offer; it takes what it may and answers."""
    before, offered, sent = server.memory(), 200 * MIB, 0
    with server.connect() as wire:
        wire.send(HEAD + b"X: ")
        with contextlib.suppress(ConnectionError):
            while sent < offered and is_silent(wire, 0):
                wire.send(b"x" * 65536)
                sent += 65536
        assert wire.head().status == 431
        assert sent < 8 * MIB
    assert server.memory() - before < MOST_GROWN


def test_a_body_that_is_too_large(server: Any) -> None:
    with server.connect() as wire:
        wire.send(HEAD + b"Content-Length: 100001\r\n\r\n")
        assert wire.answer().status == 413
        assert wire.is_over()


def test_the_last_request_of_a_connection(server: Any) -> None:
    with server.connect() as wire:
        said = []
        for _ in range(3):
            wire.request("/")
            said.append(wire.answer()["connection"])
        assert said == [None, None, "close"]
        assert wire.is_over()


def test_more_requests_than_can_be_worked_on(serve: Any) -> None:
    server = serve("--limit-concurrency", "2", "limits:app", test_app=True)
    with server.connect() as first, server.connect() as second, server.connect() as third:
        for wire in (first, second):
            wire.send(HEAD + b"Content-Length: 2\r\n\r\n")
        third.request("/")
        answer = third.answer()
        assert (answer.status, answer["retry-after"]) == (503, "1")
        for wire in (first, second):
            wire.send(b"ab")
            assert wire.answer().status == 200


@pytest.fixture
def many_files() -> Iterator[int]:
    """How many connections there may be; processes that are started meanwhile may have as many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield min(2000, wanted - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_idle_connections_beside_live_ones(serve: Any, many_files: int) -> None:
    server = serve("limits:app", test_app=True)
    before = server.memory()
    with contextlib.ExitStack() as stack:
        for _ in range(many_files):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        for _ in range(20):
            assert server.get("/").status == 200
        assert (server.memory() - before) / many_files < 16 * 1024
