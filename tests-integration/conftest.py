"""What the tests share: programs that run beside them, servers among them, and a client that shows the bytes.

Nothing here sleeps: a program is waited for by a line it prints, an application by an answer it gives.
All of it ends after ``PATIENCE`` at the latest.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from .proxies import PROXIES, Proxy

ROOT = Path(__file__).parents[1]
APPS = Path(__file__).parent / "apps"
BEHIND_GUNICORN = bool(os.environ.get("ESG_TEST_GUNICORN"))
"""Whether the server under test is gunicorn's worker instead of ``python -m esg``."""
esg_alone = pytest.mark.skipif(BEHIND_GUNICORN, reason="about the esg command; test_gunicorn.py has gunicorn's own way")
ARBITERS_OPTIONS = {
    "app_dir": "--pythonpath",
    "limit_max_requests": "--max-requests",
    "timeout_graceful_shutdown": "--graceful-timeout",
}
PATIENCE = 20.0
"""Seconds after which something that does not come has failed."""

# aiohttp with its parser in Python: the one in C is llhttp, which is no other implementation to judge by.
os.environ["AIOHTTP_NO_EXTENSIONS"] = "1"


class Process:
    """A program under test; its lines are read as they come, so that it never waits for us."""

    def __init__(self, *command: str, env: dict[str, str] | None = None, cwd: Path = ROOT) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ESG_")}
        self.popen = subprocess.Popen(
            command,
            cwd=cwd,
            env={**kept, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
        )
        self.pid = self.popen.pid
        """Whose memory and files are looked at."""
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
        line = self.find(text, after, PATIENCE)
        assert line is not None, f"{text!r} never came, only:\n{self.told(after)}"
        return line

    def find(self, text: str, after: int, seconds: float) -> str | None:
        """As :meth:`wait_for`, and None if it does not come in so many seconds."""

        def found() -> str | None:
            return next((line for line in self.lines[after:] if text in line), None)

        with self._news:
            self._news.wait_for(lambda: found() is not None or self._over, seconds)
            return found()

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
            text = Path(f"/proc/{self.pid}/statm").read_text()
        except FileNotFoundError:
            pytest.skip("there is no /proc")
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def forget_peak(self) -> None:
        """From here on :meth:`peak_memory` is about what comes; the test is skipped where no system can."""
        try:
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        except OSError:
            pytest.skip("the system does not tell the peak of a process's memory")

    def peak_memory(self) -> int:
        """The most bytes of memory that it has held."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", text)
        assert found is not None, text
        return int(found[1]) * 1024

    def descriptors(self) -> int:
        """How many files, sockets among them, it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def wait(self) -> int:
        """Wait for the end and say how it ended."""
        assert self.ends_within(PATIENCE), f"it did not end ({states(self.popen.pid)}):\n{self.told()}"
        self._reader.join(PATIENCE)
        return self.popen.returncode

    def ends_within(self, seconds: float) -> bool:
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """End it, come what may."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.wait()
        if self.popen.stdout is not None:
            self.popen.stdout.close()


def children(pid: int) -> dict[int, str]:
    """The state letters of a process's children as /proc has them, by their pids; nothing where there is no /proc."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]  # behind a name that may hold anything
            if int(parent) == pid:
                found[int(path.parent.name)] = state
    return found


def states(pid: int) -> str:
    """How a process and its children are, for messages."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        state = next(line for line in lines if line.startswith("State:"))
        place = Path(f"/proc/{pid}/wchan").read_text()
        return f"{state}, at {place}, children {children(pid)}"
    return "no /proc tells how it is"


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
        env = {"PYTHONWARNINGS": "error", **(env or {})}
        behind_gunicorn = BEHIND_GUNICORN and program is None
        if behind_gunicorn:
            command, variables = gunicorn_command(arguments)
            env |= variables
        else:
            command = [sys.executable, *([program] if program else ["-m", "esg", "--port", "0"]), *arguments]
        super().__init__(*command, env=env)
        self.faults = faults
        self.status = 0 if behind_gunicorn else -signal.SIGTERM
        """How it ends after SIGTERM."""
        try:
            line = self.wait_for("running on http")
            if behind_gunicorn:
                self.pid = int(self.wait_for("Booting worker with pid: ").rpartition(" ")[2])
        except BaseException:
            self.close()
            raise
        self.url = line.split(" (")[0].rpartition(" ")[2]
        self.port = int(self.url.rpartition(":")[2])
        self.tls: ssl.SSLContext | None = None
        """With what :meth:`connect` speaks TLS, where the server does."""

    def connect(self, *, receive_buffer: int = 0) -> Wire:
        return Wire(self.port, receive_buffer=receive_buffer, tls=self.tls)

    def get(self, target: str) -> Answer:
        """One request on a connection of its own."""
        with self.connect() as wire:
            wire.request(target, close=True)
            return wire.answer()

    def said_since(self, after: int) -> list[str]:
        """All that it has printed since line ``after``; a bad request makes the last line of it."""
        mark = len(self.lines)
        with self.connect() as wire:
            wire.send(b"mark\r\n\r\n")
            assert wire.answer().status >= 400
            _, port = wire.socket.getsockname()
        self.wait_for(f"Invalid HTTP request received from 127.0.0.1:{port}", mark)
        return list(self.lines[after:])

    def faults_since(self, after: int) -> list[str]:
        return faults_in(self.said_since(after))

    def until(self, condition: Callable[[], bool]) -> None:
        """Ask it for this and that until something holds of it: it has had its turns then."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"it never came to it:\n{self.told()}"
            assert self.get("/hello").status == 200

    def stop(self) -> None:
        """Stop it as an operator would, and see that it ended well."""
        if self.popen.poll() is None:
            self.signal(signal.SIGTERM)
            assert self.wait() == self.status, self.told()
        assert self.faults or not faults_in(self.lines), self.told()
        warned = [line for line in self.lines if "Warning:" in line or "never awaited" in line]
        assert not warned, self.told()


def gunicorn_command(arguments: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """gunicorn's command line and variables for what ``esg`` would be told by arguments."""
    from esg.config import Config
    from esg.options import options_of

    flags = {flag: option for option in options_of(Config) for flag in (*option.opts, *option.secondary_opts)}
    command = [str(Path(sys.executable).with_name("gunicorn")), "-k", "esg.workers.ESGWorker", "-b", "127.0.0.1:0"]
    command += ["-c", str(APPS / "gunicorn_conf.py")]
    variables: dict[str, str] = {}
    rest = iter(part for argument in arguments for part in argument.split("=", argument.startswith("--")))
    for argument in rest:
        option = flags.get(argument)
        if option is None:
            command.append(argument)
        elif option.name in ARBITERS_OPTIONS:
            command += [ARBITERS_OPTIONS[option.name], next(rest)]
        else:
            value = str(argument in option.opts) if option.is_flag else next(rest)
            variables[f"ESG_{(option.name or '').upper()}"] = value
    return command, variables


def faults_in(lines: list[str]) -> list[str]:
    """The lines that say that something is wrong with the server or its application."""
    # The last one is asyncio's, and without a level: somebody writes on and on to a client that has left.
    return [
        line
        for line in lines
        if line.startswith(("ERROR", "CRITICAL", "Traceback", "Exception", "socket.send() raised"))
    ]


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
    """A connection on which a test sees and makes every byte, below TLS if there is any.

    Args:
        tls: with what to speak it; the server is called localhost.
    """

    def __init__(self, port: int, *, receive_buffer: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.buffer = b""
        try:
            self.socket.connect(("127.0.0.1", port))
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
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

    def reset(self) -> None:
        """Break off: without lingering a close is a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def offer(self, data: bytes, size: int, sent: int = 0) -> int:
        """Send ``data`` again and again, up to ``size`` bytes, until nobody takes more; how many were taken by then.

        Args:
            sent: how many of them were sent before.
        """
        self.socket.setblocking(False)
        try:
            while sent < size and select.select([], [self.socket], [], 0.3)[1]:
                begin = sent % len(data)
                sent += self.socket.send(memoryview(data)[begin : begin + size - sent])
        except ConnectionError:
            pass
        finally:
            self.socket.settimeout(PATIENCE)
        return sent

    # -- In

    def is_silent(self, seconds: float = 0) -> bool:
        """Whether the server says nothing, and does not close either, for so long."""
        return not select.select([self.socket], [], [], seconds)[0]

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


class To(Wire):
    """A connection to any place."""

    def __init__(self, place: str) -> None:
        url, self.buffer = urlsplit(place), b""
        if url.scheme == "unix":
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE)
            try:
                self.socket.connect(url.path)
            except BaseException:
                self.socket.close()
                raise
        else:
            self.socket = socket.create_connection((url.hostname or "", url.port or 0), PATIENCE)


class Listening(Process):
    """``python -m esg`` wherever its arguments say.

    Attributes:
        places: where it says that it runs.
    """

    def __init__(self, *arguments: str, before: tuple[str, ...] = (), env: dict[str, str] | None = None) -> None:
        self.places: list[str] = []
        command = (*before, sys.executable, "-m", "esg", "--app-dir", str(APPS), *arguments, "listening:app")
        super().__init__(*command, env={"PYTHONWARNINGS": "error", **(env or {})})

    def wait_until_it_serves(self) -> None:
        line = self.wait_for("ESG running on ")
        self.places = line.partition("running on ")[2].partition(" (Press")[0].split(", ")

    def stop(self) -> None:
        self.signal(signal.SIGTERM)
        assert self.wait() == -signal.SIGTERM, self.told()
        assert not faults_in(self.lines), self.told()

    def refusal(self) -> str:
        """Why it did not start."""
        assert self.wait() == 3, self.told()
        return self.lines[-1].removeprefix("CRITICAL: ")


OPENER = """
import os, socket, sys

def tcp():
    return socket.create_server(("127.0.0.1", 0))

def unix(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    return sock

env = dict(os.environ)
opened = [{sockets}]
spare = [os.dup2(sock.fileno(), 100 + place) for place, sock in enumerate(opened)]
for place, number in enumerate(spare, 3):
    os.dup2(number, place, inheritable=True)
{more}
os.execve(sys.argv[1], sys.argv[1:], env)
"""
ACTIVATED = "env.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(opened)), LISTEN_FDNAMES='web:api')"


def left_open(*sockets: str, more: str = "") -> tuple[str, ...]:
    """Run a command with sockets as its descriptors from 3 on."""
    return (sys.executable, "-c", OPENER.format(sockets=", ".join(sockets), more=more))


Serve = Callable[..., Server]
Start = Callable[..., Listening]


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


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a server wherever its arguments say; ``serves=False`` does not wait for it to come up."""
    processes: list[Listening] = []

    def begin(*arguments: str, serves: bool = True, **options: Any) -> Listening:
        processes.append(Listening(*arguments, **options))
        if serves:
            processes[-1].wait_until_it_serves()
        return processes[-1]

    try:
        yield begin
    finally:
        for process in processes:
            process.close()


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    """The event loop of a server, each in turn."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return str(request.param)


@pytest.fixture
def word(request: pytest.FixtureRequest) -> str:
    """A word of the test's own, for its gates and notes."""
    return re.sub(r"\W", "-", request.node.name)


@pytest.fixture(scope="module")
def many_files() -> Iterator[int]:
    """How many connections there may be; processes that are started meanwhile may have as many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield min(2000, wanted - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _running() -> Iterator[Callable[..., Process]]:
    processes: list[Process] = []

    def start(*command: str) -> Process:
        processes.append(Process(*command))
        return processes[-1]

    try:
        yield start
    finally:
        for process in processes:
            process.close()


@pytest.fixture
def run() -> Iterator[Callable[..., Process]]:
    """Start any program; in the end it is killed if it still runs."""
    yield from _running()


@pytest.fixture(scope="module")
def run_module() -> Iterator[Callable[..., Process]]:
    """``run`` for programs that all tests of a module share."""
    yield from _running()


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """The path of a program of the system; without it the test is skipped."""

    def find(name: str) -> str:
        # Debian keeps nginx where only root's PATH looks.
        path = shutil.which(name, path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
        if path is None:
            pytest.skip(f"{name} IS NOT INSTALLED, so nothing is known about it: apt-get install {name}")
        return path

    return find


class Front(Process):
    """A proxy in front of a server.

    Args:
        faults: whether it may say that something is wrong.
        options: see :meth:`Proxy.configure`.
    """

    def __init__(self, proxy: Proxy, path: str, folder: Path, server: Server, faults: bool, options: Any) -> None:
        self.port, arguments = proxy.configure(folder, server.port, **options)
        super().__init__(path, *arguments)
        self.proxy = proxy
        self.faults = faults
        self.url = f"http://127.0.0.1:{self.port}"

    def connect(self) -> Wire:
        return Wire(self.port)

    def wait_until_it_serves(self) -> None:
        """A proxy that has passed on a request listens to signals too; one that only listens need not."""
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self.popen.poll() is None and time.monotonic() < deadline, self.told()
            with contextlib.suppress(ConnectionRefusedError), self.connect() as wire:
                wire.request(close=True)
                assert wire.answer().status == 200
                return

    def stop(self) -> None:
        """Stop it in order, and see that all went well."""
        if self.popen.poll() is None:
            self.signal(self.proxy.stop)
        assert self.wait() == 0, self.told()
        assert self.faults or not [line for line in self.lines if re.search(self.proxy.fault, line)], self.told()


@pytest.fixture(scope="module")
def front(program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Front]]:
    """Put a proxy in front of a server, by its name."""
    fronts: list[Front] = []

    def start(name: str, server: Server, *, faults: bool = False, **options: Any) -> Front:
        folder = tmp_path_factory.mktemp(name)
        fronts.append(Front(PROXIES[name], program(name), folder, server, faults, options))
        fronts[-1].wait_until_it_serves()
        return fronts[-1]

    try:
        yield start
        for each in fronts:
            each.stop()
    finally:
        for each in fronts:
            each.close()


# -- What the attacks of test_abuse and the cases of test_autobahn came to, as tables at the end

COLUMNS = ("attack", "loop", "what the server did", "seconds", "MiB grown", "bytes taken")
CASES = ("cases", "codec", "loop", "run", "OK", "non-strict", "informational", "failed")
_attacks: list[tuple[str, ...]] = []
_conformance: list[tuple[str, ...]] = []


@pytest.fixture(scope="session")
def attacks() -> list[tuple[str, ...]]:
    """Rows of the table, with the ``COLUMNS`` above."""
    return _attacks


@pytest.fixture(scope="session")
def conformance() -> list[tuple[str, ...]]:
    """Rows of the table, with the columns ``CASES`` above."""
    return _conformance


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for title, columns, rows in (("attacks", COLUMNS, _attacks), ("Autobahn", CASES, _conformance)):
        if rows:
            terminalreporter.section(title)
            write_table(terminalreporter, [columns, *rows])


def write_table(terminalreporter: pytest.TerminalReporter, rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        # Numbers to the right.
        cells = [cell.ljust(widths[i]) if i < 3 else cell.rjust(widths[i]) for i, cell in enumerate(row)]
        terminalreporter.write_line("  ".join(cells).rstrip())
