"""What the tests share: programs that run beside them, servers among them, and a client that shows the bytes.

Nothing here sleeps: a program is waited for by a line it prints, an application by an answer it gives.
All of it ends after ``PATIENCE`` at the latest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
APPS = Path(__file__).parent / "apps"
PATIENCE = 20.0
"""Seconds after which something that does not come has failed."""


class Process:
    """A program under test; its lines are read as they come, so that it never waits for us."""

    def __init__(self, *command: str, env: dict[str, str] | None = None, cwd: Path = ROOT) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ESG_")}
        self.popen = subprocess.Popen(
            command,
            cwd=cwd,
            env={**kept, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._over = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()

    def wait_for(self, text: str, after: int = 0) -> str:
        """The first line that contains ``text``, from line ``after`` on, once it is there."""

        def found() -> str | None:
            return next((line for line in self.lines[after:] if text in line), None)

        with self._news:
            self._news.wait_for(lambda: found() is not None or self._over, PATIENCE)
            line = found()
        assert line is not None, f"{text!r} never came, only:\n{self.told(after)}"
        return line

    @contextlib.contextmanager
    def says(self, text: str) -> Iterator[None]:
        """What happens inside makes the program print ``text``."""
        after = len(self.lines)
        yield
        self.wait_for(text, after)

    def told(self, after: int = 0) -> str:
        """What it printed, for messages: the end of it."""
        return "\n".join(self.lines[after:][-60:])

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def memory(self) -> int:
        """Bytes of memory that it holds; the test is skipped where no system tells."""
        try:
            text = Path(f"/proc/{self.popen.pid}/statm").read_text()
        except FileNotFoundError:
            pytest.skip("there is no /proc")
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def wait(self) -> int:
        """Wait for the end and say how it ended."""
        status = self.popen.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def close(self) -> None:
        """End it, come what may."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.wait()
        if self.popen.stdout is not None:
            self.popen.stdout.close()


