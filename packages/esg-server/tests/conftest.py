"""What the tests share: a project folder to import from, loggers put back, a client, a server process."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 30.0
"""Seconds after which a process that says nothing has failed."""

HELLO = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
"""


def pytest_configure(config: pytest.Config) -> None:
    if sys.version_info < (3, 11):  # asyncio's own TLS takes a transport that its peer has closed for one forgotten
        config.addinivalue_line("filterwarnings", "ignore:unclosed transport <asyncio.sslproto:ResourceWarning")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ESG_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def clean_loggers() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("esg", "esg.error", "esg.access", "esg.asgi")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Write modules into a folder of their own: ``project(name=source, ...)``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)

    def write(**sources: str) -> Path:
        for name, source in sources.items():
            path = tmp_path / f"{name}.py"
            path.write_text(textwrap.dedent(source))
        return tmp_path

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


async def _get(address: tuple[str, int], path: str = "/") -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.fixture
def get() -> Callable[..., Any]:
    """``await get(address)``: one request, and everything that comes back."""
    return _get


class Process:
    """A program under test, its lines read as they come and its time bounded."""

    def __init__(self, command: Sequence[str], cwd: Path, env: dict[str, str]) -> None:
        self.popen = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "PYTHONWARNINGS": "error", **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.read: list[str] = []
        self._bound = threading.Timer(PATIENCE, self.popen.kill)
        self._bound.start()

    def wait_for(self, text: str, stream: str = "stderr") -> str:
        """Read lines up to the one that contains ``text``."""
        for line in getattr(self.popen, stream):
            self.read.append(line)
            if text in line:
                return str(line)
        raise AssertionError(f"{text!r} never came, but {''.join(self.read)!r}")

    def port(self) -> int:
        """Wait until it serves and say where."""
        return int(self.wait_for("ESG running on").split(" (")[0].rpartition(":")[2])

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: status, and the rest of stdout and stderr."""
        out, err = self.popen.communicate()
        self.close()
        return self.popen.returncode, out, err

    def close(self) -> None:
        self._bound.cancel()
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.communicate()
        for stream in (self.popen.stdout, self.popen.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start ``python *arguments`` beside an ``example.py``.

    ``esg`` puts ``-m esg --port 0`` in front, and ``under`` is a command that runs the whole.
    """
    processes = []

    def begin(
        *arguments: str,
        example: str = HELLO,
        esg: bool = True,
        env: dict[str, str] | None = None,
        under: Sequence[str] = (),
    ) -> Process:
        (tmp_path / "example.py").write_text(textwrap.dedent(example))
        before = ["-m", "esg", "--port", "0"] if esg else []
        processes.append(Process([*under, sys.executable, *before, *arguments], tmp_path, env or {}))
        return processes[-1]

    yield begin
    for process in processes:
        process.close()
