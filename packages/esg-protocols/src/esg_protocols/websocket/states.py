"""What may happen next on a WebSocket: two tables, and they are the code.

``READING`` follows the frames as they come in (RFC 6455 section 5.4), ``WRITING`` what goes out. Each maps (state,
event) to the next state; a pair that is not there must not happen. :mod:`esg_protocols.websocket.codecs.native` reads
the tables into C arrays when it is imported.
"""

from __future__ import annotations

from enum import IntEnum


class Reading(IntEnum):
    """Where the incoming messages are."""

    MESSAGE = 0  # between messages: one may begin
    FRAGMENT = 1  # inside a message: its next fragment comes, perhaps behind control frames
    CLOSED = 2  # a close frame, or the end of the input: nothing more is read
    FAILED = 3  # the other side broke a rule; nothing it sends is read any more


class ReadEvent(IntEnum):
    """What came in: one whole frame each, or the end."""

    WHOLE = 0  # text or binary, FIN
    FIRST = 1  # text or binary, more fragments follow
    MIDDLE = 2  # a continuation, more fragments follow
    LAST = 3  # a continuation, FIN
    CONTROL = 4  # ping or pong
    CLOSE = 5
    EOF = 6
    ERROR = 7


class Writing(IntEnum):
    """What may go out."""

    OPEN = 0
    CLOSED = 1  # the close frame has been given: nothing may follow it (RFC 6455 section 5.5.1)


class WriteEvent(IntEnum):
    """What goes out."""

    MESSAGE = 0
    CONTROL = 1  # ping or pong
    CLOSE = 2


READING: dict[tuple[Reading, ReadEvent], Reading] = {
    (Reading.MESSAGE, ReadEvent.WHOLE): Reading.MESSAGE,
    (Reading.MESSAGE, ReadEvent.FIRST): Reading.FRAGMENT,
    (Reading.FRAGMENT, ReadEvent.MIDDLE): Reading.FRAGMENT,
    (Reading.FRAGMENT, ReadEvent.LAST): Reading.MESSAGE,
    (Reading.MESSAGE, ReadEvent.CONTROL): Reading.MESSAGE,
    (Reading.FRAGMENT, ReadEvent.CONTROL): Reading.FRAGMENT,
    (Reading.MESSAGE, ReadEvent.CLOSE): Reading.CLOSED,
    (Reading.FRAGMENT, ReadEvent.CLOSE): Reading.CLOSED,
    (Reading.MESSAGE, ReadEvent.EOF): Reading.CLOSED,
    (Reading.FRAGMENT, ReadEvent.EOF): Reading.CLOSED,
    (Reading.MESSAGE, ReadEvent.ERROR): Reading.FAILED,
    (Reading.FRAGMENT, ReadEvent.ERROR): Reading.FAILED,
}

WRITING: dict[tuple[Writing, WriteEvent], Writing] = {
    (Writing.OPEN, WriteEvent.MESSAGE): Writing.OPEN,
    (Writing.OPEN, WriteEvent.CONTROL): Writing.OPEN,
    (Writing.OPEN, WriteEvent.CLOSE): Writing.CLOSED,
}
