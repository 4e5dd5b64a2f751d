"""The floor: what uvloop and the kernel cost when a server does nothing at all.

A protocol that answers every read with the same bytes: no parsing, no application, no Date that moves.
The answer has the headers, and so nearly the size, that the servers send for bench.apps.hello.
Only right for requests that arrive in one read and are not pipelined, which is what wrk sends.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import cast

import uvloop

RESPONSE = (
    b"HTTP/1.1 200 OK\r\n"
    b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    b"server: floor\r\n"
    b"content-type: text/plain\r\n"
    b"content-length: 13\r\n"
    b"\r\n"
    b"Hello, world!"
)


class Floor(asyncio.Protocol):
    __slots__ = ("write",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:
        self.write(RESPONSE)


async def serve(host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await loop.create_server(Floor, host, port, backlog=2048)
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
