"""Feed a parser in every way that bytes may arrive, and see that the way makes no difference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from esg_parser import END, ParserError, RequestHead, RequestParser, Trailers

NEXT = b"GET /next HTTP/1.1\r\nHost: next.example\r\n\r\n"


class Message(NamedTuple):
    head: RequestHead
    body: bytes
    trailers: list[tuple[bytes, bytes]]


class Failure(NamedTuple):
    status: int
    kind: str
    offset: int


class Outcome(NamedTuple):
    """The messages that were whole, and what stopped the parser or was missing at the end of the input."""

    messages: list[Message]
    failure: Failure | None


def feed(parser, data):
    """Yield all events of one read, also those behind the first message."""
    yield from feed_once(parser, data)
    while parser.trailing_data:
        yield from feed_once(parser, b"")


def feed_once(parser, data):
    events = parser.feed(data)
    bodies = [event for event in events if isinstance(event, bytes)]
    assert len(bodies) <= 1 and all(bodies)  # the body bytes of one read are one object, and never empty
    assert END not in events[:-1]
    assert parser.has_trailing_data == bool(parser.trailing_data)
    return events


def messages_of(events):
    """Put events together; the last message, if it is not whole, is left out."""
    messages = []
    head, body, trailers = None, b"", []
    for event in events:
        if isinstance(event, RequestHead):
            assert head is None
            head, body, trailers = event, b"", []
        elif isinstance(event, bytes):
            assert head is not None and not trailers
            body += event
        elif isinstance(event, Trailers):
            assert head.chunked and event.headers and not trailers
            trailers = event.headers
        else:
            assert event is END
            messages.append(Message(head, body, trailers))
            head = None
    return messages


def feed_pieces(pieces: Iterable[bytes], **limits: int) -> Outcome:
    parser = RequestParser(**limits)
    events: list[object] = []
    failure = None
    try:
        for piece in pieces:
            events.extend(feed(parser, piece))
        parser.close()
    except ParserError as error:
        failure = Failure(error.status, type(error).__name__, error.offset)
    return Outcome(messages_of(events), failure)


def every_way(raw: bytes) -> Iterator[list[bytes]]:
    yield [raw]
    for size in (1, 2, 3, 7):
        yield [raw[i : i + size] for i in range(0, len(raw), size)]
    for i in range(1, len(raw)):
        yield [raw[:i], raw[i:]]


def outcome_of(raw: bytes, **limits: int) -> Outcome:
    """The outcome, which must be the same whole, byte by byte and cut in two anywhere."""
    outcome = feed_pieces([raw], **limits)
    for pieces in every_way(raw):
        assert feed_pieces(pieces, **limits) == outcome, pieces
    return outcome


def parse(raw: bytes, **limits: int) -> Message:
    """The one request in these bytes, fed in every way, alone and with another request behind it."""
    outcome = outcome_of(raw, **limits)
    assert outcome.failure is None
    (message,) = outcome.messages
    (following,) = outcome_of(NEXT).messages
    assert outcome_of(raw + NEXT, **limits) == Outcome([message, following], None)
    return message


def failure_of(raw: bytes, **limits: int) -> Failure:
    """How these bytes are refused, fed in every way, alone and with another request behind them."""
    outcome = outcome_of(raw, **limits)
    assert outcome.failure is not None
    assert outcome_of(raw + NEXT, **limits) == outcome
    return outcome.failure


def request(line: str, *fields: str, body: bytes = b"") -> bytes:
    """A request in latin-1; fields that hold bytes above ASCII are written as such."""
    return "".join(f"{part}\r\n" for part in (line, *fields, "")).encode("latin-1") + body
