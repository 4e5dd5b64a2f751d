"""Limits on what clients may ask for: what they get beyond them. What attackers get stands in test_abuse."""

from __future__ import annotations

from typing import Any

import pytest

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
LIMITS = ["--timeout-request=1", "--limit-request-body=100000", "--limit-requests-per-connection=3"]


@pytest.fixture(scope="module")
def server(serve_module: Any) -> Any:
    return serve_module(*LIMITS, "limits:app", test_app=True)


def test_a_request_that_takes_too_long(server: Any) -> None:
    with server.says("(timeout_request is 1)"), server.connect() as wire:
        wire.request("/wait")
        answer = wire.answer()
        assert (answer.status, answer["retry-after"]) == (503, "1")
        assert wire.is_over()


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
    with server.connect() as first, server.connect() as second:
        for wire in (first, second):
            wire.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            assert wire.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")  # so it is in work
        with server.connect() as third:
            third.request("/")
            answer = third.answer()
        assert (answer.status, answer["retry-after"]) == (503, "1")
        for wire in (first, second):
            wire.send(b"ab")
            assert wire.answer().status == 200
