"""Several workers: real processes, killed, stopped, replaced and counted."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]

PATIENCE = 20.0
WORKERS = """
import asyncio, ctypes, os, time

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        os.write(1, b"cleaned up %d\\n" % os.getpid())  # at once: other workers write there too
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    if path == "/block":
        ctypes.PyDLL(None).sleep(60)  # which keeps the GIL
    elif path == "/busy":
        print("entered", flush=True)
        await asyncio.sleep(60)
    elif path == "/blink":
        ctypes.PyDLL(None).usleep(1_200_000)
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""
NEVER_UP = """
import os, pathlib

with open("starts", "a") as file:
    file.write("x")
os.kill(os.getpid(), 9)
"""
FAILS = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""
STUCK = """
import asyncio

async def app(scope, receive, send):
    print("entered", flush=True)
    await asyncio.Event().wait()
"""


STRANGERS = """
for code in (3, 4):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.2)
            os._exit(code)
        os._exit(0)
    os.wait()
"""


class Family:
    """A parent and its workers, seen from outside, once all of them are ready."""

    def __init__(self, process: Any, workers: int = 2) -> None:
        self.process = process
        self.parent = process.popen.pid
        self.port = process.port()
        self.wait_for("is ready", workers - 1)  # the first one came before the port

    def pids(self) -> set[int]:
        """The parent's children."""
        return children_of(self.parent)

    def get(self, path: str = "/") -> int:
        """Ask, and say who answered."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE) as response:
            return int(response.read())

    def until(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < deadline, "".join(self.process.read)
            os.sched_yield()
        return found

    def wait_for(self, text: str, count: int = 1) -> list[int]:
        """The processes that so many lines with ``text`` are about."""
        return [int(re.search(r"\[(\d+)\]", self.process.wait_for(text))[1]) for _ in range(count)]  # type: ignore[index]

    def end(self, number: int = signal.SIGTERM, status: int = -signal.SIGTERM) -> tuple[str, str]:
        """Stop it, and see that nobody is left."""
        pids = self.pids()
        self.process.signal(number)
        ended, out, err = self.process.end()
        assert ended == status, err
        assert not [pid for pid in pids if is_there(pid)]
        return out, err


def children_of(parent: int) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()}


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def is_there(pid: int) -> bool:
    try:
        return state_of(pid) != "Z"
    except OSError:
        return False


def is_pending(pid: int, number: int) -> bool:
    """Whether a signal was sent that has not been taken yet."""
    pending = re.search(r"^ShdPnd:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return pending is not None and bool(int(pending[1], 16) >> (number - 1) & 1)


def ask(port: int) -> socket.socket:
    """A connection that has had an answer, and stays."""
    client = socket.create_connection(("127.0.0.1", port), PATIENCE)
    client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    assert b" 200 OK" in client.recv(1000)
    return client


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")


@pytest.fixture
def family(start: Start) -> Callable[..., Family]:
    def begin(*arguments: str, workers: int = 2, example: str = WORKERS, **more: Any) -> Family:
        return Family(start("example:app", f"--workers={workers}", *arguments, example=example, **more), workers)

    return begin


def test_workers_serve_and_stop(family: Callable[..., Family]) -> None:
    workers = family(workers=3)
    seen: set[int] = set()
    workers.until(lambda: seen.add(workers.get()) or seen == workers.pids())  # type: ignore[func-returns-value]
    out, err = workers.end()
    assert sorted(line for line in out.splitlines() if line.startswith("cleaned")) == sorted(
        f"cleaned up {pid}" for pid in seen
    )
    assert "ERROR" not in err
    assert "Traceback" not in err


def test_web_concurrency(family: Callable[..., Family], start: Start) -> None:
    process = start("example:app", example=WORKERS, env={"WEB_CONCURRENCY": "2"})
    workers = Family(process)
    workers.end(signal.SIGINT, 0)


def test_a_killed_worker_is_replaced(family: Callable[..., Family]) -> None:
    workers = family()
    first = workers.get()
    os.kill(first, signal.SIGKILL)
    assert "SIGKILL" in workers.process.wait_for(f"Worker [{first}] died")
    workers.wait_for("is ready")
    assert first not in workers.pids()
    assert len(workers.pids()) == 2
    assert workers.get() in workers.pids()
    workers.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_forces(family: Callable[..., Family], number: int) -> None:
    workers = family()
    with socket.create_connection(("127.0.0.1", workers.port)) as client:
        client.sendall(b"GET /busy HTTP/1.1\r\nHost: test\r\n\r\n")
        workers.process.wait_for("entered", "stdout")
        workers.process.signal(number)
        workers.process.wait_for("Waiting for connections to close.")
        workers.end(number, {signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: 0}[number])


def test_a_signal_to_every_process_is_one_signal(family: Callable[..., Family]) -> None:
    """As a service manager sends it: no worker takes the parent's for a second one."""
    workers = family()
    with socket.create_connection(("127.0.0.1", workers.port)) as client:
        client.sendall(b"GET /blink HTTP/1.1\r\nHost: test\r\n\r\n")
        with socket.create_connection(("127.0.0.1", workers.port)):
            for pid in (*workers.pids(), workers.parent):
                os.kill(pid, signal.SIGTERM)
            assert b" 200 OK" in client.recv(1000)
    workers.process.end()


