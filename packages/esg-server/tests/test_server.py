"""The server in this process: it starts, serves, drains and stops in a running loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from esg import Config, Server
from esg.config import StartupError
from esg.start import run

Get = Callable[..., Coroutine[Any, Any, bytes]]
VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


def play(story: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine in a loop of its own; one that hangs has failed."""
    asyncio.run(asyncio.wait_for(story, 30))


class Lines(logging.Handler):
    """The server's log lines, as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.queue.put_nowait(record.getMessage())

    async def wait_for(self, beginning: str) -> None:
        while not (await self.queue.get()).startswith(beginning):
            pass


class Watched(Server):
    """A server that says when it is up."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(Config(app, port=0, log_config=None, **options))
        self.up = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.up.set()

    async def serving(self, sockets: Any = None) -> asyncio.Task[None]:
        """Serve in a task, which is returned once connections are accepted."""
        task = asyncio.create_task(self.serve(sockets))
        up = asyncio.create_task(self.up.wait())
        await asyncio.wait([task, up], return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if not self.up.is_set():
            await task
        return task


class App:
    """An application that does lifespan, and answers ``/slow`` only when it is let."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.entered, self.let = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await (self.lifespan if scope["type"] == "lifespan" else self.http)(scope, receive, send)

    async def lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        VARIABLE.set("set at startup")
        scope["state"]["greeting"] = "hello"
        for what in ("startup", "shutdown"):
            await receive()
            self.events.append(what)
            await send({"type": f"lifespan.{what}.complete"})

    async def http(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            self.entered.set()
            try:
                await self.let.wait()
            finally:
                self.events.append("answered")
        body = f"{scope['state']['greeting']} {VARIABLE.get()}".encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if scope["path"] == "/background":
            self.entered.set()
            await self.let.wait()
            self.events.append("worked")


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("esg.error")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def handlers() -> Iterator[list[int]]:
    """Stand-ins for the signal handlers of the program round the server; what they were called with."""
    called: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, frame: called.append(number)) for number in numbers]
    yield called
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_serves_in_a_running_loop(get: Get, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "esg")

    async def main() -> None:
        app = App()
        server = Watched(app)
        task = await server.serving()
        (address,) = server.addresses
        assert server.started
        answer = await get(address, "/a?b")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\n\r\nhello " in answer
        server.should_exit = True
        await task
        assert app.events == ["startup", "shutdown"]
        with pytest.raises(OSError):
            await get(address)

    play(main())
    lines = [record.getMessage() for record in caplog.records if record.name == "esg.error"]
    port = lines[3].partition("127.0.0.1:")[2].partition(" ")[0]
    assert lines == [
        f"Started server process [{os.getpid()}]",
        "Waiting for application startup.",
        "Application startup complete.",
        f"ESG running on http://127.0.0.1:{port} (Press CTRL+C to quit)",
        "Shutting down",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
        f"Finished server process [{os.getpid()}]",
    ]
    (access,) = [record for record in caplog.records if record.name == "esg.access"]
    assert access.args is not None
    assert access.args[1:] == ("GET", "/a?b", "1.1", 200)  # type: ignore[index]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a task cannot be given its context before 3.11")
def test_requests_see_the_variables_of_startup(get: Get) -> None:
    async def main() -> None:
        server = Watched(App())
        task = await server.serving()
        assert (await get(server.addresses[0])).endswith(b"hello set at startup")
        server.should_exit = True
        await task

    play(main())


def test_access_log_off(get: Get, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "esg")

    async def main() -> None:
        server = Watched(App(), access_log=False)
        task = await server.serving()
        await get(server.addresses[0])
        server.should_exit = True
        await task

    play(main())
    assert not [record for record in caplog.records if record.name == "esg.access"]


def test_startup_and_shutdown_by_hand(get: Get) -> None:
    async def main() -> None:
        app = App()
        server = Server(Config(app, port=0, log_config=None))
        await server.startup()
        assert (await get(server.addresses[0])).startswith(b"HTTP/1.1 200 ")
        await server.shutdown()
        assert app.events == ["startup", "shutdown"]

    play(main())


def test_a_stop_answers_whom_the_system_has_connected() -> None:
    """They wait in its queue, and closing the listener would reset them."""

    async def main() -> None:
        server = Watched(App())
        await server.startup()
        clients = [socket.create_connection(server.addresses[0]) for _ in range(10)]  # no turn of the loop in between
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await server.shutdown()
        for client in clients:
            client.settimeout(10)
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
            client.close()

    play(main())


def test_sockets_of_the_caller(get: Get) -> None:
    async def main() -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            server = Watched(App())
            task = await server.serving([sock])
            assert server.addresses == [sock.getsockname()]
            assert (await get(server.addresses[0])).startswith(b"HTTP/1.1 200 ")
            server.should_exit = True
            await task
            assert sock.fileno() == -1

    play(main())


def test_a_request_in_flight_is_finished(get: Get, lines: Lines) -> None:
    async def main() -> None:
        app = App()
        server = Watched(app)
        task = await server.serving()
        request = asyncio.create_task(get(server.addresses[0], "/slow"))
        await app.entered.wait()
        server.should_exit = True
        await lines.wait_for("Waiting for connections to close.")
        with pytest.raises(OSError):
            await get(server.addresses[0])
        assert not task.done()
        app.let.set()
        answer = await request
        await task
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert b"\r\n\r\nhello " in answer
        assert app.events == ["startup", "answered", "shutdown"]

    play(main())


def test_an_idle_connection_is_closed_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "esg")

    async def main() -> None:
        server = Watched(App())
        task = await server.serving()
        reader, writer = await asyncio.open_connection(*server.addresses[0])
        writer.write(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        await reader.readuntil(b"hello ")
        server.should_exit = True
        await reader.read()
        await task
        writer.close()
        await writer.wait_closed()

    play(main())
    assert "Waiting for connections" not in caplog.text


def test_work_behind_a_response_is_finished(get: Get, lines: Lines) -> None:
    async def main() -> None:
        app = App()
        server = Watched(app)
        task = await server.serving()
        await get(server.addresses[0], "/background")
        await app.entered.wait()
        server.should_exit = True
        await lines.wait_for("Waiting for background tasks to complete.")
        app.let.set()
        await task
        assert app.events == ["startup", "worked", "shutdown"]

    play(main())


class Endless:
    """Applications that do not end by themselves; what they saw."""

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.seen: list[Any] = []

    async def streaming(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        self.running.set()
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                await asyncio.sleep(0.01)
        except OSError as error:
            self.seen.append(type(error).__name__)
            raise

    async def polling(self, scope: Any, receive: Any, send: Any) -> None:
        self.running.set()
        await receive()
        self.seen.append((await receive())["type"])

    async def stuck(self, scope: Any, receive: Any, send: Any) -> None:
        self.running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise

    async def deaf(self, scope: Any, receive: Any, send: Any) -> None:
        self.running.set()
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            self.seen.append("cancelled")


@pytest.mark.parametrize(
    ("name", "seen", "answer"),
    [
        ("streaming", ["ClientDisconnected"], b"HTTP/1.1 200 OK"),
        ("polling", ["http.disconnect"], b"HTTP/1.1 503 Service Unavailable"),
        ("stuck", ["cancelled"], b"HTTP/1.1 503 Service Unavailable"),
        ("deaf", ["cancelled"] * 2, b"HTTP/1.1 503 Service Unavailable"),
    ],
)
def test_a_stop_ends_in_time(name: str, seen: list[str], answer: bytes, get: Get, monkeypatch: Any) -> None:
    monkeypatch.setattr("esg.server.CANCELLED", 0.1)

    async def story() -> None:
        app = Endless()
        server = Watched(getattr(app, name), lifespan="off", timeout_graceful_shutdown=0.2)
        task = await server.serving()
        request = asyncio.create_task(get(server.addresses[0]))
        await app.running.wait()
        server.should_exit = True
        await task
        assert app.seen == seen
        received = await request
        assert received.startswith(answer)
        assert not received.endswith(b"0\r\n\r\n")
        if name == "deaf":
            assert server.context is not None
            (left,) = server.context.tasks
            left.cancel()
            await asyncio.wait([left])

    play(story())


def test_it_stops_after_so_many_requests(get: Get, lines: Lines) -> None:
    async def story() -> None:
        server = Watched(App(), limit_max_requests=2)
        task = await server.serving()
        for _ in range(2):
            assert (await get(server.addresses[0])).startswith(b"HTTP/1.1 200 ")
        await lines.wait_for("Stopping after 2 requests (limit_max_requests)")
        await task

    play(story())


def test_jitter_is_added_to_the_number_of_requests(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)

    async def story() -> None:
        server = Watched(App(), limit_max_requests=1, limit_max_requests_jitter=2)
        task = await server.serving()
        for _ in range(3):
            assert not server.should_exit
            await get(server.addresses[0])
        assert server.should_exit
        await task

    play(story())


def test_should_exit_from_a_thread() -> None:
    async def main() -> None:
        server = Watched(App())
        task = await server.serving()
        thread = threading.Thread(target=setattr, args=(server, "should_exit", True))
        thread.start()
        await task
        thread.join()

    play(main())


def test_run_in_a_thread() -> None:
    class Notifying(Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            up.set()

    up = threading.Event()
    server = Notifying(Config(App(), port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert up.wait(30)
    server.should_exit = True
    thread.join()
    server.should_exit = True  # the loop is gone


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_and_is_raised_again(number: int, handlers: list[int]) -> None:
    async def main() -> None:
        app = App()
        server = Watched(app)
        task = await server.serving()
        os.kill(os.getpid(), number)
        await asyncio.wait([task])
        assert app.events == ["startup", "shutdown"]

    before = signal.getsignal(number)
    play(main())
    assert handlers == [number]
    assert signal.getsignal(number) is before


def test_a_second_signal_forces(get: Get, lines: Lines, handlers: list[int]) -> None:
    async def main() -> None:
        app = App()
        server = Watched(app)
        task = await server.serving()
        request = asyncio.create_task(get(server.addresses[0], "/slow"))
        await app.entered.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await lines.wait_for("Waiting for connections to close.")
        os.kill(os.getpid(), signal.SIGINT)
        await task
        assert server.force_exit
        await asyncio.wait([request])
        assert request.exception() is not None or request.result() == b""
        assert "answered" in app.events
        assert "shutdown" not in app.events

    play(main())
    assert handlers == [signal.SIGINT, signal.SIGTERM]


def test_force_exit_stops_waiting_for_the_application() -> None:
    stopping = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        stopping.set()
        await asyncio.Event().wait()

    async def main() -> None:
        server = Watched(app)
        task = await server.serving()
        server.should_exit = True
        await stopping.wait()
        server.force_exit = True
        await task

    play(main())


def test_should_exit_ends_a_stuck_startup() -> None:
    cancelled = asyncio.Event()
    entered = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def main() -> None:
        server = Watched(app)
        task = asyncio.create_task(server.serve())
        await entered.wait()
        server.should_exit = True
        await task
        await cancelled.wait()
        assert not server.started

    play(main())


def test_cancelling_serve_lets_go_of_everything(get: Get) -> None:
    async def main() -> None:
        server = Watched(App())
        task = await server.serving()
        reader, writer = await asyncio.open_connection(*server.addresses[0])
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        with pytest.raises(OSError):
            await get(server.addresses[0])
        writer.close()

    play(main())


def test_failures_to_start_are_raised() -> None:
    async def main(app: Any, **options: Any) -> None:
        await Server(Config(app, log_config=None, **options)).serve()

    with pytest.raises(StartupError, match="no module"):
        play(main("no_such_module:app"))
    with pytest.raises(StartupError, match="is no application"):
        play(main(lambda one, two, three, four: None, port=0))
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(StartupError, match="another program"),
    ):
        play(main(App(), port=other.getsockname()[1]))


def test_a_port_taken_between_bind_and_listen() -> None:
    async def main() -> None:
        app = App()
        with socket.socket() as first, socket.socket() as second:
            for sock in (first, second):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            first.bind(("127.0.0.1", 0))
            second.bind(first.getsockname())
            second.listen()
            server = Server(Config(app, log_config=None))
            with pytest.raises(StartupError, match="another program is using it"):
                await server.serve([first])
        assert app.events == ["startup", "shutdown"]

    play(main())


def test_a_factory_runs_in_the_loop(get: Get) -> None:
    loops = []

    def create() -> App:
        loops.append(asyncio.get_running_loop())
        return App()

    async def main() -> None:
        server = Watched(create, factory=True)
        task = await server.serving()
        server.should_exit = True
        await task
        assert loops == [asyncio.get_running_loop()]

    play(main())


@pytest.mark.parametrize("loop", ["auto", "asyncio", "uvloop"])
def test_the_loop_asked_for(loop: str) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(type(asyncio.get_running_loop()).__module__)
        await receive()
        await send({"type": "lifespan.startup.complete"})
        server.should_exit = True
        await receive()

    server = Server(Config(app, port=0, loop=loop, log_config=None))
    if loop != "asyncio":
        pytest.importorskip("uvloop")
    server.run()
    assert seen[0].startswith("asyncio" if loop == "asyncio" else "uvloop")


def test_without_isal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    with pytest.raises(StartupError, match=r"--ws-deflate-library isal: isal is not installed; try pip install"):
        Server(Config(App(), port=0, ws_deflate_library="isal", log_config=None)).run()


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(StartupError, match=r"uvloop is not installed; try pip install esg-server\[standard\]"):
        Server(Config(App(), port=0, loop="uvloop", log_config=None)).run()
    test_the_loop_asked_for("asyncio")


def test_run_ends_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("no_such_module:app", log_level="critical")
    assert caught.value.code == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("CRITICAL: Cannot import 'no_such_module:app': there is no module")


def test_run_refuses_unknown_options() -> None:
    with pytest.raises(TypeError, match="did you mean 'port'"):
        run(App(), prot=1)


@pytest.mark.parametrize(
    ("options", "expected"), [({}, 4), ({"workers": 2}, 1), ({"workers": 2, "reuse_port": True}, 4)], ids=str
)
def test_connections_that_uvloop_lets_in_in_one_turn(options: dict[str, Any], expected: int) -> None:
    """Several, or each its own turn where processes share the socket, so that all of them get some."""
    uvloop = pytest.importorskip("uvloop")

    async def story() -> None:
        server = Watched(App(), **options)
        serving = await server.serving()
        assert server.context is not None
        address = server.sockets[0].getsockname()
        clients = [socket.create_connection(address) for _ in range(16)]  # they wait: the loop has no turn here
        let_in = [0]
        while let_in[-1] < len(clients):
            await asyncio.sleep(0)
            let_in.append(len(server.context.connections))
        assert max(after - before for before, after in itertools.pairwise(let_in)) == expected
        for client in clients:
            client.close()
        server.should_exit = True
        await serving

    uvloop.run(asyncio.wait_for(story(), 30))
