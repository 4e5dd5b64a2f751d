"""The floor: what uvloop and the kernel cost when a server does nothing at all.

One bare protocol for each application in FLOORS: no parsing, no application, no Date that moves. The answer has the
headers, and so nearly the size, that the servers send. Only right for requests that are not pipelined and whose head
arrives in one read, which is what wrk sends.

Run: python -m bench.load.floor APP HOST PORT
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import cast

import uvloop

from bench.apps import bodies, hello


def response(body: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\n"
        b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        b"server: floor\r\n"
        b"content-type: text/plain\r\n"
        b"content-length: %d\r\n"
        b"\r\n"
        b"%b"
    ) % (len(body), body)


class Fixed(asyncio.Protocol):
    """Answers every read with the same bytes."""

    __slots__ = ("answer", "write")

    def __init__(self, body: bytes) -> None:
        self.answer = response(body)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:
        self.write(self.answer)


class Upload(asyncio.BufferedProtocol):
    """Answers a body of fixed size when it is whole. All connections read into one buffer and leave it there."""

    __slots__ = ("left", "write")

    size = len(bodies.LARGE)
    buffer = bytearray(64 * bodies.KIB)
    answer = response(b"%d" % size)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = cast(asyncio.Transport, transport).write
        self.left = 0

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self.left:
            self.left = self.buffer.index(b"\r\n\r\n", 0, nbytes) + 4 + self.size
        self.left -= nbytes
        if not self.left:
            self.write(self.answer)


FLOORS: dict[str, Callable[[], asyncio.BaseProtocol]] = {
    "bench.apps.hello:app": partial(Fixed, hello.BODY),
    "bench.apps.bodies:large": partial(Fixed, bodies.LARGE),
    "bench.apps.bodies:count": Upload,
}
MESSAGES = "bench.apps.messages:echo"


async def listen_for_messages(host: str, port: int) -> asyncio.Server:
    """A server of picows, which is no more than frames in Cython: here and in the client alone it is needed."""
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

    close = WSMsgType.CLOSE

    class Echo(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type == close:
                transport.disconnect()
            else:
                transport.send(frame.msg_type, frame.get_payload_as_memoryview())

    return await ws_create_server(lambda request: Echo(), host, port, use_aiofastnet=False)


async def serve(app: str, host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    if app == MESSAGES:
        server = await listen_for_messages(host, port)
    else:
        server = await loop.create_server(FLOORS[app], host, port, backlog=2048)
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