def test_orphans_stop(family: Callable[..., Family]) -> None:
    workers = family()
    workers.get()
    pids = workers.pids()
    os.kill(workers.parent, signal.SIGKILL)
    workers.until(lambda: not any(map(is_there, pids)))
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", workers.port)):
        pass


def test_a_blocked_loop_is_killed_and_says_where_it_stands(family: Callable[..., Family]) -> None:
    workers = family("--timeout-worker-healthcheck=1.5")
    with socket.create_connection(("127.0.0.1", workers.port)) as client:
        client.sendall(b"GET /block HTTP/1.1\r\nHost: test\r\n\r\n")
        (pid,) = workers.wait_for("is killed: its event loop has been blocked for 1.5 s")
        workers.process.wait_for("example.py")
        assert "SIGABRT" in workers.process.wait_for(f"Worker [{pid}] died")
    workers.wait_for("is ready")
    workers.end()


@pytest.mark.once
def test_a_loop_that_is_blocked_for_less_is_let_be(family: Callable[..., Family]) -> None:
    workers = family("--timeout-worker-healthcheck=6")
    before = workers.pids()
    assert workers.get("/blink") in before
    assert workers.pids() == before
    workers.end()


@pytest.mark.once
def test_a_slow_import_is_no_blocked_loop(family: Callable[..., Family]) -> None:
    workers = family("--timeout-worker-healthcheck=1", example="import time\ntime.sleep(1.5)\n" + WORKERS)
    _, err = workers.end()
    assert "killed" not in err


def test_crash_loop_backs_off(start: Start, tmp_path: Path) -> None:
    process = start("example:app", "--workers=2", example=NEVER_UP)
    for wait in ("now", "0.5 s", "1 s"):
        assert wait in process.wait_for(f"it is replaced {'in ' * (wait != 'now')}{wait}")
    process.signal(signal.SIGTERM)
    assert process.end()[0] == -signal.SIGTERM
    assert len((tmp_path / "starts").read_text()) <= 8


@pytest.mark.parametrize(
    ("example", "arguments", "line"),
    [
        (FAILS, [], "CRITICAL: Application startup failed: no database"),
        (WORKERS, ["exmaple:app"], "CRITICAL: Cannot import 'exmaple:app'"),
        ("import sys; sys.exit(1)", [], "CRITICAL: Worker ["),
        ("import no_such_library", [], "CRITICAL: Cannot import 'example:app', its code raised ModuleNotFoundError"),
    ],
)
def test_the_parent_stops_when_a_worker_cannot_start(
    start: Start, example: str, arguments: list[str], line: str
) -> None:
    process = start(*(arguments or ["example:app"]), "--workers=3", example=example)
    status, _, err = process.end()
    assert status == 3
    assert sum(text.startswith(line) for text in err.splitlines()) == 1, err
    assert err.count("Traceback") == err.count("\nModuleNotFoundError:") == (example == "import no_such_library")
    assert "ResourceWarning" not in err


