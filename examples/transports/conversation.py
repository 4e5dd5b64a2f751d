"""The server's side of one connection, bytes in and bytes out: the loop that is the same on every transport.

It does no I/O and asks no clock. What is left for a transport is to read, to write, to wait no longer than it is told,
and to close: lists.py, blocking.py, over_trio.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from email.utils import formatdate
from math import inf

from esg_parser import END, RequestHead
from esg_protocols.errors import RemoteProtocolError
from esg_protocols.http1 import HTTPConnection, Reading, Writing
from esg_protocols.settings import Settings

from examples.transports.handler import Handler

LINGER_SECONDS = 2.0
"""How long a client that is still sending may take to notice that its connection is over."""

logger = logging.getLogger(__name__)


def date_line() -> bytes:
    """A ``Date`` field, which a server with a clock must send (RFC 9110 section 6.6.1)."""
    return b"date: %s\r\n" % formatdate(usegmt=True).encode()


class Patience:
    """Until when a client's next bytes must be there: a number, for whoever has a clock."""

    def __init__(self, seconds: float) -> None:
        self.begin(seconds)

    def begin(self, seconds: float) -> None:
        """Something else is waited for now, for so many seconds."""
        self._seconds, self._until, self._earned = seconds, inf, inf

    def earn(self, seconds: float) -> None:
        """What came buys so much more time, but never more than there was in the beginning."""
        self._earned += seconds

    def until(self, now: float) -> float:
        self._until = min(now + self._seconds, self._until + self._earned)
        self._earned = 0.0
        return self._until


class Conversation:
    """One client's requests and their answers.

    Until it :attr:`is_over`: read until the :meth:`deadline`, and write what :meth:`receive` makes of what was read, or
    :meth:`time_out` if nothing was. Then close: so that the client sees an error if it was :attr:`cut_short`.

    Args:
        handle: makes a response of a request and its body.
        settings: its limits on sizes are kept, and its timeouts for reading as far as ``deadline`` is obeyed.
        date: makes a ``Date`` field line; without a clock there is none.
    """

    def __init__(self, handle: Handler, settings: Settings, *, date: Callable[[], bytes] = bytes) -> None:
        self.cut_short = False
        self._handle = handle
        self._settings = settings
        self._date = date
        self._connection = HTTPConnection(settings)
        self._body = bytearray()
        self._head_begun = False
        self._patience = Patience(settings.timeout_request_head or inf)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be read or written.

        ``must_close`` alone does not say so: with ``Connection: close`` it is true from the head on, when the body and
        the answer are still to come.
        """
        return self._connection.must_close and self._connection.writing is not Writing.HEAD

    def deadline(self, now: float) -> float:
        """When the next bytes must have come, asked before each read; ``inf`` if they may take for ever."""
        return self._patience.until(now)

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Take in what was read, ``b""`` for the end of the input.

        Yields what is to be written, as it is made; it must all be taken before more is read.
        """
        if not data:
            self._end_input()
            return
        self._begin_head()
        try:
            events = self._connection.receive_data(data)
            while events:
                self._keep_body(events)
                if events[-1] is not END:
                    yield self._connection.send_continue()  # nothing, unless the client waits for it
                    return
                yield from self._answer()
                if self._connection.must_close:
                    return
                self._begin_idle()
                events = self._connection.next_exchange()
        except RemoteProtocolError as error:
            yield self._connection.send_refusal(error.status, self._date())

    def time_out(self) -> Iterator[bytes]:
        """The deadline has passed: 408 to who is in the middle of a request, nothing to who has not begun one."""
        if self._connection.writing is Writing.HEAD or self._head_begun:
            yield self._connection.send_refusal(408, self._date())
        self._connection.close()

    # -- Reading

    def _end_input(self) -> None:
        self._connection.receive_eof()
        if self._connection.reading is Reading.FAILED:
            self._connection.close()  # half a body is no request, and has no answer

    def _begin_head(self) -> None:
        if self._connection.writing is Writing.IDLE and not self._head_begun:
            self._head_begun = True
            # For the head as a whole: who sends it byte by byte gets no more time.
            self._patience.begin(self._settings.timeout_request_head or inf)

    def _keep_body(self, events: Sequence[object]) -> None:
        part = b"".join(event for event in events if isinstance(event, bytes))
        if isinstance(events[0], RequestHead):
            self._patience.begin(self._settings.timeout_request_body or inf)
        elif self._settings.minimum_rate:
            self._patience.earn(len(part) / self._settings.minimum_rate)
        else:
            self._patience.begin(self._settings.timeout_request_body or inf)
        self._body += part

    def _begin_idle(self) -> None:
        # Whether a part of the next head came early is not to be seen; such a client counts as idle until it goes on.
        self._head_begun = False
        self._patience.begin(self._settings.timeout_keep_alive)

    # -- Writing

    def _answer(self) -> Iterator[bytes]:
        request, body = self._connection.request, bytes(self._body)
        assert request is not None
        self._body.clear()
        try:
            response = self._handle(request, body)
            self._connection.send_response(response.status, response.headers, date=self._date())
            for part in response.body:
                yield self._connection.send_body(part, more_body=True)
            yield self._connection.send_body()
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            yield self._give_up()

    def _give_up(self) -> bytes:
        if self._connection.writing is Writing.HEAD:
            return self._connection.send_refusal(500, self._date())
        # Where the end of the connection ends the body, an orderly one would make it look whole (RFC 9112 section 8).
        self.cut_short = True
        self._connection.close()
        return b""
