"""Every Python block of the README runs, and the programs in it do what it says."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from esg_protocols.settings import Settings

README = Path(__file__).parents[1] / "README.md"


def sources() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)


def blocks() -> list[dict[str, Any]]:
    namespaces: list[dict[str, Any]] = []
    for source in sources():
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


def test_the_first_program_runs() -> None:
    """As it stands, in a process of its own, on a port that is free."""
    command = [sys.executable, "-W", "error", "-c", sources()[0]]
    program = subprocess.Popen(command, env={**os.environ, "PORT": "0"}, stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout is not None
        url = program.stdout.readline().strip()
        client = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for data in (None, b"a", b"b" * 1_000_000):
            with client.open(url + "path", data, timeout=20) as answer:
                size = len(data or b"")
                assert answer.read().decode() == f"{'POST' if data else 'GET'} /path with {size} bytes\n"
    finally:
        program.kill()
        program.communicate()


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


LAST = [
    b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n",
    b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n",
]


@pytest.mark.parametrize("head", LAST, ids=["close", "1.0"])
def test_the_blocking_server_waits_for_the_body_of_a_last_request(head: bytes) -> None:
    namespace = blocks()[0]
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    thread = threading.Thread(target=namespace["serve"], args=(ours, namespace["hello"]))
    thread.start()
    with theirs:
        theirs.sendall(head)
        theirs.sendall(b"ab")
        assert exchange(theirs, b"", b"POST / with 2 bytes\n").startswith(b"HTTP/1.1 200 ")
        assert theirs.recv(1) == b""
    thread.join(10)
    assert not thread.is_alive()


def test_the_blocking_server_lets_its_refusal_arrive() -> None:
    namespace = blocks()[0]
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    with theirs:
        theirs.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\nsome of it")
        theirs.shutdown(socket.SHUT_WR)
        namespace["serve"](ours, namespace["hello"])
        answer = b"".join(iter(lambda: theirs.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 413 ")


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


def test_the_websocket() -> None:
    namespace = blocks()[3]
    codec = namespace["load_codec"]("esg")()
    ping = bytes.fromhex("89 80 00000000")
    assert namespace["echo"](codec, namespace["HELLO"] * 2 + ping) == b"\x8a\x00" + b"\x81\x05Hello" * 2
    closing = namespace["echo"](codec, namespace["HELLO"] + b"\xff\xff")
    assert (closing[:8], closing[9:11]) == (b"\x81\x05Hello\x88", (1002).to_bytes(2, "big"))


def test_who_keeps_a_setting_is_said_of_each() -> None:
    section = README.read_text(encoding="utf-8").partition("\n## Limits, and who keeps them\n")[2]
    assert [field.name for field in dataclasses.fields(Settings) if f"`{field.name}`" not in section] == []