def test_a_stuck_startup_ends(start: Start) -> None:
    process = start("example:app", "--workers=2", example=STUCK)
    process.wait_for("entered", "stdout")
    process.signal(signal.SIGINT)
    status, _, err = process.end()
    assert status == 3
    assert "Traceback" not in err


def test_a_second_signal_ends_starts_that_are_blocked(start: Start) -> None:
    process = start(
        "example:app", "--workers=2", example=STUCK.replace("await asyncio.Event().wait()", "while True: pass")
    )
    process.wait_for("entered", "stdout")
    process.signal(signal.SIGINT)
    process.wait_for("Stopping 2 workers")
    process.signal(signal.SIGINT)
    status, _, err = process.end()
    assert status == 3
    assert "does not end" not in err


def test_more_and_fewer_workers(family: Callable[..., Family]) -> None:
    workers = family()
    workers.process.signal(signal.SIGTTIN)
    workers.process.wait_for("One worker more: 3")
    workers.wait_for("is ready")
    assert len(workers.pids()) == 3
    for left in (2, 1):
        workers.process.signal(signal.SIGTTOU)
        workers.process.wait_for(f"One worker less: {left}")
        workers.until(lambda left=left: len(workers.pids()) == left)
    workers.process.signal(signal.SIGTTOU)
    workers.process.wait_for("The last worker stays")
    workers.end()


def test_a_hangup_replaces_every_worker(family: Callable[..., Family], tmp_path: Path) -> None:
    workers = family()
    before = workers.pids()
    (tmp_path / "example.py").write_text(WORKERS.replace("str(os.getpid())", "str(-os.getpid())"))
    workers.process.signal(signal.SIGHUP)
    workers.process.wait_for("Reloading")
    workers.until(lambda: not before & workers.pids() and len(workers.pids()) == 2)
    assert -workers.get() in workers.pids()
    workers.end()


def test_a_stop_does_not_wait_for_those_that_are_replaced(family: Callable[..., Family]) -> None:
    """Idle connections keep a replaced worker for some time; the stop of all ends that too."""
    workers = family("--timeout-keep-alive=60")
    clients = [ask(workers.port) for _ in range(8)]
    before = workers.pids()
    workers.process.signal(signal.SIGHUP)
    workers.wait_for("is ready", 2)
    assert before & workers.pids()
    began = time.monotonic()
    workers.end()
    assert time.monotonic() - began < 8  # ten seconds is what an idle connection would get
    for client in clients:
        assert client.recv(1000) == b""
        client.close()


def test_a_stop_that_overtakes_the_word_to_leave(family: Callable[..., Family]) -> None:
    """Signals are seen before words, so a worker that was busy may hear last what was said first."""
    workers = family("--timeout-keep-alive=60")
    clients = [ask(workers.port) for _ in range(8)]
    before = workers.pids()
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    workers.process.signal(signal.SIGHUP)
    workers.wait_for("is ready", 2)
    workers.process.signal(signal.SIGTERM)
    workers.until(lambda: all(is_pending(pid, signal.SIGTERM) for pid in before))
    for pid in before:
        os.kill(pid, signal.SIGCONT)
    began = time.monotonic()
    for client in clients:
        assert client.recv(1000) == b""
        client.close()
    assert time.monotonic() - began < 8
    assert workers.process.end()[0] == -signal.SIGTERM


@pytest.mark.once
def test_who_does_not_end_is_killed(family: Callable[..., Family]) -> None:
    source = WORKERS.replace(
        "await receive()\n        os.write", "await receive()\n        time.sleep(60)\n        os.write"
    )
    workers = family("--timeout-graceful-shutdown=0.1", example=source)
    _, err = workers.end()
    assert err.count("does not end: it is killed") == 2


def test_a_reload_that_fails_leaves_the_workers_that_run(family: Callable[..., Family], tmp_path: Path) -> None:
    workers = family()
    before = workers.pids()
    workers.get()
    (tmp_path / "example.py").write_text("def app(:")
    workers.process.signal(signal.SIGHUP)
    assert "SyntaxError" in workers.process.wait_for("CRITICAL: Cannot import")
    workers.process.wait_for("The reload is given up")
    assert workers.get() in before
    assert workers.pids() == before
    workers.end()