class Server(Process):
    """``python -m esg`` on a free port.

    Args:
        faults: whether errors may stand in its log.
    """

    def __init__(
        self,
        *arguments: str,
        faults: bool = False,
        program: str | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        command = [program] if program else ["-m", "esg", "--port", "0"]
        env = {"PYTHONWARNINGS": "error", **(env or {})}
        super().__init__(sys.executable, *command, *arguments, env=env)
        self.faults = faults
        try:
            line = self.wait_for("running on http://127.0.0.1:")
        except BaseException:
            self.close()
            raise
        self.port = int(line.split(" (")[0].rpartition(":")[2])
        self.url = f"http://127.0.0.1:{self.port}"

    def connect(self, *, receive_buffer: int = 0) -> Wire:
        return Wire(self.port, receive_buffer=receive_buffer)

    def get(self, target: str) -> Answer:
        """One request on a connection of its own."""
        with self.connect() as wire:
            wire.request(target, close=True)
            return wire.answer()

    def stop(self) -> None:
        """Stop it as an operator would, and see that it ended well."""
        if self.popen.poll() is None:
            self.signal(signal.SIGTERM)
            assert self.wait() == -signal.SIGTERM, self.told()
        bad = [line for line in self.lines if line.startswith(("ERROR", "CRITICAL", "Traceback", "Exception"))]
        assert self.faults or not bad, self.told()
        warned = [line for line in self.lines if "Warning:" in line or "never awaited" in line]
        assert not warned, self.told()


class Answer:
    """A response as it came.

    Attributes:
        version, status: from the status line.
        headers: names in lower case, as sent, in order; a name that comes twice stands twice.
        body: without framing.
        complete: whether its framing says that it is whole.
    """

    def __init__(self, head: bytes) -> None:
        lines = head.split(b"\r\n")
        version, status, *_ = lines[0].split(b" ", 2)
        self.version = version.decode()
        self.status = int(status)
        pairs = [line.split(b":", 1) for line in lines[1:]]
        self.headers = [(name.lower().decode(), value.strip().decode("latin-1")) for name, value in pairs]
        self.body = b""
        self.complete = False

    def __getitem__(self, name: str) -> str | None:
        """The one field of that name, or None."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, (name, values)
        return values[0] if values else None


class Wire:
    """A connection on which a test sees and makes every byte."""

    def __init__(self, port: int, *, receive_buffer: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.buffer = b""
        try:
            self.socket.connect(("127.0.0.1", port))
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()

    # -- Out

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(
        self,
        target: str = "/",
        method: str = "GET",
        *,
        version: str = "1.1",
        headers: tuple[str, ...] = (),
        body: bytes | None = None,
        close: bool = False,
    ) -> None:
        """Send a whole request."""
        lines = [f"{method} {target} HTTP/{version}", "Host: test.example", *headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        if close:
            lines.append("Connection: close")
        self.send("\r\n".join([*lines, "", ""]).encode() + (body or b""))

    def end(self) -> None:
        """Close our side; the server's stays open."""
        self.socket.shutdown(socket.SHUT_WR)

    # -- In

    def read(self) -> bytes:
        """What comes next; empty at the end of the connection, however it ends."""
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""

    def until(self, mark: bytes) -> bytes:
        """Everything up to and with ``mark``; what is there if the connection ends before."""
        while mark not in self.buffer:
            data = self.read()
            if not data:
                taken, self.buffer = self.buffer, b""
                return taken
            self.buffer += data
        taken, _, self.buffer = self.buffer.partition(mark)
        return taken + mark

    def exactly(self, size: int) -> bytes:
        """``size`` bytes; fewer if the connection ends before."""
        parts = [self.buffer]
        got = len(self.buffer)
        while got < size and (data := self.read()):
            parts.append(data)
            got += len(data)
        data = b"".join(parts)
        self.buffer = data[size:]
        return data[:size]

    def head(self) -> Answer:
        """A status line and fields."""
        head = self.until(b"\r\n\r\n")
        assert head.endswith(b"\r\n\r\n"), f"the connection ended in a head: {head!r}"
        return Answer(head[:-4])

    def answer(self, method: str = "GET") -> Answer:
        """A whole response, or as much of it as comes (RFC 9112 section 6.3)."""
        answer = self.head()
        length = answer["content-length"]
        if method == "HEAD" or answer.status in (204, 304) or answer.status < 200:
            answer.complete = True
        elif answer["transfer-encoding"] == "chunked":
            assert length is None
            while (chunk := self.chunk()) is not None:
                answer.body += chunk
                if chunk == b"":
                    answer.complete = True
                    break
        elif length is not None:
            answer.body = self.exactly(int(length))
            answer.complete = len(answer.body) == int(length)
        else:
            answer.body = self.rest()
            answer.complete = True
        return answer

    def chunk(self) -> bytes | None:
        """One chunk, empty for the last; None when the connection ends before it does."""
        line = self.until(b"\r\n")
        if not line.endswith(b"\r\n"):
            return None
        size = int(line, 16)
        data = self.exactly(size + 2)
        return data[:-2] if len(data) == size + 2 and data.endswith(b"\r\n") else None

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        parts = [self.buffer]
        self.buffer = b""
        while data := self.read():
            parts.append(data)
        return b"".join(parts)

    def is_over(self) -> bool:
        """Wait for the server to close, and say whether it did so without another byte."""
        return self.rest() == b""


Serve = Callable[..., Server]


def _serving() -> Iterator[Serve]:
    servers: list[Server] = []

    def serve(*arguments: str, test_app: bool = False, **options: object) -> Server:
        """Start a server; ``test_app`` looks for the application in ``tests-integration/apps``."""
        where = ("--app-dir", str(APPS)) if test_app else ()
        servers.append(Server(*where, *arguments, **options))  # type: ignore[arg-type]
        return servers[-1]

    try:
        yield serve
        for server in servers:
            server.stop()
    finally:
        for server in servers:
            server.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start ``python -m esg`` with arguments; in the end it is stopped, and must end well."""
    yield from _serving()


@pytest.fixture(scope="module")
def serve_module() -> Iterator[Serve]:
    """``serve`` for servers that all tests of a module share."""
    yield from _serving()


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    """The event loop of a server, each in turn."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return str(request.param)


@pytest.fixture
def run() -> Iterator[Callable[..., Process]]:
    """Start any program; in the end it is killed if it still runs."""
    processes: list[Process] = []

    def start(*command: str) -> Process:
        processes.append(Process(*command))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


@pytest.fixture
def program() -> Callable[[str], str]:
    """The path of a program of the system; without it the test is skipped."""

    def find(name: str) -> str:
        # Debian keeps nginx where only root's PATH looks.
        path = shutil.which(name, path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
        if path is None:
            pytest.skip(f"{name} IS NOT INSTALLED, so nothing is known about it: apt-get install {name}")
        return path

    return find
