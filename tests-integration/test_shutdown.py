"""How a server ends: what is in work is finished, what is idle is closed, the application comes last."""

from __future__ import annotations

import signal
from typing import Any

import pytest


def start(serve: Any, loop: str, app: str = "ending:app") -> Any:
    return serve(app, "--loop", loop, "--lifespan", "on", test_app=True)


def begin_upload(wire: Any, server: Any) -> None:
    """A request that the application is at until the test sends the rest of its body."""
    wire.request("/", "POST", headers=("Content-Length: 8",))
    wire.send(b"half")
    server.wait_for("app: entered")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_a_request_in_work_is_finished(serve: Any, loop: str, number: int, status: int) -> None:
    server = start(serve, loop)
    with server.connect() as idle, server.connect() as fresh, server.connect() as busy:
        idle.request("/hello")
        assert idle.answer().body == b"hello"
        begin_upload(busy, server)
        server.signal(number)
        assert idle.is_over()
        assert fresh.is_over()
        server.wait_for("Waiting for connections to close.")
        assert not any("shutdown" in line for line in server.lines if line.startswith("app:"))
        busy.send(b"half")
        answer = busy.answer()
        assert (answer.status, answer.body) == (200, b"halfhalf")
        assert busy.is_over()
    assert server.wait() == status
    told = [line for line in server.lines if line.startswith("app:")]
    assert told == ["app: startup", "app: entered", "app: answered", "app: shutdown"]


def test_new_connections_are_refused_meanwhile(serve: Any, loop: str) -> None:
    server = start(serve, loop)
    with server.connect() as busy:
        begin_upload(busy, server)
        server.signal(signal.SIGTERM)
        server.wait_for("Waiting for connections to close.")
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        busy.send(b"half")
        assert busy.answer()["connection"] == "close"
    assert server.wait() == -signal.SIGTERM


def test_half_a_head_is_idle(serve: Any, loop: str) -> None:
    server = start(serve, loop)
    with server.connect() as wire:
        wire.request("/hello")
        wire.answer()
        wire.send(b"GET / HTTP/1.1\r\nHost: ")
        server.signal(signal.SIGTERM)
        assert wire.is_over()
    assert server.wait() == -signal.SIGTERM


def test_a_pipelined_request_behind_the_last_one(serve: Any, loop: str) -> None:
    """The request in work is the last: the answer says so, and the one behind it is not begun."""
    server = start(serve, loop)
    with server.connect() as busy:
        begin_upload(busy, server)
        server.signal(signal.SIGTERM)
        server.wait_for("Waiting for connections to close.")
        busy.send(b"half" + b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert busy.answer()["connection"] == "close"
        assert busy.is_over()
    assert server.wait() == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_forces(serve: Any, loop: str, number: int) -> None:
    server = start(serve, loop)
    with server.connect() as busy:
        begin_upload(busy, server)
        server.signal(number)
        server.wait_for("(CTRL+C to force quit)")
        server.signal(number)
        assert server.wait() == {signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: 0}[number]
        assert busy.is_over()
    # Nothing is waited for any more, the application's own end included.
    assert "app: shutdown" not in server.lines


def test_ctrl_c(serve: Any, loop: str) -> None:
    server = start(serve, loop)
    assert server.get("/hello").body == b"hello"
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert server.lines[-1].startswith("INFO:     Finished server process [")
    assert "app: shutdown" in server.lines


def test_work_behind_the_response_is_finished(serve: Any, loop: str) -> None:
    """The client has its answer and has left; the application is still at it."""
    server = start(serve, loop)
    with server.connect() as meeting:
        meeting.request("/meet", "POST", headers=("Content-Length: 1",))
        assert server.get("/behind").body == b"done"
        server.signal(signal.SIGTERM)
        server.wait_for("Waiting for")
        meeting.send(b"x")
        assert meeting.answer().body == b"x"
    assert server.wait() == -signal.SIGTERM
    told = [line for line in server.lines if line.startswith("app:")]
    assert told == ["app: startup", "app: behind", "app: shutdown"]
