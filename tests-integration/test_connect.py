"""CONNECT that an app answers with 2xx: behind it a proxy no longer looks at what it passes on."""

from __future__ import annotations

from typing import Any

import pytest

CONNECT = b"CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n"
HIDDEN = b"GET /target?hidden HTTP/1.1\r\nHost: a.example\r\nX-Front-Id: forged\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def server(serve_module: Any) -> Any:
    return serve_module("wire:app", "--no-access-log", test_app=True, faults=True)


def test_nothing_is_answered_behind_a_tunnel(server: Any) -> None:
    """RFC 9110 section 9.3.6: no Content-Length in a 2xx to CONNECT, and what follows is no longer HTTP."""
    with server.connect() as wire:
        wire.send(CONNECT + HIDDEN)
        answers = wire.rest()
    assert b"?hidden" not in answers or not answers.startswith(b"HTTP/1.1 2")


def test_no_request_gets_past_haproxy(server: Any, front: Any) -> None:
    with front("haproxy", server).connect() as wire:
        wire.send(CONNECT + HIDDEN)
        answers = wire.rest()
    # HAProxy numbers every answer; one without a number is to a request that it has not seen.
    assert answers.count(b"HTTP/1.1 ") == answers.count(b"x-front-id: ")
