"""An application's run, and what its end says."""

from typing import Any

from typing_extensions import disjoint_base

from esg_protocols.asgi.awaitables import Waiting

@disjoint_base
class AppSide:
    """What an application runs for: an exchange, or a WebSocket."""

@disjoint_base
class Drain(Waiting):
    """Waits for the client to read."""

@disjoint_base
class AppRun:
    """The coroutine of an application's task."""

    def __await__(self) -> AppRun: ...
    def __iter__(self) -> AppRun: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any: ...
    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any: ...
    def close(self) -> None: ...
    def __getattr__(self, name: str, /) -> Any: ...
