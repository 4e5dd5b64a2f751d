"""What may happen next on an HTTP/1.1 connection: two tables, and they are the code.

``READING`` follows the request as it comes in, ``WRITING`` the response as it goes out. Each maps (state, event) to the
next state; a pair that is not there must not happen. :mod:`esg_protocols.http1.connection` reads the tables into C
arrays when it is imported, and nothing else keeps state about what may happen.
"""

from __future__ import annotations

from enum import IntEnum


class Reading(IntEnum):
    """Where the request is."""

    HEAD = 0  # waiting for a head, or in the middle of one
    BODY = 1  # the head is here, body bytes or the end come next
    DONE = 2  # the request is here whole; what follows waits for the next exchange
    CLOSED = 3  # the client will send no more
    FAILED = 4  # the client broke a rule; nothing it sends is read any more


class ReadEvent(IntEnum):
    """What came in."""

    HEAD = 0
    DATA = 1
    END = 2
    EOF = 3
    ERROR = 4
    NEXT = 5


class Writing(IntEnum):
    """Where the response is."""

    IDLE = 0  # there is no request to answer
    HEAD = 1  # a request waits for its response
    BODY = 2  # the head has been given, body bytes or the end come next
    FILE = 3  # body bytes leave by another way, as from a file
    TRAILERS = 4  # the body is whole, trailer fields come next
    DONE = 5  # the response is whole
    CLOSED = 6  # nothing more may be written


class WriteEvent(IntEnum):
    """What goes out."""

    REQUEST = 0  # nothing goes out: a request came in, so that something may
    INFORMATIONAL = 1
    RESPONSE = 2
    DATA = 3
    FILE = 4  # what comes before body bytes from elsewhere
    FILE_END = 5
    BODY_END = 6  # the end of a body that trailers follow
    TRAILERS = 7
    END = 8
    REFUSAL = 9  # a whole response from the server itself, the last one on the connection
    CLOSE = 10
    NEXT = 11


READING: dict[tuple[Reading, ReadEvent], Reading] = {
    (Reading.HEAD, ReadEvent.HEAD): Reading.BODY,
    (Reading.BODY, ReadEvent.DATA): Reading.BODY,
    (Reading.BODY, ReadEvent.END): Reading.DONE,
    (Reading.DONE, ReadEvent.NEXT): Reading.HEAD,
    # The end of the input: fine between requests, a truncation inside one (RFC 9112 section 8). Behind a request it
    # waits, as bytes do, for the next exchange.
    (Reading.HEAD, ReadEvent.EOF): Reading.CLOSED,
    (Reading.BODY, ReadEvent.EOF): Reading.FAILED,
    (Reading.HEAD, ReadEvent.ERROR): Reading.FAILED,
    (Reading.BODY, ReadEvent.ERROR): Reading.FAILED,
}

WRITING: dict[tuple[Writing, WriteEvent], Writing] = {
    (Writing.IDLE, WriteEvent.REQUEST): Writing.HEAD,
    (Writing.HEAD, WriteEvent.INFORMATIONAL): Writing.HEAD,
    (Writing.HEAD, WriteEvent.RESPONSE): Writing.BODY,
    # A head that has been given may still be held back: what is informational goes before it.
    (Writing.BODY, WriteEvent.INFORMATIONAL): Writing.BODY,
    (Writing.BODY, WriteEvent.DATA): Writing.BODY,
    (Writing.BODY, WriteEvent.FILE): Writing.FILE,
    (Writing.BODY, WriteEvent.BODY_END): Writing.TRAILERS,
    (Writing.BODY, WriteEvent.END): Writing.DONE,
    (Writing.FILE, WriteEvent.FILE_END): Writing.BODY,
    (Writing.TRAILERS, WriteEvent.TRAILERS): Writing.DONE,
    (Writing.DONE, WriteEvent.NEXT): Writing.IDLE,
    # A request that cannot be read is refused without an exchange, one that cannot be answered within it.
    (Writing.IDLE, WriteEvent.REFUSAL): Writing.CLOSED,
    (Writing.HEAD, WriteEvent.REFUSAL): Writing.CLOSED,
    (Writing.IDLE, WriteEvent.CLOSE): Writing.CLOSED,
    (Writing.HEAD, WriteEvent.CLOSE): Writing.CLOSED,
    (Writing.BODY, WriteEvent.CLOSE): Writing.CLOSED,
    (Writing.FILE, WriteEvent.CLOSE): Writing.CLOSED,
    (Writing.TRAILERS, WriteEvent.CLOSE): Writing.CLOSED,
    (Writing.DONE, WriteEvent.CLOSE): Writing.CLOSED,
}
