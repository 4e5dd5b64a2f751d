"""One process, start to end: bind, start the application, serve, drain, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import random
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from types import FrameType
from typing import Any, cast

from esg_protocols.asgi import Clock, HTTPProtocol, ServerContext

from esg import logs, sockets
from esg.app import ASGIApp, import_target, make_app, own_traceback
from esg.config import STARTUP_FAILURE, Config, StartupError
from esg.lifespan import Lifespan

logger = logging.getLogger("esg.error")

# The part of the time for a graceful stop that is left when apps are told, in seconds and at most.
LAST_WORDS = 5.0
# How long cancelled tasks may take to end, in seconds.
CANCELLED = 1.0

HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(app: Callable[..., Any] | str, **options: Any) -> None:
    """Serve an application until a signal stops it. A server that cannot start ends the process with code 3.

    Args:
        app: the application, or where to import it from as ``"module:attribute"``.
        options: the fields of :class:`esg.Config`.
    """
    run_config(Config(app, **options))


def run_config(config: Config) -> None:
    """What :func:`run` and the ``esg`` command do with a finished configuration."""
    server = Server(config)
    try:
        server.run()
    except KeyboardInterrupt:
        pass  # Ctrl+C after a graceful stop; the signal was raised again for those who embed a Server.
    except StartupError as error:
        _report(error)
    if not server.started:
        sys.exit(STARTUP_FAILURE)


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
        self._target: Any = None
        self._clock: Clock | None = None
        self._listeners: list[asyncio.AbstractServer] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._should_exit = self._force_exit = False
        self._exit, self._forced = asyncio.Event(), asyncio.Event()
        self._caught: list[int] = []

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

    def run(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Serve in an event loop of its own until told to stop.

        Args:
            sockets: bound sockets to listen on, instead of ``host`` and ``port``; they are closed in the end.

        Raises:
            StartupError: when the server cannot start.
        """
        self._prepare()
        run = _runner(self.config.loop)
        # Outside the loop: a signal is raised again only after the loop has closed everything of its own.
        with self._signals():
            run(self._serve(sockets))

    async def serve(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Serve in the running event loop until told to stop; arguments and errors as for :meth:`run`."""
        self._prepare()
        with self._signals():
            await self._serve(sockets)

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
        # In the loop: a factory may start tasks and make things that belong to the loop.
        app = make_app(self._target, factory=self.config.factory, name=self._name())
        self.lifespan = Lifespan(app, self.config.lifespan)
        if await _unless(self._exit, self.lifespan.startup()):
            await self._listen(app, self.lifespan)

    async def shutdown(self) -> None:
        """Stop accepting, finish what is running, stop the application."""
        try:
            if self.started:
                await self._drain()
            if self.lifespan is not None and not self._force_exit:
                await _unless(self._forced, self.lifespan.shutdown())
        finally:
            self._release()

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
        logs.configure(self.config.log_config, self.config.log_level)
        app = self.config.app
        self._target = import_target(app, self.config.app_dir) if isinstance(app, str) else app

    def _name(self) -> str | None:
        return self.config.app if isinstance(self.config.app, str) else None

    def _bind(self, given: Sequence[socket.socket] | None) -> None:
        # Before the application starts: a port in use is known at once, not after a minute of loading models.
        # A bound socket does not accept yet: clients are refused, not kept waiting, until the app is ready.
        self.sockets = list(given or ()) or sockets.bind(self.config.host, self.config.port)
        names = [sock.getsockname() for sock in self.sockets]
        self.addresses = [name[:2] for name in names if isinstance(name, tuple)]

    async def _listen(self, app: ASGIApp, lifespan: Lifespan) -> None:
        loop = asyncio.get_running_loop()
        self.context = context = self._make_context(app, lifespan)
        self._stop_after_requests(context)
        self._clock = Clock(context)
        self._clock.start()
        # An asyncio protocol in all but inheritance, which a compiled class cannot have.
        protocol = cast("Callable[[], asyncio.Protocol]", functools.partial(HTTPProtocol, context))
        for sock in self.sockets:
            try:
                listener = await loop.create_server(protocol, sock=sock, backlog=self.config.backlog)
            except OSError as error:
                await lifespan.shutdown()
                raise sockets.cannot_listen(sockets.place(sock), error) from None
            self._listeners.append(listener)
        self.started = True
        places = ", ".join("http://" + sockets.place(sock) for sock in self.sockets)
        logger.info("ESG running on %s (Press CTRL+C to quit)", places)

    def _make_context(self, app: ASGIApp, lifespan: Lifespan) -> ServerContext:
        # Made inside the lifespan's context, which it copies: requests see the variables set at startup.
        return lifespan.context.run(
            ServerContext,
            app,
            self.config,
            loop=asyncio.get_running_loop(),
            state=lifespan.state,
            access_logger=logging.getLogger("esg.access") if self.config.access_log else None,
            error_logger=logger,
        )

    def _stop_after_requests(self, context: ServerContext) -> None:
        limit = self.config.limit_max_requests
        if limit is not None:
            context.requests_wanted = limit + random.randint(0, self.config.limit_max_requests_jitter)
            context.on_requests = self._on_requests

    def _on_requests(self) -> None:
        logger.warning("Stopping after %d requests (limit_max_requests)", self.context and self.context.requests_wanted)
        self.should_exit = True

    async def _drain(self) -> None:
        """Let connections and tasks end. asyncio's wait_closed() is no help: it knows no tasks."""
        assert self.context is not None
        logger.info("Shutting down")
        self._stop_listening()
        context, empty = self.context, asyncio.Event()
        context.on_empty = empty.set
        context.closing = True
        for connection in list(context.connections):
            connection.shutdown()
        await asyncio.sleep(0)  # Idle connections are lost in the next turn of the loop: nothing to announce.
        if not context.connections and not context.tasks:
            return
        what = "connections to close" if context.connections else "background tasks to complete"
        logger.info("Waiting for %s. (CTRL+C to force quit)", what)
        await _unless(self._forced, self._wait_until(empty))

    async def _wait_until(self, empty: asyncio.Event) -> None:
        """Wait for the last connection and task, in the time there is; who is not done then is told, and cancelled."""
        grace = self.config.timeout_graceful_shutdown
        if not grace:
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
        if self.lifespan is not None:
            self.lifespan.cancel()
        if self.context is not None:
            for connection in list(self.context.connections):
                connection.abort()
            for task in list(self.context.tasks):
                task.cancel()

    def _wake(self) -> None:
        # A copy: the thread that serves may be letting go of the loop.
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(self._note_requests)

    def _note_requests(self) -> None:
        if self._should_exit or self._force_exit:
            self._exit.set()
        if self._force_exit:
            self._forced.set()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM meanwhile, then put the handlers back and raise what was caught.

        The process ends as the signal would have it end (status -15, KeyboardInterrupt), only later.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # signal.signal, not loop.add_signal_handler: a blocked loop must still see the third Ctrl+C, and the
        # handlers that were there can be put back.
        previous = {number: signal.signal(number, self._on_signal) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        for caught in reversed(self._caught):
            signal.raise_signal(caught)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._caught.append(number)
        if self._force_exit or (self._should_exit and self._loop is None):
            # Not even dropping everything helped, as when the application blocks the loop or its closing.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        elif self._should_exit:
            self.force_exit = True
        else:
            self.should_exit = True


def _runner(loop: str) -> Callable[[Coroutine[Any, Any, None]], None]:
    """``asyncio.run`` or its like for the loop that was asked for."""
    if loop != "asyncio":
        try:
            import uvloop
        except ImportError:
            if loop == "uvloop":
                hint = "pip install esg-server[standard]"
                raise StartupError(f"--loop uvloop: uvloop is not installed; try {hint}") from None
        else:
            return uvloop.run
    return asyncio.run


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


def _report(error: StartupError) -> None:
    """Say why the server did not start, in one line; below it the application's own traceback, if any."""
    cause = error.__cause__
    if cause is not None:
        cause = cause.with_traceback(own_traceback(cause))
    # Critical: it must be read at every log level.
    logger.critical(error, exc_info=cause)