def test_the_parent_idles(family: Callable[..., Family]) -> None:
    """No wakeups at all, so no CPU, and little memory: it has imported neither the application nor an event loop."""
    workers = family()
    workers.get()

    def wakeups() -> int:
        status = Path(f"/proc/{workers.parent}/status").read_text()
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[1])  # type: ignore[index]

    maps = Path(f"/proc/{workers.parent}/maps").read_text()
    assert "uvloop" not in maps
    assert "_asyncio" not in maps
    resident = int(Path(f"/proc/{workers.parent}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident < 30e6
    workers.until(lambda: state_of(workers.parent) == "S")
    before = wakeups()
    workers.get("/blink")
    assert wakeups() == before
    workers.end()


@pytest.mark.once
def test_workers_leave_no_descriptors(family: Callable[..., Family]) -> None:
    workers = family()

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{workers.parent}/fd"))

    before = descriptors()
    for _ in range(3):
        old = workers.pids()
        os.kill(min(old), signal.SIGKILL)
        workers.process.signal(signal.SIGHUP)
        workers.until(lambda old=old: not old & workers.pids() and len(workers.pids()) == 2)
    workers.get()
    # The replacement of one that was killed may be replaced once more, for a reload that came behind its start.
    workers.until(lambda: descriptors() == before)
    workers.end()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--limit-max-requests=20"], "20 requests (limit_max_requests)"),
        pytest.param(["--limit-worker-age=1"], "1 seconds (limit_worker_age)", marks=pytest.mark.once),
        pytest.param(["--limit-worker-memory=1"], "MiB (limit_worker_memory)", marks=pytest.mark.once),
    ],
)
def test_a_worn_worker_is_replaced(family: Callable[..., Family], arguments: list[str], reason: str) -> None:
    workers = family(*arguments, "--no-access-log")
    before = workers.pids()
    workers.until(lambda: workers.get() and before - workers.pids())
    assert reason in workers.process.wait_for("Replacing worker [")
    _, err = workers.end()
    assert "ERROR" not in err


def test_an_object_cannot_be_given_to_workers(start: Start) -> None:
    source = """
    import esg

    async def app(scope, receive, send):
        pass

    esg.run(app, workers=2, port=0)
    """
    status, _, err = start("example.py", esg=False, example=source).end()
    assert status == 3
    assert 'name it as "module:attribute"' in err.splitlines()[-1]


def test_workers_need_the_main_thread(start: Start) -> None:
    source = """
    import threading, esg

    thread = threading.Thread(target=esg.run, args=("example:app",), kwargs={"workers": 2, "port": 0})
    thread.start()
    thread.join()
    """
    _, _, err = start("example.py", esg=False, example=source).end()
    assert err.splitlines()[-1].startswith("CRITICAL: Workers are started from the main thread of a program only")


def test_systemd_hears_the_parent(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)

        def wait_for(word: str) -> None:
            while word not in manager.recv(4096).decode().split("\n"):
                pass

        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "500000"}
        process = start(
            "example:app", "--workers=2", example=WORKERS.replace("str(os.getpid())", "str(os.environ)"), env=env
        )
        for word in ("READY=1", "WATCHDOG=1", "WATCHDOG=1"):
            wait_for(word)
        port = process.port()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as response:
            assert b"NOTIFY_SOCKET" not in response.read()  # it is the parent who speaks
        process.signal(signal.SIGHUP)
        for word in ("RELOADING=1", "READY=1"):
            wait_for(word)
        process.signal(signal.SIGTERM)
        wait_for("STOPPING=1")
        assert process.end()[0] == -signal.SIGTERM


def test_run_needs_no_guard(start: Start) -> None:
    """Workers do not import the program's main module, so it need not see that it is main."""
    source = (
        WORKERS
        + '\nimport esg\nif not __name__.startswith("example"):\n    esg.run("example:app", workers=2, port=0)\n'
    )
    workers = Family(start("example.py", esg=False, example=source))
    assert workers.get() in workers.pids()
    workers.end()


