"""Files through the real server: as Starlette sends them, whole and in ranges, and to clients that stop reading."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

CONTENT = os.urandom(1000) * 10_000


@pytest.fixture
def server(serve: Any, loop: str, tmp_path: Path) -> Any:
    (tmp_path / "file").write_bytes(CONTENT)
    environment = {"FILE_TO_SEND": str(tmp_path / "file")}
    return serve("files:app", "--loop", loop, test_app=True, env=environment)


@pytest.mark.parametrize("path", ["/starlette", "/extension"])
def test_a_file_again_and_again(path: str, server: Any) -> None:
    with server.connect() as wire:
        for _ in range(3):
            wire.request(path)
            assert wire.answer().body == CONTENT


def test_head_and_ranges(server: Any) -> None:
    with server.connect() as wire:
        wire.request("/starlette", "HEAD")
        answer = wire.answer("HEAD")
        assert (answer.status, answer["content-length"]) == (200, str(len(CONTENT)))
        wire.request("/starlette", headers=("Range: bytes=1000-1999",))
        answer = wire.answer()
        assert (answer.status, answer.body) == (206, CONTENT[1000:2000])
        wire.request("/starlette", headers=("Range: bytes=-5",))
        assert wire.answer().body == CONTENT[-5:]


def test_pipelined(server: Any) -> None:
    with server.connect() as wire:
        wire.send(b"GET /extension HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        for _ in range(3):
            assert wire.answer().body == CONTENT


def test_memory_and_descriptors_stay_as_they_are(server: Any) -> None:
    """Clients that take a little of the file and go away, or stay and read no more."""
    descriptors = Path(f"/proc/{server.pid}/fd")
    if not descriptors.exists():
        pytest.skip("there is no /proc")
    assert server.get("/extension").body == CONTENT
    files, memory = len(list(descriptors.iterdir())), server.memory()
    waiting = [server.connect(receive_buffer=4096) for _ in range(20)]
    for wire in waiting:
        wire.request("/extension")
        assert wire.head().status == 200
    assert server.memory() - memory < 8 * 1024 * 1024
    for wire in waiting:
        wire.socket.close()
    assert server.get("/extension").body == CONTENT
    while len(list(descriptors.iterdir())) > files:
        server.get("/extension")  # a turn of its loop
