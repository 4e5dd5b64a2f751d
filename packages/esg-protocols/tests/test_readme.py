"""Every Python block of the README runs, and the programs in it do what it says."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[1] / "README.md"


def blocks() -> list[dict[str, Any]]:
    found = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    namespaces: list[dict[str, Any]] = []
    for source in found:
        namespace: dict[str, Any] = {"__name__": "readme"}
        exec(compile(source, str(README), "exec"), namespace)
        namespaces.append(namespace)
    return namespaces


def exchange(sock: socket.socket, data: bytes, end: bytes) -> bytes:
    sock.sendall(data)
    received = b""
    while not received.endswith(end):
        received += sock.recv(65536)
    return received


def test_the_blocking_server() -> None:
    namespace = blocks()[0]
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    thread = threading.Thread(target=namespace["serve"], args=(ours, namespace["hello"]))
    thread.start()
    with theirs:
        get = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
        assert exchange(theirs, get % 1 + get % 2, b"GET /2 with 0 bytes\n").count(b"HTTP/1.1 200 OK") == 2
        post = b"POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        assert exchange(theirs, post, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        theirs.sendall(b"a")
        assert exchange(theirs, b"b", b"POST /3 with 2 bytes\n").startswith(b"HTTP/1.1 200 ")
        assert exchange(theirs, b"GET / HTTP/9.9\r\n\r\n", b"Supported").startswith(b"HTTP/1.1 505 ")
        assert theirs.recv(1) == b""
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("sent", [b"", b"GET /", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na"])
def test_the_blocking_server_and_a_client_that_stops(sent: bytes) -> None:
    namespace = blocks()[0]
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    with theirs:
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        namespace["serve"](ours, namespace["hello"])
        assert theirs.recv(1) == b""


def test_the_asgi_server() -> None:
    namespace = blocks()[2]

    async def story() -> bytes:
        server = await namespace["serve"](0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        return answer

    assert asyncio.run(story()).endswith(b"\r\n\r\nok")
