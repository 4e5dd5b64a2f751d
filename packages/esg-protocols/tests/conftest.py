"""What the tests share: h11 as the judge of what is written, and one way to play a case against every transport.

A case is a coroutine that talks to a :class:`Client`. The ``play`` fixture runs it on asyncio and on uvloop, over a
FakeTransport in three ways (the request whole, byte by byte, with the beginning of another one behind it) and over a
real socket. Nothing sleeps: what a case waits for is looked for turn by turn of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import math
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import h11
import pytest
from esg_protocols.asgi import HTTPProtocol, ServerContext
from esg_protocols.settings import Settings
from esg_protocols.testing import FakeClock, FakeTransport

try:
    import uvloop
except ImportError:
    uvloop = None

PATIENCE = 5.0
"""Seconds after which what does not come has failed; nothing waits so long where all is well."""

TAIL = b"GET /tail HTTP/1.1\r\nHost: tail"


# -- The judge -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Answer:
    """A whole response, as h11 understands it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    informational: tuple[int, ...] = ()

    def header(self, name: bytes) -> bytes | None:
        values = [value for field, value in self.headers if field == name]
        assert len(values) <= 1, f"{name!r} is there {len(values)} times"
        return values[0] if values else None

    def names(self) -> list[bytes]:
        return [name for name, _ in self.headers]


class Incomplete(Exception):
    """The bytes end before the responses do."""


def judge(written: bytes, methods: list[str], *, eof: bool = False) -> tuple[list[Answer], bytes]:
    """The whole responses to requests with these methods, and the bytes behind them.

    Raises:
        Incomplete: when less than that is there.
        h11.RemoteProtocolError: when it is not HTTP.
    """
    answers = []
    for method in methods:
        answer, written = judge_one(written, method, eof=eof)
        answers.append(answer)
    return answers, written


def judge_one(written: bytes, method: str, *, eof: bool = False) -> tuple[Answer, bytes]:
    """The response to one request, and the bytes behind it; errors as for :func:`judge`."""
    if not written:
        raise Incomplete("nothing")
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    target = "*" if method == "OPTIONS" else "/"
    client.send(h11.Request(method=method, target=target, headers=[("Host", "judge")]))
    client.send(h11.EndOfMessage())
    client.receive_data(written)
    if eof:
        client.receive_data(b"")
    answer: Answer | None = None
    informational: list[int] = []
    body = bytearray()
    while True:
        event = client.next_event()
        if isinstance(event, h11.InformationalResponse):
            informational.append(event.status_code)
        elif isinstance(event, h11.Response):
            answer = Answer(event.status_code, list(event.headers), informational=tuple(informational))
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert answer is not None
            answer.body = bytes(body)
            return answer, client.trailing_data[0]
        else:
            raise Incomplete(f"{event!r} after {written[:200]!r}")


@pytest.fixture(name="judge", scope="session")
def _judge() -> Callable[..., tuple[list[Answer], bytes]]:
    return judge


@pytest.fixture(scope="session")
def incomplete() -> type[Exception]:
    return Incomplete


# -- The server under test -------------------------------------------------------------------------------------------


class Lines(logging.Handler):
    """Log records, kept."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def make_logger(name: str) -> tuple[logging.Logger, list[logging.LogRecord]]:
    logger, lines = logging.Logger(name), Lines()
    logger.addHandler(lines)
    return logger, lines.records


class Wiring:
    """A context with its clock and loggers, and the connections that a case makes to it."""

    def __init__(self, app: Any, way: str, settings: dict[str, Any], options: dict[str, Any]) -> None:
        self.way = way
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(self._on_problem)
        self.problems: list[dict[str, Any]] = []
        error_logger, self.errors = make_logger("esg.error")
        self.access_logger, self.accesses = make_logger("esg.access")
        access_log = options.pop("access_log", False)
        if callable(access_log):
            options["access_log"] = access_log(*[self.access_logger][: access_log.__code__.co_argcount])
        elif access_log:
            options["access_logger"] = self.access_logger
        self.context = ServerContext(app, Settings(**settings), loop=self.loop, error_logger=error_logger, **options)
        self.context.longest_round = math.inf  # or what leaves when would depend on how busy the machine is
        self.clock = FakeClock(self.context)
        self.protocols: list[HTTPProtocol] = []
        self.clients: list[Client] = []
        self._server: asyncio.AbstractServer | None = None

    def _on_problem(self, loop: asyncio.AbstractEventLoop, problem: dict[str, Any]) -> None:
        self.problems.append(problem)

    def _protocol(self) -> HTTPProtocol:
        self.protocols.append(HTTPProtocol(self.context))
        return self.protocols[-1]

    async def connect(self, **options: Any) -> Client:
        client: Client
        if self.way == "socket":
            if self._server is None:
                self._server = await self.loop.create_server(self._protocol, sock=small_socket(bound=True))
            before = len(self.protocols)
            client = await SocketClient.connect(self, self._server.sockets[0].getsockname())
            await self.until(lambda: len(self.protocols) > before)
        else:
            client = FakeClient(self, self._protocol(), **options)
        client.protocol = self.protocols[-1]
        client.app = self.clients[0].app if self.clients else None
        self.clients.append(client)
        return client

    async def until(self, condition: Callable[[], Any], what: str = "") -> None:
        """Give the loop turns until ``condition`` holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"it never came to it {what}: {self.problems or self.log()}"
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """Give the loop turns enough for whatever is going on to come to rest."""
        for _ in range(30):
            await asyncio.sleep(0)

    def log(self) -> list[str]:
        return [record.getMessage() for record in self.errors]

    def take_errors(self) -> list[logging.LogRecord]:
        """What was logged; a case that does not take it asserts that there is nothing."""
        taken = self.errors[:]
        self.errors.clear()
        return taken

    async def close(self) -> None:
        await self.settle()
        for client in self.clients:
            await client.close()
        if self._server is not None:
            self._server.close()
        for protocol in list(self.context.connections):
            protocol.abort()
        await self.until(lambda: not self.context.connections, "(connections left)")
        for task in list(self.context.tasks):
            task.cancel()
        await self.until(lambda: not self.context.tasks, "(tasks left)")
        await self.settle()


