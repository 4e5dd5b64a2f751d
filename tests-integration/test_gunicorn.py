"""gunicorn's arbiter, signals and settings with ESG's worker: real processes, real traffic."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from .conftest import ACTIVATED, APPS, PATIENCE, ROOT, Process, Wire, children, faults_in, left_open
from .test_behind_proxies import NGINX

pytest.importorskip("gunicorn")

pytestmark = pytest.mark.once

WORKER = "esg.workers.ESGWorker"
# No control socket in the home directory; older gunicorns do not know the setting.
NO_CONTROL_SOCKET = ("--no-control-socket",)
GRACEFUL_TIMEOUT = 30.0
"""gunicorn's default of its ``graceful_timeout``, in seconds."""

ONE_AND_FOUR = pytest.mark.parametrize("workers", [1, 4])


class Gunicorn(Process):
    """``gunicorn arbiter:app -k esg.workers.ESGWorker`` on a free port, once its workers serve.

    Args:
        arguments: more of its command line.
        workers: how many.
        conf: lines of its configuration file.
        before: a command that runs it, with sockets.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        workers: int = 1,
        port: int = 0,
        conf: str = "",
        app: str = "arbiter:app",
        scheme: str = "http",
        env: dict[str, str] | None = None,
        bind: str = "",
        before: tuple[str, ...] = (),
    ) -> None:
        self.conf = folder / "gunicorn.conf.py"
        self.conf.write_text(conf)
        command = [*before, binary(), app, "-k", WORKER, "-c", str(self.conf)]
        command += [
            "-w",
            str(workers),
            "-b",
            bind or f"127.0.0.1:{port}",
            "--chdir",
            str(APPS),
            *control_socket(),
            *arguments,
        ]
        super().__init__(*command, env={"PYTHONWARNINGS": "error", **(env or {})})
        self.workers = workers
        self.scheme = scheme

    def ready(self) -> Gunicorn:
        """Wait until every worker serves."""
        line = self.wait_for("Listening at: ")
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        self.port = int(found[1]) if found else 0
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"
        self.until(lambda: self.count("ESG running on") >= self.workers)
        return self

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds of what it has printed."""
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while not condition():
                left = deadline - time.monotonic()
                assert left > 0 and not self._over, f"it never came to it:\n{self.told()}"
                self._news.wait(left)

    def count(self, text: str, after: int = 0) -> int:
        # What two workers print may end up in one line: unbuffered, print() writes its end of line by itself.
        return sum(line.count(text) for line in self.lines[after:])

    def pids(self, after: int = 0) -> list[int]:
        """The processes of the workers that were started."""
        found = (re.search(r"Booting worker with pid: (\d+)", line) for line in self.lines[after:])
        return [int(match[1]) for match in found if match]

    def get(self, target: str = "/", **options: Any) -> httpx.Response:
        return httpx.get(self.url + target, timeout=PATIENCE, **options)

    def connect(self) -> Wire:
        return Wire(self.port)

    def wait(self) -> int:
        # gunicorn 21.2 reaps in its handler of SIGCHLD. What is raised there leaves other workers zombies, for which it
        # waits as if they were to end gracefully. Workers that run do not get that time from us.
        if not self.ends_within(PATIENCE) and set(children(self.popen.pid).values()) <= {"Z"}:
            self.ends_within(GRACEFUL_TIMEOUT)
        return super().wait()

    def stop(self) -> None:
        if self.popen.poll() is None:
            self.signal(signal.SIGTERM)
            assert self.wait() == 0, self.told()


def binary() -> str:
    # Not "-m gunicorn": USR2 runs its file again, beside which gunicorn's own http package hides Python's.
    return str(Path(sys.executable).with_name("gunicorn"))


def control_socket() -> tuple[str, ...]:
    import gunicorn.config

    return NO_CONTROL_SOCKET if hasattr(gunicorn.config, "ControlSocket") else ()


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Callable[..., Gunicorn]]:
    """Start gunicorn; in the end it is stopped, and must end well."""
    started: list[Gunicorn] = []

    def start(*arguments: str, ready: bool = True, **options: Any) -> Gunicorn:
        started.append(Gunicorn(tmp_path, *arguments, **options))
        return started[-1].ready() if ready else started[-1]

    try:
        yield start
        for each in started:
            each.stop()
    finally:
        for each in started:
            each.close()


