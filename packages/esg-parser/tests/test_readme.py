"""The programs in README.md run, and do what is said of them."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.+?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


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