# -- Clients ---------------------------------------------------------------------------------------------------------


class Client:
    """One connection, seen from the other side.

    Attributes:
        wiring: the server.
        app: the app, for a case that brings its own.
        protocol: the server's side of this connection.
    """

    protocol: HTTPProtocol

    def __init__(self, wiring: Wiring) -> None:
        self.app: Any = None
        self.wiring = wiring
        self.context = wiring.context
        self.clock = wiring.clock
        self.received = bytearray()

    # -- What a case does

    async def send(self, data: bytes, *, more: bool = False) -> None:
        """Send bytes; ``more`` says that the case has others to send behind them."""
        raise NotImplementedError

    async def send_eof(self) -> None:
        """Close this side only."""
        raise NotImplementedError

    async def leave(self) -> None:
        """Break the connection off: the server sees a reset."""
        raise NotImplementedError

    async def hang_up(self) -> None:
        """Go away in the ordinary way: the server sees the end of the input, as it does of a half close."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    def stop_reading(self) -> None:
        """Take nothing from here on, and make the server notice soon."""
        raise NotImplementedError

    def read_again(self) -> None:
        raise NotImplementedError

    def is_reading(self) -> bool:
        """Whether the server takes what is sent."""
        return bool(self.protocol.transport.is_reading())

    @property
    def ended(self) -> bool:
        """Whether the server will send no more."""
        raise NotImplementedError

    async def answer(self, method: str = "GET") -> Answer:
        """The next response, whole."""
        return (await self.answers([method]))[0]

    async def answers(self, methods: list[str]) -> list[Answer]:
        """The next responses, whole and in order."""
        found: list[Answer] = []
        seen = judged = (-1, False)

        def there() -> bool:
            nonlocal seen, judged
            ended = self.ended
            before, seen = seen, (len(self.received), ended)
            if seen != before or seen == judged:
                return False  # more may come at once: not every piece of it is judged, and none of them twice
            try:
                while len(found) < len(methods):
                    answer, rest = judge_one(bytes(self.received), methods[len(found)], eof=ended)
                    found.append(answer)
                    self.received[:] = rest
            except Incomplete:
                judged = (len(self.received), ended)
                return False
            return True

        await self.until(there, f"({len(methods)} requests answered)")
        return found

    async def end(self) -> bytes:
        """Wait until the server has ended the connection; what it sent that was not looked at."""
        await self.until(lambda: self.ended, "(the end)")
        rest = bytes(self.received)
        self.received.clear()
        return rest

    async def nothing_more(self) -> None:
        """The connection is open and nothing is written to it."""
        await self.settle()
        assert not self.ended
        assert not self.received

    # -- What the server offers

    async def until(self, condition: Callable[[], Any], what: str = "") -> None:
        try:
            await self.wiring.until(condition, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; received {bytes(self.received)[:300]!r}") from None

    async def settle(self) -> None:
        await self.wiring.settle()

    def take_errors(self) -> list[logging.LogRecord]:
        return self.wiring.take_errors()

    @property
    def accesses(self) -> list[logging.LogRecord]:
        return self.wiring.accesses

    async def another(self, **options: Any) -> Client:
        return await self.wiring.connect(**options)


class HeldTransport(FakeTransport):
    """A FakeTransport that keeps what comes while the protocol has paused it, as the kernel does."""

    def __init__(self, protocol: Any, **options: Any) -> None:
        self.held: list[bytes] = []
        super().__init__(protocol, **options)

    def receive(self, data: bytes) -> None:
        if self.reading:
            super().receive(data)
        else:
            self.held.append(data)

    def resume_reading(self) -> None:
        super().resume_reading()
        if self.held:
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        while self.held and self.reading and not self.closed:
            super().receive(self.held.pop(0))


class FakeClient(Client):
    def __init__(self, wiring: Wiring, protocol: HTTPProtocol, **options: Any) -> None:
        super().__init__(wiring)
        self.transport = HeldTransport(protocol, **options)

    async def send(self, data: bytes, *, more: bool = False) -> None:
        if self.wiring.way == "whole":
            self.transport.receive(data)
        elif self.wiring.way == "tail":
            self.transport.receive(data if more else data + TAIL)
        else:
            for i in range(len(data)):
                self.transport.receive(data[i : i + 1])
                await asyncio.sleep(0)

    async def send_eof(self) -> None:
        self.transport.receive_eof()

    async def leave(self) -> None:
        self.transport.lose(ConnectionResetError())

    async def hang_up(self) -> None:
        self.transport.receive_eof()

    async def close(self) -> None:
        self.transport.lose()

    def stop_reading(self) -> None:
        self.transport.fill()

    def read_again(self) -> None:
        self.transport.drain()

    def is_reading(self) -> bool:
        return self.transport.reading

    @property
    def was_reset(self) -> bool:
        return self.transport.aborted

    @property
    def ended(self) -> bool:
        self.received += self.transport.take()
        return self.transport.closed or self.transport.eof_written


def small_socket(*, bound: bool = False) -> socket.socket:
    """A socket that holds little, so that a side which does not read is soon felt; connections inherit it."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    if bound:
        sock.bind(("127.0.0.1", 0))
    return sock


