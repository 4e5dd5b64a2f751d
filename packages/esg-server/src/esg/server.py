"""One process, start to end: bind, start the application, serve, drain, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from importlib.util import find_spec
from types import FrameType
from typing import Any

from esg_protocols.asgi import Clock, ServerContext
from esg_protocols.asgi.websocket import WebSocketProtocol
from esg_protocols.memory import keep_freed_memory
from esg_protocols.websocket import CODECS, load_codec

from esg import logs, loops, sockets
from esg.access import Access
from esg.app import import_target, make_app
from esg.certificates import check_options
from esg.compatibility import words
from esg.config import Config, StartupError
from esg.headers import read_headers
from esg.interfaces import ASGIApp
from esg.lifespan import Lifespan
from esg.proxied import HeaderReader, make_factory
from esg.proxy import DEFAULT_ALLOW, Forwarding
from esg.recycling import Wear
from esg.signals import STOPPING, Hangup
from esg.systemd import Notifier
from esg.tls import TLS, TLSListener
from esg.trace import traced

logger = logging.getLogger("esg.error")

# The part of the time for a graceful stop that is left when apps are told, in seconds and at most.
LAST_WORDS = 5.0
# Turns of the loop in which idle connections are lost, which need no announcement, and accepted ones are made.
TURNS = 5
# How long cancelled tasks may take to end, in seconds.
CANCELLED = 1.0
# How long TLS handshakes that are under way when the server stops may take, in seconds.
LAST_HANDSHAKES = 1.0
# How long a server that is replaced waits for the last request of idle connections, in seconds and at most.
LAST_REQUESTS = 10.0


class Server:
    """A server in this process.

    Args:
        config: what it does.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.started = False
        """Whether it has begun to accept connections; stays true afterwards."""
        self.addresses: list[tuple[str, int]] = []
        """Host and port of every bound TCP socket: where port 0 ended up."""
        self.sockets: list[socket.socket] = []
        self.lifespan: Lifespan | None = None
        self.context: ServerContext | None = None
        """What its connections share: the sets of connections and tasks, the counters."""
        self.notifier = Notifier()
        """Whom it tells that it is ready and that it stops: nobody, unless it is the whole of a service."""
        self.worker: int | None = None
        """Which of several processes this is, from 1."""
        self.access_logger = "esg.access"
        """The name of the logger that has the access log."""
        self._access: Access | None = None
        self._target: Any = None
        self._forwarding: Forwarding | None = None
        self._clock: Clock | None = None
        self._wear = Wear(config)
        self._replaced = False
        self._serving_on = ""
        self._protocol: Callable[[], asyncio.Protocol]
        self._listeners: list[asyncio.AbstractServer | TLSListener] = []
        self._tls: TLS | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._should_exit = self._force_exit = False
        self._exit, self._forced = asyncio.Event(), asyncio.Event()
        self._hurried = asyncio.Event()
        self._caught: list[int] = []
        self._hangup = Hangup()

    @property
    def should_exit(self) -> bool:
        """Set it, from any thread, to stop gracefully."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        self._wake()

    @property
    def force_exit(self) -> bool:
        """Set it, from any thread, to stop a graceful stop from waiting: what is still running is dropped."""
        return self._force_exit

    @force_exit.setter
    def force_exit(self, value: bool) -> None:
        self._force_exit = value
        self._wake()

    def run(self, sockets: Sequence[socket.socket] | None = None, *, signals: bool = True) -> None:
        """Serve in an event loop of its own until told to stop.

        Args:
            sockets: bound sockets to listen on, instead of ``host`` and ``port``; they are closed in the end.
            signals: stop on SIGINT and SIGTERM, reload on SIGHUP; without it the program around sets
                ``should_exit`` and calls :meth:`reload`.

        Raises:
            StartupError: when the server cannot start.
        """
        self._prepare()
        keep_freed_memory()
        # Outside the loop: a signal is raised again only after the loop has closed everything of its own.
        with self.capture_signals() if signals else contextlib.nullcontext():
            loops.run(self._serve(sockets), self.config.loop, self.config.app_dir)

    async def serve(self, sockets: Sequence[socket.socket] | None = None, *, signals: bool = True) -> None:
        """Serve in the running event loop until told to stop; arguments and errors as for :meth:`run`."""
        self._prepare()
        with self.capture_signals() if signals else contextlib.nullcontext():
            await self._serve(sockets)

    def check(self) -> None:
        """Load everything that serving needs, the application too, without starting it; errors as for :meth:`run`."""
        self._prepare()

        async def load() -> None:
            self._make_app()

        loops.run(load(), self.config.loop, self.config.app_dir)

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Start the application and listen. Call :meth:`shutdown` in the end, also after an error.

        ``started`` stays false when ``should_exit`` was set meanwhile. Arguments and errors are those of
        :meth:`run`.
        """
        self._prepare()
        self._loop = asyncio.get_running_loop()
        self._note_requests()
        logger.info("Started server process [%d]", os.getpid())
        self._bind(sockets)
        app = self._make_app()
        self.lifespan = Lifespan(app, self.config.lifespan)
        if await _unless(self._exit, self.lifespan.startup()):
            await self._listen(app, self.lifespan)

    async def shutdown(self) -> None:
        """Stop accepting, finish what is running, stop the application."""
        try:
            if self.started:
                await self._drain()
            if self.lifespan is not None and not self._force_exit:
                await _unless(self._forced, self._end_lifespan(self.lifespan))
        finally:
            self._release()

    def reload(self) -> None:
        """Read again what may have changed outside, without a connection that notices. To be called in the loop."""
        if not self.started or self._should_exit:
            return  # it is about to read everything, or needs nothing any more
        self.notifier.reloading()
        if self._tls is not None:
            self._tls.reload()  # what is wrong with new certificates is logged
        self.reopen_logs()
        logger.info("Reloaded")
        self.notifier.ready(self._serving_on)

    def reopen_logs(self) -> None:
        """Open the log files again; what was answered before stands in the old ones. To be called in the loop."""
        if self._access is not None:
            self._access.flush()
        logs.reopen()

    async def _serve(self, sockets: Sequence[socket.socket] | None) -> None:
        try:
            await self.startup(sockets)
            if self.started:
                await self._exit.wait()
            await self.shutdown()
            logger.info("Finished server process [%d]", os.getpid())
        finally:
            self._release()

    def _prepare(self) -> None:
        """Set logging up and import the application, once."""
        if self._target is not None:
            return
        logs.configure(self.config)
        if self.worker is None:  # else its parent has said so
            for level, word in words(self.config):
                logger.log(level, word)
        self._check_codec()
        self._forwarding = _make_forwarding(self.config)
        check_options(self.config)
        self._tls = TLS(self.config) if self.config.is_ssl else None
        self._target = self._load()

    def _load(self) -> Any:
        """What is named as the application, or a factory of it."""
        app = self.config.app
        return import_target(app, self.config.app_dir) if isinstance(app, str) else app

    def _check_codec(self) -> None:
        name = self.config.ws
        if self.config.ws_deflate_library == "isal" and find_spec("isal") is None:
            raise StartupError("--ws-deflate-library isal: isal is not installed; try pip install esg-protocols[isal]")
        if name not in CODECS:  # auto, none
            return
        try:
            load_codec(name)
        except ImportError:
            raise StartupError(f"--ws {name}: {name} is not installed; try pip install esg-protocols[{name}]") from None

    def _make_app(self) -> ASGIApp:
        # In the loop: a factory may start tasks and make things that belong to the loop.
        config = self.config
        return traced(make_app(self._target, factory=config.factory, name=self._name(), interface=config.interface))

    def _name(self) -> str | None:
        return self.config.app if isinstance(self.config.app, str) else None

    def _bind(self, given: Sequence[socket.socket] | None) -> None:
        # Before the application starts: a port in use is known at once, not after a minute of loading models.
        # A bound socket does not accept yet: clients are refused, not kept waiting, until the app is ready.
        self.sockets = list(given or ()) or sockets.bind_all(self.config)
        names = [sock.getsockname() for sock in self.sockets]
        self.addresses = [name[:2] for name in names if isinstance(name, tuple)]

    async def _listen(self, app: ASGIApp, lifespan: Lifespan) -> None:
        self.context = context = self._make_context(app, lifespan)
        context.requests_wanted = self._wear.requests
        context.on_requests = self._on_requests
        self._clock = Ticker(context, self._tick)
        self._clock.start()
        self._protocol = make_factory(self.config, context)
        if self._tls is not None and self.config.proxy_protocol:
            self._tls.before = HeaderReader(self.config, context).read
        for sock in self.sockets:
            try:
                self._listeners += await self._listen_on(sock)
            except StartupError:
                await lifespan.shutdown()
                raise
        if self._tls is not None:
            self._tls.start()
        self.started = True
        scheme = "http" if self._tls is None else "https"
        places = ", ".join(sockets.url(sock, scheme) for sock in self.sockets)
        self._serving_on = f"Serving on {places}"
        self._announce(places)
        self.notifier.ready(self._serving_on)

    def _announce(self, places: str) -> None:
        """Connections are accepted, at these URLs."""
        logger.info("ESG running on %s (Press CTRL+C to quit)", places)

    async def _listen_on(self, sock: socket.socket) -> Sequence[asyncio.AbstractServer | TLSListener]:
        if self._tls is not None:
            return [TLSListener(sock, self.config.backlog, self._take_tls)]
        loop = asyncio.get_running_loop()
        alone = self.config.workers == 1 or self.config.reuse_port
        return await sockets.listen(loop, self._protocol, sock, alone=alone, backlog=self.config.backlog)

    def _take_tls(self, connection: socket.socket) -> None:
        assert self._tls is not None and self.context is not None
        self._tls.start_handshake(connection, self._protocol, self.context)

    def _make_context(self, app: ASGIApp, lifespan: Lifespan) -> ServerContext:
        if self.config.access_log:
            self._access = Access(self.config, asyncio.get_running_loop(), self.access_logger)
        # Made inside the lifespan's context, which it copies: requests see the variables set at startup.
        context = contextvars.Context() if self.config.reset_contextvars else lifespan.context
        return context.run(
            ServerContext,
            app,
            self.config,
            loop=asyncio.get_running_loop(),
            state=lifespan.state,
            access_log=None if self._access is None else self._access.log,
            error_logger=logger,
            headers=read_headers(self.config.headers),
            forwarded=self._forwarding,
            server_cert=None if self._tls is None else self._tls.server_cert,
        )

    def _tick(self) -> None:
        """Called once a second, in the loop."""
        self.notifier.tick()
        reason = self._wear.reason()
        if reason is not None:
            self._retire(reason)

    def _on_requests(self) -> None:
        self._retire(f"{self._wear.requests} requests (limit_max_requests)")

    def _retire(self, reason: str) -> None:
        """Enough is enough: a server by itself stops, for whoever starts it again."""
        if not self._should_exit:
            logger.warning("Stopping after %s", reason)
            self.should_exit = True

    async def _drain(self) -> None:
        """Let connections and tasks end. asyncio's wait_closed() is no help: it knows no tasks."""
        assert self.context is not None
        self.notifier.stopping()
        await self._stay_open()
        context, empty = self.context, asyncio.Event()
        context.replaced = self._replaced
        context.draining = context.draining or self._replaced
        logger.info("Shutting down")
        await self._take_in_the_last()
        self._stop_listening()
        context.on_empty = empty.set
        if self._replaced:
            await self._send_away(context, empty)
        context.closing = True
        for connection in list(context.connections):
            connection.shutdown()
        if self._tls is not None:
            await _unless(self._forced, self._tls.settle(LAST_HANDSHAKES))
        await _turns()
        if not context.connections and not context.tasks:
            return
        what = "connections to close" if context.connections else "background tasks to complete"
        logger.info("Waiting for %s. (CTRL+C to force quit)", what)
        await _unless(self._forced, self._wait_until(empty))

    async def _send_away(self, context: ServerContext, empty: asyncio.Event) -> None:
        """Answer what comes on idle connections, with ``Connection: close``, instead of closing them.

        A connection that is closed just as its client asks has lost a request. Another server accepts connections
        already, so there is time: who does not ask before its time for keep-alive is over would be closed anyway.
        """
        for connection in list(context.connections):
            if isinstance(connection, WebSocketProtocol):
                connection.shutdown()
        if context.connections or context.tasks:
            seconds = min(self.config.timeout_keep_alive + 2, LAST_REQUESTS)
            await _unless(self._hurried, _within(seconds, empty))

    async def _end_lifespan(self, lifespan: Lifespan) -> None:
        """Let the application stop, in the time that a stop may take."""
        grace = self.config.timeout_graceful_shutdown
        if grace == 0:  # of requests; the application has to put its things in order all the same
            grace = LAST_WORDS
        try:
            await asyncio.wait_for(lifespan.shutdown(), grace)
        except asyncio.TimeoutError:
            logger.error("The application's shutdown was not over in time (timeout_graceful_shutdown is %g)", grace)

    async def _take_in_the_last(self) -> None:
        """Accept the connections that the system has made and queued: closing a listener would reset them."""
        loop = asyncio.get_running_loop()
        for sock in self.sockets:
            # asyncio itself is to accept no more: what it is at when its listener closes is lost.
            loop.remove_reader(sock)
        await _turns()
        if self._replaced and not self.config.reuse_port:
            return  # Who serves on accepts them from the same queue.
        for sock in self.sockets:
            with contextlib.suppress(OSError):  # at the latest when there are no more: BlockingIOError
                # No more than can be queued: clients that come and come would be waited for without end.
                for _ in range(self.config.backlog):
                    connection, _ = sock.accept()
                    connection.setblocking(False)
                    if self._tls is not None:
                        self._take_tls(connection)
                    else:
                        await loop.connect_accepted_socket(self._protocol, connection)

    async def _stay_open(self) -> None:
        """Serve on for a while, not ready: until everybody who sends clients here knows that this server ends."""
        delay = self.config.drain_delay
        if delay and not self._replaced and self.context is not None:
            logger.info("Still accepting connections for %g seconds. (CTRL+C to force quit)", delay)
            self.context.draining = True
            await _unless(self._forced, asyncio.sleep(delay))

    async def _wait_until(self, empty: asyncio.Event) -> None:
        """Wait for the last connection and task, in the time there is; who is not done then is told, and cancelled."""
        grace = self.config.timeout_graceful_shutdown
        if grace is None:
            await empty.wait()
            return
        last_words = min(LAST_WORDS, grace / 2)
        assert self.context is not None
        if await _within(grace - last_words, empty):
            return
        logger.warning("Requests still in work are ended (timeout_graceful_shutdown is %g)", grace)
        for connection in list(self.context.connections):
            connection.end_exchange()
        if await _within(last_words, empty):
            return
        logger.error("Tasks still running are cancelled: %d", len(self.context.tasks))
        for connection in list(self.context.connections):
            connection.abort()
        for task in list(self.context.tasks):
            task.cancel()
        if not await _within(CANCELLED, empty):
            logger.error("Tasks that do not let themselves be cancelled: %d", len(self.context.tasks))

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        sockets.close(self.sockets)
        self.sockets.clear()

    def _release(self) -> None:
        """Let go of everything at once; after a graceful stop nothing but the clock is left."""
        self._loop = None
        self._stop_listening()
        if self._clock is not None:
            self._clock.stop()
        if self._tls is not None:
            self._tls.stop()
        if self.lifespan is not None:
            self.lifespan.cancel()
        if self.context is not None:
            for connection in list(self.context.connections):
                connection.abort()
            for task in list(self.context.tasks):
                task.cancel()
        if self._access is not None:
            self._access.close()

    def call_in_loop(self, call: Callable[[], None]) -> bool:
        """Have something called in the loop, from any thread or signal handler; whether there is a loop that could."""
        # A copy: the thread that serves may be letting go of the loop.
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(call)
                return True
        return False

    def _wake(self) -> None:
        self.call_in_loop(self._note_requests)

    def _note_requests(self) -> None:
        if self._should_exit or self._force_exit:
            self._exit.set()
        if self._force_exit:
            self._forced.set()
        if self._force_exit or (self._should_exit and not self._replaced):
            self._hurried.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM meanwhile, then put the handlers back and raise what was caught.

        The process ends as the signal would have it end (status -15, KeyboardInterrupt), only later.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # signal.signal, not loop.add_signal_handler: a blocked loop must still see the third Ctrl+C, and the
        # handlers that were there can be put back.
        previous = {number: signal.signal(number, handler) for number, handler in self._handlers().items()}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        for caught in reversed(self._caught):
            signal.raise_signal(caught)

    def _handlers(self) -> dict[signal.Signals, Callable[[int, FrameType | None], None]]:
        return {**dict.fromkeys(STOPPING, self.handle_exit), signal.SIGHUP: self._on_hangup}

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        if self._hangup.means_stop():
            self.handle_exit(number, frame)
        else:
            self.call_in_loop(self.reload)

    def handle_exit(self, number: int, frame: FrameType | None) -> None:
        """What a signal does: stop gracefully, then at once, then by force, which in a start is the second thing."""
        self._caught.append(number)
        if self._force_exit or (self._should_exit and (self._loop is None or not self.started)):
            # Not even dropping everything helped, as when the application blocks the loop or its closing. A start that
            # is blocked has nothing to drop.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            os._exit(128 + number)  # process 1 of a container, which no signal of its own ends
        elif self._should_exit:
            self.force_exit = True
        else:
            self.should_exit = True


def _make_forwarding(config: Config) -> Forwarding | None:
    if not config.proxy_headers:
        return None
    allow = config.forwarded_allow_ips
    return Forwarding(DEFAULT_ALLOW if allow is None else allow, config.forwarded_headers)


class Ticker(Clock):
    """The clock of the connections, which the server hears too.

    Args:
        context: the connections'.
        on_tick: called once a second.
    """

    def __init__(self, context: ServerContext, on_tick: Callable[[], None]) -> None:
        super().__init__(context)
        self._on_tick = on_tick

    def tick(self) -> None:
        super().tick()
        self._on_tick()


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Wait for an event, and say whether it came in time."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    return True


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, Any]) -> bool:
    """Do ``work`` unless ``stop`` comes first, and say whether it was done."""
    doing, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        done, _ = await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        doing.cancel()
        stopping.cancel()
    if doing not in done:
        return False
    doing.result()
    return True