class Traffic:
    """Requests one behind the other, on connections that are kept, until told to stop; what went wrong."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answered = 0
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Traffic:
        self._thread.start()
        self.more()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)

    def more(self, count: int = 20) -> None:
        """Wait for so many answers more."""
        with self._news:
            wanted = self.answered + count
            assert self._news.wait_for(lambda: self.answered >= wanted or self.failures, PATIENCE)
        assert not self.failures

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                # A connection each: what a client does that is told nothing of the processes behind the port.
                answer = httpx.get(self.url, timeout=PATIENCE)
                failure = "" if answer.status_code == 200 else str(answer.status_code)
            except httpx.HTTPError as error:
                failure = repr(error)
            with self._news:
                self.answered += not failure
                if failure:
                    self.failures.append(failure)
                self._news.notify_all()


# -- Names


@pytest.mark.parametrize("name", ["esg.workers.ESGWorker", "esg_gunicorn.ESGWorker", "egg:esg-gunicorn#esg"])
def test_names_of_the_worker(gunicorn: Any, name: str) -> None:
    server = gunicorn("-k", name)
    assert server.get().text == str(server.pids()[0])
    server.stop()
    assert not faults_in(server.lines)
    assert server.count("app: shutdown") == 1


# -- Signals


@ONE_AND_FOUR
def test_a_request_in_work_is_finished(gunicorn: Any, workers: int) -> None:
    server = gunicorn(workers=workers)
    with server.connect() as wire, server.connect() as idle:
        idle.request()
        assert idle.answer().status == 200
        wire.request("/sleep?1")
        server.wait_for("app: sleeps")
        server.signal(signal.SIGTERM)
        assert idle.is_over()
        answer = wire.answer()
        assert (answer.body, answer["connection"]) == (b"slept", "close")
    assert server.wait() == 0
    assert server.count("app: shutdown") == workers


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
@ONE_AND_FOUR
def test_a_quick_end(gunicorn: Any, number: int, workers: int) -> None:
    # Not print: the application may be in one when the signal comes, and that cannot be entered twice.
    conf = r"""
