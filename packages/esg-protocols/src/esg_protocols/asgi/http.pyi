"""HTTP on an asyncio transport: the protocol reads and writes, an exchange is one request and its response."""

from typing import Any

from typing_extensions import disjoint_base

from esg_protocols.asgi.base import StreamProtocol

@disjoint_base
class HTTPProtocol(StreamProtocol):
    """One connection, for ``loop.create_server(lambda: HTTPProtocol(context), ...)``."""

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
    def eof_received(self) -> bool | None:
        """Called by the event loop; True keeps the transport open for an answer that is due."""
    def go_on(self) -> None:
        """Go on with requests that were read already, if nothing is in the way."""
    def run_later(self) -> None:
        """Called by the event loop a turn after a response, with the request behind it."""
    def shutdown(self) -> None:
        """End the connection: now if it is idle, otherwise behind the response in work."""

@disjoint_base
class Exchange:
    """One request and its response. Applications get its ``receive`` and ``send``."""

    def receive(self) -> Receive:
        """ASGI's receive: an awaitable that gives the next message."""
    def send(self, message: Any) -> Done | Waiting:
        """ASGI's send: done when it returns, but for a wait when the client does not read.

        Raises:
            LocalProtocolError: a message of a wrong type, order or content.
            ClientDisconnected: the client has gone (ASGI HTTP specification 2.4).
        """

class Done:
    """The awaitable of a ``send`` that need not wait."""

    def __await__(self) -> Done: ...
    def __iter__(self) -> Done: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any: ...
    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any: ...
    def close(self) -> None: ...

@disjoint_base
class Waiting:
    """An awaitable that looks whether it must wait when it is first stepped, and again whenever it is woken."""

    def __await__(self) -> Waiting: ...
    def __iter__(self) -> Waiting: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any: ...
    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any: ...
    def close(self) -> None: ...

@disjoint_base
class Receive(Waiting):
    """Waits for a message."""

@disjoint_base
class Drain(Waiting):
    """Waits for the client to read."""

@disjoint_base
class Turn(Waiting):
    """Lets others have their turn."""

@disjoint_base
class AppRun:
    """The coroutine of an exchange's task."""

    def __await__(self) -> AppRun: ...
    def __iter__(self) -> AppRun: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any: ...
    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any: ...
    def close(self) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
