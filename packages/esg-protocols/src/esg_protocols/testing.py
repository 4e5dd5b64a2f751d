"""Stand-ins for what a connection lives on: a transport that keeps what is written, and a clock that is set by hand.

They are public, so that whoever builds on the protocols can test without sockets and without waiting.
"""

from __future__ import annotations

import asyncio
from typing import Any

from esg_protocols.asgi.clock import Clock
from esg_protocols.asgi.context import ServerContext


class FakeTransport(asyncio.Transport):
    """An asyncio transport that writes into memory.

    Attributes:
        written: every byte written so far. What is small comes in the loop's next turn: ``await asyncio.sleep(0)``.
        closed: whether the connection is over, by ``close`` or ``abort``.
        aborted: whether ``abort`` ended it.
        eof_written: whether our side was closed by ``write_eof``.
        reading: whether the protocol lets the socket be read.
        unwritten: bytes that the client has not taken; they grow while it does not read.
    """

    def __init__(self, protocol: Any, *, extra: dict[str, Any] | None = None) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 8000), **(extra or {})})
        self.protocol = protocol
        self.written = bytearray()
        self.closed = self.aborted = False
        self.eof_written = False
        self.reading = True
        self.unwritten = 0
        self._full = False
        self._high = 64 * 1024
        protocol.connection_made(self)

    # -- What a test does

    def receive(self, data: bytes) -> None:
        """Let the protocol read ``data``, as long as it reads at all."""
        if not self.closed:
            self.protocol.data_received(data)

    def receive_eof(self) -> None:
        """Let the client close its side; the transport closes too unless the protocol asks to keep it."""
        if not self.closed and not self.protocol.eof_received():
            self.close()

    def lose(self, error: Exception | None = None) -> None:
        """Let the connection break."""
        if not self.closed:
            self.closed = True
            self.protocol.connection_lost(error)

    def fill(self) -> None:
        """Let the client stop reading: the buffer is full, and what is written from here on comes behind it."""
        self._full = True
        self.unwritten = self._high + 1
        self.protocol.pause_writing()

    def drain(self) -> None:
        """Let the client read again."""
        self._full = False
        self.unwritten = 0
        self.protocol.resume_writing()

    def take(self) -> bytes:
        """What was written since the last call."""
        data = bytes(self.written)
        self.written.clear()
        return data

    # -- What a protocol does

    def write(self, data: bytes | bytearray | memoryview[int]) -> None:
        if not self.closed:
            self.written += data
            self.unwritten += len(data) * self._full

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        self.eof_written = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.lose()

    def abort(self) -> None:
        self.aborted = not self.closed
        self.lose()

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high

    def get_write_buffer_size(self) -> int:
        return self.unwritten

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._high // 4, self._high


class FakeClock(Clock):
    """A clock that stands still until it is told to move.

    Attributes:
        now: seconds, whatever the test wants them to be.
    """

    def __init__(self, context: ServerContext, now: float = 1000.0) -> None:
        super().__init__(context)
        self.now = now
        self.tick()

    def start(self) -> None:
        """There is nothing to start: the test is the time."""

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, with a tick every second and one at the end."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 1, end)
            self.tick()

    def time(self) -> float:
        return self.now

    def date(self) -> str:
        return "Thu, 01 Jan 1970 00:16:40 GMT"