import os
def worker_int(worker): os.write(1, b"hook: worker_int\n")
"""
    server = gunicorn(workers=workers, conf=conf)
    with server.connect() as wire:
        wire.request("/sleep?60")
        server.wait_for("app: sleeps")
        begun = time.monotonic()
        server.signal(number)
        assert wire.is_over()
    assert server.wait() == 0
    assert time.monotonic() - begun < PATIENCE / 2
    assert server.count("hook: worker_int") == workers


def test_a_hook_that_fails_at_a_quick_end(gunicorn: Any) -> None:
    """What it raises does not come out in the middle of an application, nor keep the worker from ending."""
    server = gunicorn(conf="def worker_int(worker): raise OSError('no hook today')")
    with server.connect() as wire:
        wire.request("/sleep?60")
        server.wait_for("app: sleeps")
        server.signal(signal.SIGQUIT)
        assert wire.is_over()
    assert server.wait() == 0
    assert server.count("OSError: no hook today") == 1
    assert not server.count("Exception in ASGI application")


@ONE_AND_FOUR
def test_open_connections_end_within_the_grace(gunicorn: Any, workers: int) -> None:
    server = gunicorn("--graceful-timeout", "4", workers=workers)
    with connect(f"ws://127.0.0.1:{server.port}/", close_timeout=1) as websocket, server.connect() as wire:
        websocket.send("hello")
        assert websocket.recv() == "hello"
        wire.request("/stream")
        assert wire.until(b"tick")
        begun = time.monotonic()
        server.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed, match="1012"):
            websocket.recv(timeout=PATIENCE)
        server.wait_for("app: stream told")
    assert server.wait() == 0
    assert time.monotonic() - begun < PATIENCE / 2
    assert not server.count("was sent SIGKILL")
    assert server.count("app: websocket closed with 1012") == 1


@ONE_AND_FOUR
def test_reload_under_traffic(gunicorn: Any, workers: int) -> None:
    """SIGHUP: new workers with the file as it is now, and nobody notices."""
    server = gunicorn(workers=workers, conf="raw_env = ['COLOUR=red']")
    assert server.get("/environment?COLOUR").text == "red"
    old = set(server.pids())
    with Traffic(server.url) as traffic:
        for _ in range(3):
            mark = len(server.lines)
            server.conf.write_text("raw_env = ['COLOUR=blue']")
            server.signal(signal.SIGHUP)
            server.until(lambda mark=mark: server.count("Worker exiting", mark) == workers)
            server.until(lambda mark=mark: server.count("ESG running on", mark) == workers)
        traffic.more()
    assert server.get("/environment?COLOUR").text == "blue"
    assert int(server.get().text) not in old


def test_a_variable_that_goes_wrong_while_it_serves(gunicorn: Any) -> None:
    """The settings that SIGHUP reads are checked as those of the start: a line, and no workers one after the other."""
    server = gunicorn(workers=1)
    server.conf.write_text("raw_env = ['ESG_LIMIT_REQUEST_BODY=ten']")
    server.signal(signal.SIGHUP)
    assert server.wait() == 3
    assert server.count("ESG_LIMIT_REQUEST_BODY") == 1
    assert not server.count("Traceback")


def test_the_reloader(gunicorn: Any, tmp_path: Path) -> None:
    """gunicorn's own: new code is served, and what cannot be compiled is answered until it can."""
    (tmp_path / "a2wsgi.py").write_text("raise ImportError('not installed')")
    code = (APPS / "arbiter.py").read_text()
    module = tmp_path / "reloaded.py"
    module.write_text(code)
    poll = ("--reload", "--reload-engine", "poll", "--pythonpath", str(tmp_path))
    server = gunicorn(*poll, app="reloaded:app", env={"PYTHONDONTWRITEBYTECODE": "1"})
    for count, text in enumerate((code + "\n# changed", "x = (", code), start=2):
        change_until_noticed(server, module, text)
        server.until(lambda count=count: server.count("ESG running on") == count)
        answer = server.get()
        assert (answer.status_code, answer.text == str(server.pids()[-1])) == (
            (500, False) if count == 3 else (200, True)
        )
        assert ('File "' in answer.text) is (count == 3)  # what older gunicorns say, too
    assert server.count("app: shutdown") == 2


def change_until_noticed(server: Gunicorn, module: Path, text: str) -> None:
    """gunicorn's poller looks once a second, and what it first sees of a module is to it what that always was."""
    reloads, deadline, at = server.count("Worker reloading: "), time.monotonic() + PATIENCE, time.time()
    module.write_text(text)
    while server.count("Worker reloading: ") == reloads:
        assert time.monotonic() < deadline, server.told()
        at += 1
        os.utime(module, (at, at))
        time.sleep(0.1)


@pytest.mark.parametrize(("bind", "more"), [("fd://3", ""), ("", ACTIVATED)], ids=["by number", "by systemd"])
def test_sockets_that_others_have_opened(gunicorn: Any, bind: str, more: str) -> None:
    server = gunicorn(bind=bind, before=left_open("tcp()", more=more), workers=4)
    assert {server.get().status_code for _ in range(8)} == {200}
    server.signal(signal.SIGHUP)
    server.until(lambda: server.count("ESG running on") == 8)
    assert server.get().status_code == 200


def test_more_and_fewer_workers(gunicorn: Any) -> None:
    server = gunicorn()
    server.signal(signal.SIGTTIN)
    server.until(lambda: server.count("ESG running on") == 2)
    mark = len(server.lines)
    server.signal(signal.SIGTTOU)
    server.wait_for("Worker exiting", mark)
    assert server.get().text == str(server.pids()[1])


