"""Several workers as clients see them: what becomes of their connections, above all of WebSockets."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def test_websockets_of_a_replaced_worker(serve: Any, loop: str) -> None:
    server = serve("examples.websocket_echo:app", "--workers=2", "--loop", loop)
    with connect(f"ws://127.0.0.1:{server.port}/") as client:
        client.send("before")
        assert client.recv() == "before"
        server.signal(signal.SIGHUP)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012  # come again
    with connect(f"ws://127.0.0.1:{server.port}/") as client:
        client.send("after")
        assert client.recv() == "after"


def test_websockets_count_as_requests(serve: Any) -> None:
    server = serve("examples.websocket_echo:app", "--workers=2", "--limit-max-requests=3")
    for _ in range(6):  # one of the two has had three of them by then
        with connect(f"ws://127.0.0.1:{server.port}/") as client:
            client.send("x")
            assert client.recv() == "x"
    server.wait_for("after 3 requests (limit_max_requests)")


def wait_for_lines(server: Any, text: str, count: int, after: int = 0) -> None:
    """Wait until so many lines have the text."""
    for _ in range(count):
        server.wait_for(text, after)
        after = next(number for number, line in enumerate(server.lines) if number >= after and text in line) + 1


def test_a_replaced_worker_says_so_on_idle_connections(serve: Any, loop: str) -> None:
    """It does not close what a client may be about to use; and a readiness probe is no reason to flinch."""
    arguments = ("--workers=2", "--readiness-path=/ready", "--timeout-keep-alive=60", "--loop", loop)
    server = serve("ending:app", *arguments, test_app=True)
    wait_for_lines(server, "is ready", 2)
    with server.connect() as kept, server.connect() as probe:
        for wire, path in ((kept, "/hello"), (probe, "/ready")):
            wire.request(path)
            assert wire.answer()["connection"] is None
        mark = len(server.lines)
        server.signal(signal.SIGHUP)
        wait_for_lines(server, "Shutting down", 2, mark)
        for wire, path, body in ((kept, "/hello", b"hello"), (probe, "/ready", b"ready")):
            wire.request(path)
            answer = wire.answer()
            assert (answer.status, answer.body, answer["connection"]) == (200, body, "close")
            assert wire.is_over()


def test_a_unix_socket_of_workers(run: Any, tmp_path: Path) -> None:
    """It outlives them, and goes with their parent."""
    path = tmp_path / "esg.sock"
    server = run(sys.executable, "-m", "esg", "examples.hello:app", f"--uds={path}", "--workers=2")
    server.wait_for("running on")
    mark = len(server.lines)
    server.signal(signal.SIGHUP)
    for _ in range(2):
        line = server.wait_for("is ready", mark)
        mark = server.lines.index(line) + 1
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    server.signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM
    assert not path.exists()
