"""An exchange is used again when no app holds on to it: hello world, against the same with ``send`` kept for a while.

Run: python -m bench.micro.exchange
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from esg_protocols.asgi import HTTPProtocol, ServerContext
from esg_protocols.settings import Settings
from esg_protocols.testing import FakeTransport

from bench.apps.hello import app
from bench.micro.compare import compare

REQUEST = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
kept: list[Any] = [None]


async def keeper(scope: Any, receive: Any, send: Any) -> None:
    kept[0] = send
    await app(scope, receive, send)


async def letter_go(scope: Any, receive: Any, send: Any) -> None:
    kept[0] = None
    await app(scope, receive, send)


def requests_to(application: Any) -> Callable[[], object]:
    transport = FakeTransport(HTTPProtocol(ServerContext(application, Settings(), loop=asyncio.get_running_loop())))

    def request() -> None:
        transport.receive(REQUEST)
        transport.written.clear()

    return request


async def main() -> None:
    compare(("used again", requests_to(letter_go)), ("made anew", requests_to(keeper)), 10_000)


if __name__ == "__main__":
    asyncio.run(main())