class SocketClient(Client):
    """A client on asyncio's streams."""

    def __init__(self, wiring: Wiring, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(wiring)
        self._writer, self._reader = writer, reader
        self._pump: asyncio.Task[None] | None = None
        self._ended = self.was_reset = False
        self.read_again()

    @classmethod
    async def connect(cls, wiring: Wiring, address: Any) -> SocketClient:
        sock = small_socket()
        # Or a second piece would wait until the first one is acknowledged, for 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await wiring.loop.sock_connect(sock, address)
        reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 14)
        return cls(wiring, reader, writer)

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(1 << 16):
                self.received += data
        except ConnectionError:
            self.was_reset = True
        self._ended = True

    async def send(self, data: bytes, *, more: bool = False) -> None:
        self._writer.write(data)

    async def send_eof(self) -> None:
        self._writer.write_eof()

    async def hang_up(self) -> None:
        self._writer.close()

    async def leave(self) -> None:
        # Without lingering a close is a reset.
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        self.stop_reading()
        self._writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def stop_reading(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None

    def read_again(self) -> None:
        self._pump = asyncio.ensure_future(self._read())

    @property
    def ended(self) -> bool:
        return self._ended


# -- Playing ---------------------------------------------------------------------------------------------------------

Case = Callable[[Client], Awaitable[None]]
LOOPS = ["asyncio", "uvloop"]
FAKES = ["whole", "bytes", "tail"]


def run_on(loop: str, story: Coroutine[Any, Any, None]) -> None:
    if loop == "asyncio":
        asyncio.run(story)
    elif uvloop is None:
        story.close()
        pytest.skip("uvloop is not installed")
    else:
        uvloop.run(story)


async def story(app: Any, case: Case, way: str, settings: dict[str, Any], options: dict[str, Any]) -> None:
    async def app_of_the_case(scope: Any, receive: Any, send: Any) -> None:
        await wiring.clients[0].app(scope, receive, send)

    wiring = Wiring(app or app_of_the_case, way, settings, options)
    try:
        await asyncio.wait_for(case(await wiring.connect()), 6 * PATIENCE)
    finally:
        await wiring.close()
    assert not wiring.problems, wiring.problems
    for record in wiring.errors:
        raise AssertionError(f"an error was logged: {record.getMessage()}") from (record.exc_info or (0, None))[1]


def player(loop: str, way: str) -> Callable[..., None]:
    def play(app: Any, case: Case, *, settings: dict[str, Any] | None = None, **options: Any) -> None:
        """Run a case against an app, or the ``client.app`` that it sets.

        ``options`` are those of ServerContext; ``access_log`` may be what makes it, from a logger, or True.
        """
        run_on(loop, story(app, case, way, settings or {}, options))

    return play


@pytest.fixture(params=[f"{loop}-{way}" for loop in LOOPS for way in [*FAKES, "socket"]])
def play(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Play a case every way there is."""
    return player(*request.param.split("-"))


@pytest.fixture(params=[f"{loop}-{way}" for loop in LOOPS for way in ["whole", "socket"]])
def play_steps(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Play a case whose steps depend on what comes in one read: whole, and over a socket."""
    return player(*request.param.split("-"))


@pytest.fixture(params=LOOPS)
def play_fake(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Play a case that needs the FakeTransport."""
    return player(request.param, "whole")


@pytest.fixture(params=LOOPS)
def play_socket(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Play a case that needs a real socket."""
    return player(request.param, "socket")


@pytest.fixture
def in_loop() -> Iterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """Run a coroutine on asyncio; an exception in a callback fails the test."""

    def run(work: Coroutine[Any, Any, None]) -> None:
        problems: list[dict[str, Any]] = []

        async def watched() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda loop, problem: problems.append(problem))
            await work

        asyncio.run(watched())
        assert not problems

    yield run
