"""The one tick a second: it makes the Date field new and holds every connection's deadline against the time."""

from __future__ import annotations

import asyncio
import time

from esg_protocols.asgi.context import ServerContext

INTERVAL = 1.0
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Clock:
    """Ticks for all connections of one context.

    A deadline is a number that a connection carries, not a timer of its own: nothing is armed or cancelled for a
    request. The price is the resolution: what is due happens at the next tick, up to a second late, never early.
    """

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Tick now and every second from here on."""
        # Whatever a tick meets, there is a next one.
        self._handle = self._context.loop.call_later(INTERVAL, self.start)
        self.tick()

    def stop(self) -> None:
        """Tick no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def tick(self) -> None:
        """Bring the date and the time up to now and see to what is due."""
        context = self._context
        context.now = self.time()
        if context.settings.date_header:
            context.date_line = f"date: {self.date()}\r\n".encode()
        for connection in tuple(context.connections):
            try:
                connection.tick()
            except Exception as error:
                # One connection's failure is not the others', whose time would stand still.
                told = {"message": "The tick of a connection failed", "exception": error, "protocol": connection}
                context.loop.call_exception_handler(told)

    def time(self) -> float:
        """Seconds on the loop's monotonic clock."""
        return self._context.loop.time()

    def date(self) -> str:
        """The date as RFC 9110 section 5.6.7 wants it."""
        return http_date(time.gmtime())


def http_date(at: time.struct_time) -> str:
    """A time of UTC as in ``Date``.

    ``email.utils`` knows it too, and costs a start more milliseconds than this has lines.
    """
    day = f"{DAYS[at.tm_wday]}, {at.tm_mday:02} {MONTHS[at.tm_mon - 1]} {at.tm_year}"
    return f"{day} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"
