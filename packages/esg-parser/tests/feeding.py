"""Feed a parser in every way that bytes may arrive, and see that the way makes no difference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from esg_parser import (
    END,
    UPGRADE,
    ParserError,
    RequestHead,
    RequestParser,
    ResponseHead,
    ResponseParser,
    Trailers,
)

NEXT = b"GET /next HTTP/1.1\r\nHost: next.example\r\n\r\n"
NEXT_RESPONSE = b"HTTP/1.1 404 Next\r\nContent-Length: 0\r\n\r\n"  # the same to whatever was asked


class Message(NamedTuple):
    head: RequestHead | ResponseHead
    body: bytes
    trailers: list[tuple[bytes, bytes]]
    upgrade: bool


class Failure(NamedTuple):
    status: int
    kind: str
    offset: int


class Outcome(NamedTuple):
    """The messages that were whole, and what stopped the parser or was missing at the end of the input."""

    messages: list[Message]
    failure: Failure | None


class Reading(NamedTuple):
    """All that a parser said, and where in the input each END was."""

    events: list[object]
    ends: list[int]
    error: ParserError | None


def feed(parser, data):
    """Yield all events of one read, also those behind the first message, until another protocol begins."""
    events = feed_once(parser, data)
    yield from events
    while parser.trailing_data and not is_switch(parser, events):
        events = feed_once(parser, b"")
        yield from events


def is_switch(parser, events):
    return isinstance(parser, ResponseParser) and UPGRADE in events


def feed_once(parser, data):
    given = parser.trailing_data + bytes(data)
    events = parser.feed(data)
    assert given.endswith(parser.trailing_data)
    bodies = [event for event in events if isinstance(event, bytes)]
    assert len(bodies) <= 1 and all(bodies)  # the body bytes of one read are one object, and never empty
    assert END not in events[:-1]
    assert parser.pending() == bool(parser.trailing_data)
    return events


def messages_of(events):
    """Put events together; the last message, if it is not whole, is left out."""
    messages = []
    head, body, trailers, upgrade = None, b"", [], False
    for event in events:
        if isinstance(event, (RequestHead, ResponseHead)):
            assert head is None
            head, body, trailers, upgrade = event, b"", [], False
        elif isinstance(event, bytes):
            assert head is not None and not trailers
            body += event
        elif isinstance(event, Trailers):
            assert head.chunked and event.headers and not trailers
            trailers = event.headers
        elif event is UPGRADE:
            assert head is not None and not upgrade
            upgrade = True
        else:
            assert event is END
            messages.append(Message(head, body, trailers, upgrade))
            head = None
    return messages


def parser_for(answers: str | None = None, **limits: int) -> RequestParser | ResponseParser:
    """A parser of requests, or of responses to this method."""
    if answers is None:
        return RequestParser(**limits)
    parser = ResponseParser(**limits)
    parser.method = answers
    return parser


def read(pieces: Iterable[bytes], **options: int | str | None) -> Reading:
    parser = parser_for(**options)
    reading = Reading([], [], None)
    fed = 0
    try:
        for piece in pieces:
            if is_switch(parser, reading.events):
                break  # what follows is not HTTP
            fed += len(piece)
            for event in feed(parser, piece):
                reading.events.append(event)
                if event is END:
                    reading.ends.append(fed - len(parser.trailing_data))
        for event in parser.close():
            reading.events.append(event)
            reading.ends.append(fed)
    except ParserError as error:
        assert is_stopped(parser)
        return reading._replace(error=error)
    return reading


def is_stopped(parser) -> bool:
    try:
        parser.feed(b"")
    except RuntimeError:
        return True
    return False


def failure_in(reading: Reading) -> Failure | None:
    error = reading.error
    return None if error is None else Failure(error.status, type(error).__name__, error.offset)


def feed_pieces(pieces: Iterable[bytes], **options: int | str | None) -> Outcome:
    reading = read(pieces, **options)
    return Outcome(messages_of(reading.events), failure_in(reading))


def every_way(raw: bytes) -> Iterator[list[bytes]]:
    yield [raw]
    for size in (1, 2, 3, 7):
        yield [raw[i : i + size] for i in range(0, len(raw), size)]
    for i in range(1, len(raw)):
        yield [raw[:i], raw[i:]]


def outcome_of(raw: bytes, **options: int | str | None) -> Outcome:
    """The outcome, which must be the same whole, byte by byte and cut in two anywhere."""
    outcome = feed_pieces([raw], **options)
    for pieces in every_way(raw):
        assert feed_pieces(pieces, **options) == outcome, pieces
    return outcome


def next_of(answers: str | None) -> bytes:
    """A message that may follow."""
    return NEXT if answers is None else NEXT_RESPONSE


def parse(raw: bytes, answers: str | None = None, **limits: int) -> Message:
    """The one message in these bytes, fed in every way, alone and with another one behind it."""
    outcome = outcome_of(raw, answers=answers, **limits)
    assert outcome.failure is None
    (message,) = outcome.messages
    (following,) = feed_pieces([next_of(answers)], answers=answers).messages
    assert outcome_of(raw + next_of(answers), answers=answers, **limits) == Outcome([message, following], None)
    return message


def failure_of(raw: bytes, answers: str | None = None, **limits: int) -> Failure:
    """How these bytes are refused, fed in every way, alone and with another message behind them."""
    outcome = outcome_of(raw, answers=answers, **limits)
    assert outcome.failure is not None
    assert outcome_of(raw + next_of(answers), answers=answers, **limits) == outcome
    return outcome.failure


def request(line: str, *fields: str, body: bytes = b"") -> bytes:
    """A request in latin-1; fields that hold bytes above ASCII are written as such."""
    return "".join(f"{part}\r\n" for part in (line, *fields, "")).encode("latin-1") + body


response = request  # only the first line tells them apart
