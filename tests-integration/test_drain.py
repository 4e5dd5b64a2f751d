"""A stop that is announced: the server says that it is not ready, and serves on until nobody comes any more."""

from __future__ import annotations

import signal
from typing import Any


def test_a_server_that_drains(serve: Any, loop: str) -> None:
    arguments = ("--readiness-path", "/ready", "--drain-delay", "60", "--loop", loop)
    server = serve("ending:app", *arguments, test_app=True)
    assert server.get("/ready").status == 200
    with server.connect() as kept:
        kept.request("/hello")
        assert kept.answer()["connection"] is None
        with server.says("Still accepting connections for 60 seconds."):
            server.signal(signal.SIGTERM)
        # Who is there is served and sent away; who comes is served too.
        kept.request("/hello")
        answer = kept.answer()
        assert (answer.body, answer["connection"]) == (b"hello", "close")
        assert kept.is_over()
        assert server.get("/hello").body == b"hello"
        assert (server.get("/ready").status, server.get("/ready").body) == (503, b"not ready")
        with server.connect() as busy:
            busy.request("/", "POST", headers=("Content-Length: 8",))
            busy.send(b"half")
            server.wait_for("app: entered")
            server.signal(signal.SIGTERM)  # there is no more to wait for
            assert busy.is_over()
    assert server.wait() == -signal.SIGTERM


def test_a_drain_that_is_over_stops_as_always(serve: Any, loop: str) -> None:
    server = serve("ending:app", "--drain-delay", "0.2", "--loop", loop, "--lifespan", "on", test_app=True)
    with server.connect() as busy:
        busy.request("/", "POST", headers=("Content-Length: 8",))
        busy.send(b"half")
        server.wait_for("app: entered")
        server.signal(signal.SIGTERM)
        server.wait_for("Waiting for connections to close.")
        busy.send(b"half")
        assert busy.answer()["connection"] == "close"
        assert busy.is_over()
    assert server.wait() == -signal.SIGTERM
    told = "\n".join(server.lines)
    steps = ("Still accepting connections", "Shutting down", "Waiting for connections to close", "app: shutdown")
    assert [told.index(step) for step in steps] == sorted(told.index(step) for step in steps)
