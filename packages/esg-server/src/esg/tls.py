"""TLS below the connections of one process: handshakes, and certificates that may change under them."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
import sys
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

from esg_protocols.asgi import ServerContext

from esg.certificates import Certificates, load
from esg.config import Config, StartupError
from esg.sockets import cannot_listen, place

logger = logging.getLogger("esg.error")

Factory = Callable[[], asyncio.Protocol]
Connect = Callable[..., Coroutine[Any, Any, Any]]

# Connections accepted in one turn of the loop.
MOST_AT_ONCE = 64
# Until a listener tries again that found no descriptor, or no memory, for a connection.
RETRY_SECONDS = 1.0
# Connections themselves see to it that a client takes what is left and says goodbye; this is only in case they do not.
SHUTDOWN_SECONDS = 600.0
# In place of no limit, which loops do not know.
EVER = 86400.0 * 365
# What aiofastnet keeps for a connection in each direction; its own 256 KiB are for few connections and large messages.
BUFFER_SIZE = 4 * (16 * 1024 + 64)


class TLS:
    """What one server needs for TLS.

    Args:
        config: where certificates and keys are, and how to use them.

    Raises:
        StartupError: when they do not do.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        # Before they are read: who changes them meanwhile is noticed.
        self._seen = self._state_of_files()
        self.certificates = load(config)
        self._own: weakref.WeakKeyDictionary[ssl.SSLContext, str] = weakref.WeakKeyDictionary()
        self._note()
        self._pending: str | None = None
        self._connect = _choose_transport(config, self.certificates)
        self._options = _options(config, self._connect)
        self._filter: _ErrorFilter | None = None
        self._watching: asyncio.TimerHandle | None = None
        self.before: Callable[[socket.socket], Coroutine[Any, Any, Factory | None]] | None = None
        """What comes on a connection before TLS does: it returns what makes the protocol, or None for no connection."""
        self.handshakes: set[asyncio.Task[None]] = set()
        """Those that are under way."""

    def server_cert(self, context: ssl.SSLContext) -> str | None:
        """The server's certificate, as PEM, on connections with this context, which may have been replaced since."""
        return self._own.get(context)

    # -- New certificates

    def start(self) -> None:
        """Begin, in the loop that runs."""
        if self._connect is not _connect_by_loop:
            self._filter = _ErrorFilter(asyncio.get_running_loop())
        self._watch()

    def _watch(self) -> None:
        """Look at the files now and then, and take what is new."""
        interval = self._config.ssl_reload_interval
        if interval:
            self._watching = asyncio.get_running_loop().call_later(interval, self._look)

    def reload(self) -> None:
        """Read the certificates again. Connections stay as they are; what does not do is logged, and not taken."""
        self._seen, self._pending = self._state_of_files(), None
        error = self._read()
        if error is not None:
            _tell_kept(error)

    def stop(self) -> None:
        """Look no more, and end handshakes."""
        if self._filter is not None:
            self._filter.remove()
            self._filter = None
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        for task in self.handshakes:
            task.cancel()

    def _look(self) -> None:
        state = self._state_of_files()
        if state != self._seen:
            self._seen, self._pending = state, self._read()
        elif self._pending is not None:
            # Of two files only one may have been there the first time: now it is said, once.
            error, self._pending = self._read(), None
            if error is not None:
                _tell_kept(error)
        self._watch()

    def _read(self) -> str | None:
        """Take what the files hold, or say why not."""
        try:
            self.certificates = load(self._config)
        except StartupError as error:
            return str(error)
        except Exception as error:  # of a context factory
            logger.exception("ssl_context_factory raised")
            return repr(error)
        logger.info("Certificates re-read")
        self._note()
        return None

    def _note(self) -> None:
        for context, certificate in self.certificates.read.items():
            self._own[context] = certificate.pem
        for complaint in self.certificates.complaints():
            logger.warning(complaint)

    def _state_of_files(self) -> list[tuple[int, int, int] | None]:
        config = self._config
        authorities = (config.ssl_ca_certs,) if config.ssl_ca_certs else ()
        return [_state_of(path) for path in (*config.ssl_certfile, *config.ssl_keyfile, *authorities)]

    # -- Connections

    def start_handshake(self, connection: socket.socket, protocol: Factory, context: ServerContext) -> None:
        """Take an accepted socket; the protocol is made when its handshake is over."""
        task = asyncio.get_running_loop().create_task(self._shake_hands(connection, protocol, context))
        self.handshakes.add(task)
        task.add_done_callback(self.handshakes.discard)

    async def settle(self, seconds: float) -> None:
        """Let handshakes end in so many seconds; then they are ended."""
        if self.handshakes:
            await asyncio.wait(self.handshakes, timeout=seconds)
        for task in self.handshakes:
            task.cancel()

    async def _shake_hands(self, connection: socket.socket, protocol: Factory, context: ServerContext) -> None:
        client = _name(connection)
        loop = asyncio.get_running_loop()
        if self.before is not None:
            made = await self.before(connection)
            if made is None:
                return
            protocol = made
        try:
            await self._connect(loop, protocol, connection, ssl=self.certificates.default, **self._options)
        except ConnectionAbortedError:  # how loops call a handshake that is overdue
            context.counters.handshake_timeouts += 1
            seconds = self._config.timeout_request_head
            logger.warning("%s: a TLS handshake that took too long (timeout_request_head is %g)", client, seconds)
        except OSError as error:
            context.counters.handshake_failures += 1
            logger.debug("%s: TLS handshake failed: %s", client, _describe(error))