PRELOADED = """
import os, threading

imported_by = os.getpid()

async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = b"%d" % (imported_by if scope["path"] == "/imported" else os.getpid())
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_preload(family: Callable[..., Family], loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    workers = family("--preload", "--loop", loop, example=PRELOADED)
    assert workers.get("/imported") == workers.parent
    before = workers.pids()
    first = workers.get()
    assert first in before
    os.kill(first, signal.SIGKILL)
    workers.wait_for("is ready")
    workers.process.signal(signal.SIGHUP)
    workers.until(lambda: not before & workers.pids() and len(workers.pids()) == 2)
    # A worker has none of what is between its parent and the others.
    counts = {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in workers.pids()}
    assert len(set(counts.values())) == 1, counts
    workers.end()


def test_preloaded_orphans_stop(family: Callable[..., Family]) -> None:
    workers = family("--preload", example=PRELOADED)
    pids = workers.pids()
    os.kill(workers.parent, signal.SIGKILL)
    workers.until(lambda: not any(map(is_there, pids)))


def test_preload_says_what_a_fork_does_not_take_along(family: Callable[..., Family]) -> None:
    source = PRELOADED + "\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    workers = family("--preload", example=source)
    assert any("has started threads (1) that its workers will not have" in line for line in workers.process.read)
    workers.end()


def test_preload_that_fails(start: Start) -> None:
    status, _, err = start("example:app", "--preload", "--workers=2", example="import no_such_library").end()
    assert status == 3
    assert err.count("CRITICAL") == 1
    assert err.splitlines()[-1] == "ModuleNotFoundError: No module named 'no_such_library'"


def test_a_single_process_reloads_on_a_hangup(start: Start) -> None:
    process = start("example:app")
    process.port()
    process.signal(signal.SIGHUP)
    process.wait_for("Reloaded")
    process.signal(signal.SIGTERM)
    assert process.end()[0] == -signal.SIGTERM


@pytest.mark.parametrize("workers", [1, 2])
def test_a_closed_terminal_stops(tmp_path: Path, workers: int) -> None:
    """A server in a terminal ends with its window; a hangup while the terminal is there is a reload."""
    import pty

    (tmp_path / "example.py").write_text(WORKERS)
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, "-m", "esg", "--port=0", f"--workers={workers}", "example:app"])
    said = b""
    while b"running on" not in said:
        said += os.read(terminal, 4096)
    os.kill(pid, signal.SIGHUP)
    while b"Reload" not in said:
        said += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM or workers == 1


def test_process_1_reaps_strangers(start: Start) -> None:
    """Their exit codes mean nothing; a worker of its own is still replaced."""
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("!!! NOT TESTED: process 1, for unshare --pid may not be used here")
    workers = Family(start("example:app", "--workers=2", example=WORKERS + STRANGERS, under=unshare))
    (workers.parent,) = workers.pids()
    # The strangers are its children from before a worker was ready until it has waited for them.
    workers.until(lambda: len(workers.pids()) == 2)
    assert workers.get()
    os.kill(min(workers.pids()), signal.SIGKILL)
    workers.wait_for("died (SIGKILL)")
    workers.wait_for("is ready")
    workers.until(lambda: len(workers.pids()) == 2)
    os.kill(workers.parent, signal.SIGTERM)
    status, _, err = workers.process.end()
    assert status == 0, err  # process 1 does not die of a signal of its own
    assert "".join([*workers.process.read, err]).count("died") == 1


@pytest.mark.once
def test_a_hangup_takes_new_certificates(start: Start, tmp_path: Path) -> None:
    import ssl

    import trustme

    def certify() -> ssl.SSLContext:
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context

    first = certify()
    workers = Family(
        start("example:app", "--workers=2", "--ssl-certfile=both.pem", "--ssl-reload-interval=0", example=WORKERS)
    )

    def shakes_hands(context: ssl.SSLContext) -> bool:
        with socket.create_connection(("127.0.0.1", workers.port)) as plain:
            try:
                context.wrap_socket(plain, server_hostname="127.0.0.1").close()
            except ssl.SSLCertVerificationError:
                return False
        return True

    assert shakes_hands(first)
    second = certify()
    assert shakes_hands(first)
    assert not shakes_hands(second)
    before = workers.pids()
    workers.process.signal(signal.SIGHUP)
    workers.until(lambda: not before & workers.pids() and len(workers.pids()) == 2)
    assert shakes_hands(second)
    workers.end()
