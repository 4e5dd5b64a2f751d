"""The programs in README.md run, and do what is said of them."""

from __future__ import annotations

import contextlib
import re
import socket
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.+?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def modules_stay(monkeypatch):
    """Whatever a program puts in httptools' place is taken out again."""
    for name in ("httptools", "httptools.parser", "httptools.parser.errors"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_block_runs(block):
    exec(compile(block, str(README), "exec"), {"__name__": "readme"})


@pytest.fixture
def serve():
    """The server of the first block, fed through a socket that needs no network."""
    names = {"__name__": "readme"}
    exec(compile(BLOCKS[0], str(README), "exec"), names)

    def answers_to(*pieces):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for piece in pieces:
                theirs.sendall(piece)
            theirs.shutdown(socket.SHUT_WR)
            names["serve"](ours)
            ours.shutdown(socket.SHUT_WR)
            answer = b""
            while data := theirs.recv(65536):
                answer += data
        return answer

    return answers_to


def test_server_answers_each_request(serve):
    post = b"POST /a%20b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
    assert serve(post + b"GET / HTTP/1.0\r\n\r\nignored") == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\nPOST /a b, 2 bytes\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nGET /, 0 bytes\n"
    )


def test_server_refuses(serve, capsys):
    assert serve(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 Error\r\n")
    assert serve(b"GET / HT").startswith(b"HTTP/1.1 400 Error\r\n")
    assert capsys.readouterr().out.count("bad request: ") == 2


@pytest.fixture
def proxy():
    """The proxy of the second block between two pairs of sockets: what either side gets when both have said all."""
    names = {"__name__": "readme"}
    exec(compile(BLOCKS[1], str(README), "exec"), names)

    def exchange(from_client, from_server):
        with contextlib.ExitStack() as stack:
            client, ours, theirs, server = (
                stack.enter_context(end) for end in (*socket.socketpair(), *socket.socketpair())
            )
            for end, data in ((client, from_client), (server, from_server)):
                end.sendall(data)
                end.shutdown(socket.SHUT_WR)
            names["proxy"](ours, theirs)
            ours.shutdown(socket.SHUT_WR)
            theirs.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b"")), b"".join(iter(lambda: server.recv(65536), b""))

    return exchange


def test_proxy_frames_anew(proxy):
    post = b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: x-a\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    interim, head = b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    answer, asked = proxy(post + b"2;x=y\r\nhi\r\n0\r\n\r\n", interim + head + b"until it ends")
    assert asked == b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    assert answer == (
        b"HTTP/1.1 103 Early\r\nlink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nd\r\nuntil it ends\r\n0\r\n\r\n"
    )


def test_proxy_goes_on(proxy):
    asked = b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
    assert proxy(asked, head + head + b"hi") == (head + head + b"hi", asked)


def test_proxy_refuses_what_can_be_read_in_two_ways(proxy, capsys):
    two = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc"
    assert proxy(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", two)[0] == b""
    assert capsys.readouterr().out.startswith("MalformedMessage: ")
