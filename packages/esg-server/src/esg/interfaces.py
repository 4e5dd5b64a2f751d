"""Applications of other kinds, and what makes ASGI 3 of them: ASGI 2, and WSGI by way of a2wsgi."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any, cast

from esg_protocols.errors import ClientDisconnected

from esg.config import StartupError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# Where a scope has it on its way to the thread.
EXCHANGE = "esg.wsgi"


def adapt(app: Any, name: str, interface: str) -> ASGIApp:
    """The ASGI 3 application that a callable is, or can be made of it.

    Args:
        app: the callable.
        name: how messages call it.
        interface: ``asgi3``, ``asgi2``, ``wsgi``, or ``auto``, which looks what arguments it takes.

    Raises:
        StartupError: when ``auto`` finds that it is none of them, or WSGI needs what is not installed.
    """
    if interface == "auto":
        interface = _interface_of(app, name)
    if interface == "wsgi":
        return _from_wsgi(app, name)
    return ASGI2(app) if interface == "asgi2" else cast("ASGIApp", app)


def takes(target: Callable[..., Any], count: int) -> bool:
    """Whether a callable takes ``count`` arguments by position; one that cannot tell counts as ASGI 3."""
    try:
        inspect.signature(target).bind(*[None] * count)
    except ValueError:
        return count == 3
    except TypeError:
        return False
    return True


class ASGI2:
    """An application that is called twice: with the scope, then, what that returns, with receive and send.

    Args:
        app: the application.
    """

    def __init__(self, app: Callable[[MutableMapping[str, Any]], Callable[[Receive, Send], Awaitable[None]]]) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        scope["asgi"] = {**scope["asgi"], "version": "2.0"}
        await self.app(scope)(receive, send)


class WSGI:
    """An application of PEP 3333, called in threads.

    A thread hands its parts to the loop through a short queue, and would wait there for ever once nobody takes them:
    when the client has left, the response has gone wrong or the time for it is over. So all is taken from it, whatever
    becomes of that, and it is told to stop.

    Args:
        app: the application.
        middleware: what makes an ASGI application of one that is called in a thread.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], middleware: Callable[..., Any]) -> None:
        self.app = app
        self.middleware = middleware(self._call)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.middleware(scope, receive, send)
            return
        exchange = WSGIExchange(receive, send)
        scope[EXCHANGE] = exchange
        running = asyncio.ensure_future(self.middleware(scope, exchange.receive, exchange.send))
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError as error:
            # The thread cannot be cancelled: it goes on to its next part.
            exchange.failure = error
            running.add_done_callback(_forget)
            raise
        if exchange.failure is not None:
            raise exchange.failure

    def _call(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        # Not a generator itself: the application is called now.
        return _parts(self.app(environ, start_response), environ["asgi.scope"].pop(EXCHANGE))


class WSGIExchange:
    """One request of a WSGI application.

    Args:
        receive: the server's.
        send: the server's.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.failure: BaseException | None = None
        """What keeps the response from being sent."""

    async def receive(self) -> Message:
        """A part of the body; one that breaks off must not look whole."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected("the client has gone")
        return message

    async def send(self, message: Message) -> None:
        """Send a message, or drop it once that has failed."""
        if self.failure is None:
            try:
                await self._send(message)
            except Exception as error:
                self.failure = error


def _parts(response: Iterable[bytes], exchange: WSGIExchange) -> Iterator[bytes]:
    """The parts of a response, up to where nobody wants them any more."""
    try:
        for part in response:
            yield part
            if exchange.failure is not None:
                break
    finally:
        close = getattr(response, "close", None)
        if close is not None:
            close()


def _forget(running: asyncio.Future[None]) -> None:
    """Whoever wanted to know how it ended has gone."""
    if not running.cancelled():
        running.exception()


def _interface_of(app: Any, name: str) -> str:
    if takes(app, 3):
        return "asgi3"
    # Neither of the others awaits what its first call returns.
    if not inspect.iscoroutinefunction(app) and not inspect.iscoroutinefunction(type(app).__call__):
        if takes(app, 2):
            return "wsgi"
        if takes(app, 1):
            return "asgi2"
    raise StartupError(f"{name} is no application: it cannot be called with scope, receive and send")


def _from_wsgi(app: Any, name: str) -> ASGIApp:
    try:
        from a2wsgi import WSGIMiddleware
    except ImportError:
        raise StartupError(f"{name} is a WSGI application, which needs a2wsgi; try pip install a2wsgi") from None
    return WSGI(app, WSGIMiddleware)