def test_log_files_are_opened_again(gunicorn: Any, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    server = gunicorn("--access-logfile", str(log))
    server.get("/first")
    server.get("/second")  # so soon behind the other that its line waits for more
    log.rename(tmp_path / "access.log.1")
    server.signal(signal.SIGUSR1)
    deadline = time.monotonic() + PATIENCE
    while not log.exists() or "/after" not in log.read_text():
        assert time.monotonic() < deadline
        server.get("/after")
    old = (tmp_path / "access.log.1").read_text()
    assert re.findall(r"/\w+(?= HTTP)", old)[:2] == ["/first", "/second"], old


@ONE_AND_FOUR
def test_another_binary_takes_over(gunicorn: Any, workers: int) -> None:
    """SIGUSR2, and SIGTERM to the arbiter that was: the port is served all the time."""
    server = gunicorn(workers=workers)
    with Traffic(server.url) as traffic:
        mark = len(server.lines)
        server.signal(signal.SIGUSR2)
        server.until(lambda: server.count("ESG running on", mark) == workers)
        line = next(line for line in server.lines[mark:] if "Listening at" in line)
        found = re.search(r"\((\d+)\)$", line)
        assert found is not None, line
        successor = int(found[1])
        traffic.more()
        server.signal(signal.SIGTERM)
        assert server.popen.wait(PATIENCE) == 0
        traffic.more()
        new = set(server.pids(mark))
        assert {int(server.get().text) for _ in range(5)} <= new
    os.kill(successor, signal.SIGTERM)
    server.until(lambda: server.count("Shutting down: Master") == 2)


def test_sigwinch_changes_nothing(gunicorn: Any) -> None:
    server = gunicorn()
    os.kill(server.pids()[0], signal.SIGWINCH)
    assert server.get().text == str(server.pids()[0])


# -- Processes that end


@ONE_AND_FOUR
def test_a_killed_worker_is_replaced(gunicorn: Any, workers: int) -> None:
    server = gunicorn(workers=workers)
    os.kill(server.pids()[0], signal.SIGKILL)
    server.until(lambda: server.count("ESG running on") == workers + 1)
    assert server.get().status_code == 200


@ONE_AND_FOUR
def test_workers_end_with_their_arbiter(gunicorn: Any, workers: int) -> None:
    server = gunicorn(workers=workers)
    server.signal(signal.SIGKILL)
    server.until(lambda: server.count("The arbiter is gone") == workers)
    server.wait()  # the pipe of their output ends with the last of them
    with pytest.raises(ConnectionRefusedError):
        server.connect()


def test_a_blocked_loop_is_found(gunicorn: Any) -> None:
    conf = "def worker_abort(worker): print('hook: worker_abort', flush=True)"
    server = gunicorn("--timeout", "2", conf=conf)
    with server.connect() as wire:
        wire.request("/block?60")
        assert wire.is_over()
    server.wait_for("WORKER TIMEOUT")
    server.wait_for("The event loop was blocked for more than 2 seconds")
    server.wait_for("time.sleep(")
    server.wait_for("hook: worker_abort")
    server.until(lambda: server.count("ESG running on") == 2)
    assert server.get().status_code == 200


def test_a_busy_worker_is_left_alone(gunicorn: Any) -> None:
    """A request, and a start of the application, that take longer than the arbiter's patience."""
    server = gunicorn("--timeout", "2", env={"APP_STARTS_IN": "4"})
    assert server.get("/sleep?4").text == "slept"
    assert not server.count("WORKER TIMEOUT")
    assert len(server.pids()) == 1


def test_an_application_that_cannot_start_stops_gunicorn(gunicorn: Any) -> None:
    server = gunicorn(ready=False, env={"APP_FAILS": "1"})
    assert server.wait() == 3
    assert server.count("Application startup failed: no database") == 1
    assert not server.count("Traceback")


def test_an_application_that_cannot_start_in_four_workers(gunicorn: Any) -> None:
    server = gunicorn(workers=4, ready=False, env={"APP_FAILS": "1"})
    # gunicorn halts for the first, and may trip over the second while it does: then it ends with 1.
    assert server.wait() in (1, 3)
    assert server.count("Application startup failed: no database") >= 1


@ONE_AND_FOUR
def test_recycling_under_traffic(gunicorn: Any, workers: int) -> None:
    limits = ("--max-requests", "10", "--max-requests-jitter", "5", "--graceful-timeout", "5")
    server = gunicorn(*limits, workers=workers)
    with Traffic(server.url) as traffic:
        traffic.more(100)
    assert len(server.pids()) > workers + 2


def test_websockets_count_for_recycling(gunicorn: Any) -> None:
    server = gunicorn("--max-requests", "2")
    with connect(f"ws://127.0.0.1:{server.port}/") as websocket:
        websocket.send("hello")
        assert websocket.recv() == "hello"
        with connect(f"ws://127.0.0.1:{server.port}/") as last, pytest.raises(ConnectionClosed, match="1012"):
            last.recv(timeout=PATIENCE)
    server.until(lambda: server.count("ESG running on") == 2)


# -- Settings


def test_limits(gunicorn: Any) -> None:
    limits = {"line": "100", "fields": "5", "field_size": "50"}
    server = gunicorn(*(part for name, value in limits.items() for part in (f"--limit-request-{name}", value)))
    cases = [
        ("/" + "x" * 100, (), 414),
        ("/", tuple(f"X{i}: y" for i in range(5)), 431),
        ("/", ("X: " + "y" * 48,), 431),
    ]
    for target, headers, status in cases:
        with server.connect() as wire:
            wire.request(target, headers=headers)
            assert wire.answer().status == status
    assert server.get("/").status_code == 200


def test_worker_connections_are_enforced(gunicorn: Any) -> None:
    server = gunicorn("--worker-connections", "2")
    with server.connect() as first, server.connect() as second:
        for wire in first, second:
            wire.request()
            assert wire.answer().status == 200
        with server.connect() as third:
            third.request()
            answer = third.answer()
            assert (answer.status, answer["retry-after"]) == (503, "1")


def test_keepalive(gunicorn: Any) -> None:
    server = gunicorn("--keep-alive", "1")
    with server.connect() as wire:
        wire.request()
        wire.answer()
        begun = time.monotonic()
        assert wire.is_over()
        assert 1 <= time.monotonic() - begun < 4


def test_the_backlog_is_kept(gunicorn: Any, program: Callable[[str], str], run: Any) -> None:
    server = gunicorn("--backlog", "77", workers=2)
    listing = run(program("ss"), "-ltn", f"sport = :{server.port}")
    assert listing.wait() == 0
    sizes = [line.split()[2] for line in listing.lines if line.startswith("LISTEN")]
    assert sizes == ["77"]


def test_several_places(gunicorn: Any, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    server = gunicorn("-b", f"unix:{path}", "--umask", "007")
    assert server.get().status_code == 200
    assert path.stat().st_mode & 0o777 == 0o770
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        assert client.get("http://server/client").text == "http None"


def test_one_socket_for_each_worker(gunicorn: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = gunicorn("--reuse-port", port=port, workers=2, ready=False)
    server.until(lambda: server.count(f"ESG running on http://127.0.0.1:{port}") == 2)
    server.url = f"http://127.0.0.1:{port}"
    assert {server.get().text for _ in range(60)} == {str(pid) for pid in server.pids()}


def test_preloaded(gunicorn: Any) -> None:
    server = gunicorn("--preload", workers=2)
    assert server.get().status_code == 200


def test_hooks(gunicorn: Any) -> None:
    server = gunicorn(
        conf="""
def post_fork(server, worker): print("hook: post_fork", flush=True)
def post_worker_init(worker): print("hook: post_worker_init", flush=True)
def pre_request(worker, req):
    print("hook: pre_request", req.method, req.path, req.query, dict(req.headers)["X-NAME"], flush=True)
def post_request(worker, req, environ, resp):
    own = dict(resp.headers)["x-app"]
    print("hook: post_request", req.uri, environ["REMOTE_ADDR"], resp.status, resp.sent, own, flush=True)
def worker_exit(server, worker): print("hook: worker_exit", flush=True)
def child_exit(server, worker): print("hook: child_exit", flush=True)
"""
    )
    assert server.get("/missing?a=b", headers={"X-Name": "value"}).status_code == 404
    server.wait_for("hook: post_request")
    server.stop()
    assert [line.removeprefix("hook: ") for line in server.lines if line.startswith("hook: ")] == [
        "post_fork",
        "post_worker_init",
        "pre_request GET /missing a=b value",
        "post_request /missing?a=b 127.0.0.1 404 Not Found 2 yes",
        "worker_exit",
        "child_exit",
    ]


def test_access_log_format(gunicorn: Any) -> None:
    form = '%(h)s "%(r)s" %(m)s %(U)s %(q)s %(H)s %(s)s %(b)s %(a)s %({x-name}i)s %({x-app}o)s %(f)s end'
    server = gunicorn("--access-logfile", "-", "--access-logformat", form)
    server.get("/missing?a=b", headers={"User-Agent": "test", "X-Name": "value"})
    line = server.wait_for("end")
    assert line == '127.0.0.1 "GET /missing?a=b HTTP/1.1" GET /missing a=b HTTP/1.1 404 2 test value yes - end'


def test_a_logger_of_the_user(gunicorn: Any) -> None:
    server = gunicorn(
        conf="""
from gunicorn.glogging import Logger
class logger_class(Logger):
    def access(self, resp, req, environ, request_time):
        print("own:", resp.status, req.method, environ["RAW_URI"], request_time.total_seconds() < 5, flush=True)
"""
    )
    server.get("/missing")
    assert server.wait_for("own:") == "own: 404 Not Found GET /missing True"


def test_statsd(gunicorn: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(PATIENCE)
        server = gunicorn("--statsd-host", f"127.0.0.1:{statsd.getsockname()[1]}")
        server.get("/missing")
        seen = b""
        while b"gunicorn.request.status.404:1|c" not in seen:
            seen = statsd.recv(1000)


def test_options_of_esg_alone(gunicorn: Any) -> None:
    server = gunicorn(env={"ESG_LIMIT_REQUEST_BODY": "10", "ESG_SERVER_HEADER": "false"})
    with server.connect() as wire:
        wire.request("/", "POST", body=b"x" * 11)
        answer = wire.answer()
        assert (answer.status, answer["server"]) == (413, None)


def test_a_variable_with_a_wrong_value(gunicorn: Any) -> None:
    server = gunicorn(ready=False, env={"ESG_LIMIT_REQUEST_BODY": "ten"})
    assert server.wait() == 3
    assert server.count("ESG_LIMIT_REQUEST_BODY") == 1
    assert not server.count("Traceback")


def test_a_subclass(gunicorn: Any) -> None:
    server = gunicorn("-k", "arbiter.SmallBodies", env={"ESG_LIMIT_REQUEST_BODY": "20"})
    assert server.get("/").status_code == 200
    assert httpx.post(server.url, content=b"x" * 11).status_code == 413


def test_a_setting_without_meaning(gunicorn: Any) -> None:
    server = gunicorn("--threads", "4", "--keep-alive", "5", workers=2)
    assert server.count("threads has no meaning for ESG") == 1
    assert server.count("has no meaning") == 1


def test_tls(gunicorn: Any, tmp_path: Path) -> None:
    """Certificates and the hook of gunicorn's settings."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    server = gunicorn(
        "--certfile",
        str(tmp_path / "own.pem"),
        "--keyfile",
        str(tmp_path / "own.pem"),
        conf="""
import ssl
def ssl_context(config, default_ssl_context_factory):
    context = default_ssl_context_factory()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    print("hook: ssl_context", flush=True)
    return context
""",
        scheme="https",
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    assert server.get("/client", verify=context).text == "https 127.0.0.1"
    context.set_alpn_protocols(["h2", "http/1.1"])
    plain = socket.create_connection(("127.0.0.1", server.port))
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted:
        assert encrypted.selected_alpn_protocol() == "http/1.1"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(httpx.ConnectError):
        server.get("/client", verify=context)
    assert server.count("hook: ssl_context") == 1


def test_proxies(gunicorn: Any) -> None:
    server = gunicorn("--forwarded-allow-ips", "127.0.0.9")
    said = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
    assert server.get("/client", headers=said).text == "http 127.0.0.1"
    server = gunicorn()
    assert server.get("/client", headers=said).text == "https 192.0.2.1"


def test_proxy_protocol(gunicorn: Any) -> None:
    server = gunicorn("--proxy-protocol", "--access-logfile", "-", "--access-logformat", "from %(h)s")
    with server.connect() as wire:
        wire.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n")
        wire.request("/client")
        assert wire.answer().body == b"http 192.0.2.1"
    assert server.wait_for("from ") == "from 192.0.2.1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_user_and_group(gunicorn: Any) -> None:
    server = gunicorn("--user", "nobody", "--group", "nogroup", "--worker-tmp-dir", "/dev/shm")
    status = Path(f"/proc/{server.pids()[0]}/status").read_text()
    nobody = pwd.getpwnam("nobody").pw_uid
    assert re.search(rf"^Uid:\t{nobody}\t{nobody}\t", status, re.MULTILINE)
    assert server.get().status_code == 200


def test_wsgi(gunicorn: Any) -> None:
    pytest.importorskip("a2wsgi")
    server = gunicorn("--pythonpath", str(ROOT), app="examples.wsgi:app")
    assert server.get("/").status_code == 200


# -- The page on deployment

DEPLOYMENT = ROOT / "examples/deployment"


def in_test(name: str, changes: dict[str, str]) -> str:
    """A file of the page, as it stands but for the places it names."""
    text = (DEPLOYMENT / name).read_text()
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in {name}"
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize("name", ["gunicorn.conf.py", "gunicorn.service", "nginx.conf"])
def test_the_page_shows_the_files(name: str) -> None:
    assert (DEPLOYMENT / name).read_text() in (ROOT / "docs/gunicorn.md").read_text()


def test_the_deployment(tmp_path: Path, run: Any, program: Callable[[str], str]) -> None:
    """The unit's command line with the page's configuration, behind nginx as the page sets it up."""
    run_folder = {"/run/example": str(tmp_path)}
    conf = tmp_path / "gunicorn.conf.py"
    conf.write_text(in_test("gunicorn.conf.py", run_folder))
    places = {
        "/srv/example/.venv/bin/gunicorn example:app": f"{binary()} arbiter:app",
        "/srv/example/gunicorn.conf.py": str(conf),
    }
    found = re.search(r"^ExecStart=(.*)$", in_test("gunicorn.service", places), re.MULTILINE)
    assert found is not None
    server = run(*found[1].split(), "--chdir", str(APPS), *control_socket())
    for _ in range(4):
        server.wait_for("ESG running on unix:")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    site = tmp_path / "site.conf"
    site.write_text(in_test("nginx.conf", {**run_folder, "listen 80;": f"listen 127.0.0.1:{port};"}))
    main = tmp_path / "nginx.conf"
    main.write_text(NGINX.format(folder=tmp_path, site=site))
    nginx = run(program("nginx"), "-p", str(tmp_path), "-e", "stderr", "-c", str(main))
    answer = wait_for_nginx(nginx, f"http://127.0.0.1:{port}/client")
    assert (answer.status_code, answer.text) == (200, "http 127.0.0.1")
    assert httpx.post(f"http://127.0.0.1:{port}/", content=bytes(10_000_001)).status_code == 413
    with connect(f"ws://127.0.0.1:{port}/") as websocket:
        websocket.send("hello")
        assert websocket.recv() == "hello"
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def wait_for_nginx(nginx: Process, url: str) -> httpx.Response:
    deadline = time.monotonic() + PATIENCE
    while True:
        assert nginx.popen.poll() is None and time.monotonic() < deadline, nginx.told()
        with contextlib.suppress(httpx.ConnectError):
            return httpx.get(url, headers={"X-Forwarded-For": "192.0.2.1"}, timeout=PATIENCE)