class TLSListener:
    """Accepts on one socket, beside the loop's own servers: their contexts cannot change, and some give up handshakes.

    Args:
        sock: bound, not yet listening; whoever has it closes it.
        backlog: connections that the system queues.
        take: what is done with each accepted socket.
    """

    def __init__(self, sock: socket.socket, backlog: int, take: Callable[[socket.socket], None]) -> None:
        self._sock = sock
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._retrying: asyncio.TimerHandle | None = None
        try:
            sock.listen(backlog)
        except OSError as error:
            raise cannot_listen(place(sock), error) from None
        sock.setblocking(False)
        self._loop.add_reader(sock, self._accept)

    def close(self) -> None:
        """Accept no more."""
        if self._retrying is not None:
            self._retrying.cancel()
        self._loop.remove_reader(self._sock)

    def _accept(self) -> None:
        for _ in range(MOST_AT_ONCE):
            try:
                connection, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._retry(error)
                return
            connection.setblocking(False)
            self._take(connection)

    def _retry(self, error: OSError) -> None:
        if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            raise error
        # The system would say so again and again: wait until connections have ended.
        logger.error("Cannot accept a connection: %s", error.strerror)
        self._loop.remove_reader(self._sock)
        self._retrying = self._loop.call_later(RETRY_SECONDS, self._loop.add_reader, self._sock, self._accept)


class _ErrorFilter:
    """Keeps from a loop's log what aiofastnet 1.2 makes of clients that leave in their handshakes.

    They are an error for it, of which it gives the class; logging fails to print that.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._before = loop.get_exception_handler()
        loop.set_exception_handler(self._handle)

    def remove(self) -> None:
        if self._loop.get_exception_handler() == self._handle:
            self._loop.set_exception_handler(self._before)

    def _handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if context.get("exception") is ConnectionResetError:
            return
        if self._before is not None:
            self._before(loop, context)
        else:
            loop.default_exception_handler(context)


def _choose_transport(config: Config, certificates: Certificates) -> Connect:
    """``connect_accepted_socket`` of aiofastnet or of the loop."""
    # aiofastnet drives OpenSSL past Python: a context that calls back into Python, as to choose a certificate, crashes.
    can = not certificates.has_choice and config.ssl_context_factory is None
    if config.ssl_transport == "loop" or (config.ssl_transport == "auto" and not can):
        return _connect_by_loop
    if certificates.has_choice:
        raise StartupError("--ssl-transport aiofastnet: it serves one certificate, not several; write auto or loop")
    try:
        from aiofastnet import connect_accepted_socket
    except ImportError:
        if config.ssl_transport == "auto":
            return _connect_by_loop
        hint = "pip install esg-server[standard]"
        raise StartupError(f"--ssl-transport aiofastnet: aiofastnet is not installed; try {hint}") from None
    return connect_accepted_socket


def _connect_by_loop(loop: asyncio.AbstractEventLoop, *args: Any, **options: Any) -> Coroutine[Any, Any, Any]:
    return loop.connect_accepted_socket(*args, **options)


def _options(config: Config, connect: Connect) -> dict[str, Any]:
    options: dict[str, Any] = {"ssl_handshake_timeout": config.timeout_request_head or EVER}
    if connect is not _connect_by_loop:
        options.update(ssl_incoming_bio_size=BUFFER_SIZE, ssl_outgoing_bio_size=BUFFER_SIZE)
    if connect is not _connect_by_loop or sys.version_info >= (3, 11):
        options["ssl_shutdown_timeout"] = SHUTDOWN_SECONDS
    return options


def _state_of(path: str) -> tuple[int, int, int] | None:
    """What changes with a file's contents."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _name(connection: socket.socket) -> str:
    try:
        name = connection.getpeername()
    except OSError:
        return "a client"
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "a client"


def _describe(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    if reason == "HTTP_REQUEST":
        return "it speaks HTTP without TLS"
    return reason.replace("_", " ").lower() if reason else str(error) or type(error).__name__


def _tell_kept(error: str) -> None:
    logger.error("The certificates stay as they were: %s", error)
