"""The same bytes given to h11: what it makes of them, and where it differs from us, with the reason for each.

Both sides are brought into one form, ``Seen``, in which what they only write differently is alike. ``compare`` finds
the first difference; ``explain`` looks it up in ``KNOWN``. What is not in there is a defect, of ours or of this list.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

import pytest
from esg_parser import END, ParserError, RequestHead, Trailers

from .feeding import Message, Reading, messages_of

h11 = pytest.importorskip("h11")

ANSWER = h11.Response(status_code=404, headers=[("content-length", "0")])
END_OF_MESSAGE = h11.EndOfMessage()
# It offers another protocol, so that h11 takes a 101.
ASKED = [("host", "a.example"), ("connection", "upgrade"), ("upgrade", "x")]


class Seen(NamedTuple):
    """A message, whole or as far as it came."""

    first_line: tuple[object, ...]
    headers: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]]
    keep_alive: bool | None
    """None if it does not say."""


class Theirs(NamedTuple):
    messages: list[Seen]
    unfinished: Seen | None
    refused: bool
    over: bool
    """h11 wants nothing more on this connection, so what follows cannot be compared."""
    consumed: int


class Difference(NamedTuple):
    raw: bytes
    """The message, from its first line on, and all that follows."""
    behind_empty_lines: bool
    reason: str | None
    """Ours for a refusal; None if we accept it so far."""
    offset: int
    mine: Seen | None
    theirs: Seen | None
    answers: str | None
    """The method that it is a response to."""

    @property
    def at(self) -> bytes:
        """The bytes from where we refused it on."""
        return self.raw[self.offset :]

    @property
    def before(self) -> bytes:
        return self.raw[: self.offset]

    @property
    def words(self) -> list[bytes]:
        """The parts of the first line."""
        return re.split(rb"\r?\n", self.raw, maxsplit=1)[0].split(b" ")

    @property
    def line(self) -> bytes:
        """The line that we refused, as far as it was good."""
        return self.before.rpartition(b"\r\n")[2]

    @property
    def head_refused(self) -> bool:
        return b"\r\n\r\n" not in self.before

    def values(self, name: bytes) -> list[bytes]:
        """Of all fields of this name, of trailers and of what only looks like a field too."""
        return re.findall(rb"(?im)^" + re.escape(name) + rb":[ \t]*([^\r\n]*?)[ \t]*\r?$", self.raw)


# -- What h11 sees -------------------------------------------------------------------------------------------


def read_with_h11(raw: bytes, answers: str | None = None) -> Theirs:
    """The requests in these bytes, or the responses to this method."""
    connection = h11.Connection(h11.SERVER if answers is None else h11.CLIENT, max_incomplete_event_size=65536)
    if answers is not None:
        ask(connection, answers)
    if raw:  # nothing would be the end of the input
        connection.receive_data(raw)
    messages: list[Seen] = []
    head, body = None, b""
    refused = over = False
    while not over:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            refused = True
            break
        if isinstance(event, h11.InformationalResponse):
            messages.append(seen_by_h11(event, b"", [], None))
            over = event.status_code == 101
        elif isinstance(event, (h11.Request, h11.Response)):
            head, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            over = not next_cycle(connection, answers)
            messages.append(seen_by_h11(head, body, event.headers, not over))
            head = None
        else:
            break
    if connection.their_state is h11.SWITCHED_PROTOCOL and head is not None:  # a CONNECT that succeeded
        messages.append(seen_by_h11(head, body, [], None))
        head, over = None, True
    consumed = len(raw) - len(connection.trailing_data[0])
    if head is not None and not refused and ends_with_input(connection):
        messages.append(seen_by_h11(head, body, [], False))
        head = None
    unfinished = None if head is None else seen_by_h11(head, body, [], None)
    return Theirs(messages, unfinished, refused, over, consumed)


@functools.cache
def question(method: str):
    return h11.Request(method=method, target="a.example:443" if method == "CONNECT" else "/", headers=ASKED)


def ask(connection, method: str) -> None:
    connection.send(question(method))
    connection.send(END_OF_MESSAGE)


def next_cycle(connection, answers: str | None) -> bool:
    """Make ready for the next message, if this one leaves the connection open."""
    if answers is None:
        connection.send(ANSWER)
        connection.send(END_OF_MESSAGE)
    if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
        return False
    connection.start_next_cycle()
    if answers is not None:
        ask(connection, answers)
    return True


def ends_with_input(connection) -> bool:
    """Tell h11 that the input has ended, inside a body; return whether that ends the body."""
    connection.receive_data(b"")
    try:
        return isinstance(connection.next_event(), h11.EndOfMessage)
    except h11.RemoteProtocolError:
        return False


def seen_by_h11(head, body: bytes, trailers, keep_alive: bool | None) -> Seen:
    version = "1.0" if head.http_version == b"1.0" else "1.1"  # we count higher ones as 1.1
    if isinstance(head, h11.Request):
        first_line = (bytes(head.method).decode(), bytes(head.target), version)
    else:
        first_line = (head.status_code, bytes(head.reason), version)
    return Seen(first_line, as_bytes(head.headers), body, as_bytes(trailers), keep_alive)


def as_bytes(headers) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in headers]


# -- What we see ---------------------------------------------------------------------------------------------


def seen_by_us(message: Message) -> Seen:
    head = message.head
    first_line = head[:1] + ((head.target,) if isinstance(head, RequestHead) else (head.reason,)) + (head.http_version,)
    headers = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in head.headers]
    # h11 keeps no connection of HTTP/1.0.
    keep_alive = head.keep_alive and head.http_version == "1.1"
    return Seen(first_line, headers, message.body, message.trailers, keep_alive)


def unfinished_of(events: list[object]) -> Message | None:
    """The message behind the last END, as far as it came."""
    begun = len(events)
    while begun and events[begun - 1] is not END:
        begun -= 1
    if begun == len(events):
        return None
    head, *others = events[begun:]
    body = b"".join(event for event in others if isinstance(event, bytes))
    trailers = [pair for event in others if isinstance(event, Trailers) for pair in event.headers]
    return Message(head, body, trailers, False)


# -- Where they differ ---------------------------------------------------------------------------------------


def compare(raw: bytes, reading: Reading, answers: str | None = None) -> Difference | None:
    """The first difference between our reading of these bytes and h11's."""
    theirs = read_with_h11(raw, answers)
    mine, _ = seen_in(reading)
    starts = [0, *reading.ends]
    for start, one, other in zip(starts, mine, theirs.messages, strict=False):
        if not is_same(one, other):
            return difference(raw[start:], None, one, other, answers)
    if theirs.over and len(mine) >= len(theirs.messages):
        return None
    return compare_rest(raw, min(len(mine), len(theirs.messages)), reading, theirs, answers)


def compare_rest(raw: bytes, at: int, reading: Reading, theirs: Theirs, answers: str | None) -> Difference | None:
    """What is behind so many messages that both have."""
    start = [0, *reading.ends][at]
    one, other = item_at(at, *seen_in(reading)), item_at(at, theirs.messages, theirs.unfinished)
    error = reading.error
    if error is not None and not is_cut_off(error) and len(reading.ends) == at:
        # h11 waits for the end of a line or of a head, so it may have come to what we refuse or not.
        skipped = len(raw) - start - len(without_empty_lines(raw[start:]))
        if theirs.refused or theirs.consumed <= start + skipped + error.offset:
            return None
        return difference(raw[start:], error, one, other, answers)
    same = not theirs.refused and len(reading.ends) == len(theirs.messages)
    if same and (one is other is None or one and other and is_same(one, other)):
        return None
    return difference(raw[start:], None, one, other, answers)


def item_at(at: int, messages: list[Seen], unfinished: Seen | None) -> Seen | None:
    return messages[at] if at < len(messages) else unfinished


def seen_in(reading: Reading) -> tuple[list[Seen], Seen | None]:
    begun = unfinished_of(reading.events)
    return [seen_by_us(message) for message in messages_of(reading.events)], begun and seen_by_us(begun)


def difference(rest: bytes, error: ParserError | None, one, other, answers: str | None) -> Difference:
    message = without_empty_lines(rest)
    reason, offset = (None, 0) if error is None else (error.reason, error.offset)
    return Difference(message, message != rest or message == b"\r", reason, offset, one, other, answers)


def without_empty_lines(raw: bytes) -> bytes:
    while raw.startswith(b"\r\n"):
        raw = raw[2:]
    return raw


def is_cut_off(error: ParserError) -> bool:
    return error.reason == "the input ended inside a message"


def is_same(one: Seen, other: Seen) -> bool:
    return one._replace(keep_alive=other.keep_alive if other.keep_alive is None else one.keep_alive) == other


# -- The differences that are known --------------------------------------------------------------------------

METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"}
PLAIN_TARGET = re.compile(rb"/[A-Za-z0-9._~/-]*(\?[A-Za-z0-9._~/=&-]*)?")
PLAIN_HOST = re.compile(rb"[A-Za-z0-9.-]+(:[0-9]+)?")
PLAIN_AUTHORITY = re.compile(rb"[A-Za-z0-9.-]+:[0-9]+")
# h11 refuses NUL and what bytes.isspace() takes for whitespace.
CONTROL = re.compile(rb"[\x01-\x08\x0e-\x1f\x7f]")
CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{1,20}(;.*|[ \t]+)", re.DOTALL)
LONG_SIZE = re.compile(rb"\n[0-9A-Fa-f]{21,}")


class Known(NamedTuple):
    why: str
    ours: str | None
    """A pattern of our reason; None if we accept it and h11 does not."""
    applies: Callable[[Difference], bool]


def has_odd_target(it: Difference) -> bool:
    plain = PLAIN_AUTHORITY if it.words[0] == b"CONNECT" else PLAIN_TARGET
    return len(it.words) == 3 and not plain.fullmatch(it.words[1])


def has_odd_host(it: Difference) -> bool:
    return any(not PLAIN_HOST.fullmatch(value) for value in it.values(b"host"))


def has_bare_lf(it: Difference) -> bool:
    return bool(re.search(rb"(?<!\r)\n\Z", it.before) or re.search(rb"(?<!\r)\n\Z", it.before + it.at[:1]))


def has_equal_lengths(it: Difference) -> bool:
    lengths = [length.strip() for value in it.values(b"content-length") for length in value.split(b",")]
    return len(lengths) > 1 and lengths[0].isdigit() and lengths.count(lengths[0]) > 1


def has_both_framings(it: Difference) -> bool:
    return bool(it.values(b"content-length") and it.values(b"transfer-encoding"))


def has_big_length(it: Difference) -> bool:
    return any(value.isdigit() and int(value) >= 2**64 for value in it.values(b"content-length"))


def has_odd_expectation(it: Difference) -> bool:
    values = it.values(b"expect")
    return len(values) > 1 or any(value.lower() != b"100-continue" for value in values)


def has_long_length(it: Difference) -> bool:
    return any(value.isdigit() and len(value) > 20 for value in it.values(b"content-length"))


KNOWN = (
    # We refuse it, h11 does not.
    Known(
        "h11 takes any token as a method",
        "an unknown method|a method that is not of HTTP|Expected HTTP/2 Connection Preface",
        lambda it: it.words[0] not in METHODS,
    ),
    Known(
        "h11 does not look into targets",
        "a fragment in the request target|a bad authority in the request target|.*char(acters)? in url.*"
        "|the request target is in no form of RFC 9112|the target of CONNECT is not host:port",
        has_odd_target,
    ),
    Known("h11 does not look into the value of Host", "a bad Host", has_odd_host),
    Known(
        "h11 takes any version",
        "a version other than HTTP/1",
        lambda it: re.match(rb"([^\r\n]* )?HTTP/[02-9]\.", it.raw) is not None,
    ),
    Known(
        "h11 wants Host in HTTP/1.1 only",
        "no Host",
        lambda it: it.words[-1] in {b"HTTP/1.%d" % minor for minor in range(2, 10)},
    ),
    Known("h11 takes LF as a line end", ".*", has_bare_lf),
    Known(
        "h11 refuses NUL and whitespace in a value and no other control character",
        "Invalid header value char|a control character in the reason phrase",
        lambda it: CONTROL.match(it.at) is not None,
    ),
    Known(
        "h11 unfolds",
        "Unexpected whitespace after header value|Invalid header value char",  # the second behind an empty value
        lambda it: re.search(rb"\r\n[ \t]", it.before[-3:] + it.at[:1]) is not None,
    ),
    Known(
        "h11 takes equal ones as one",
        "Duplicate Content-Length|Invalid character in Content-Length",
        has_equal_lengths,
    ),
    Known(
        "h11 takes a length of 20 digits",
        "Content-Length overflow",
        has_big_length,
    ),
    Known(
        "h11 lets Transfer-Encoding win",
        "(Content-Length|Transfer-Encoding) can't be present with .*|both Transfer-Encoding and Content-Length",
        lambda it: it.head_refused and has_both_framings(it),
    ),
    Known(
        "h11 looks at no trailer's name",
        ".*Content-Length.*|.*Transfer-Encoding.*",
        lambda it: not it.head_refused and has_both_framings(it) or len(it.values(b"transfer-encoding")) > 1,
    ),
    Known(
        "h11 drops a tab behind chunked",
        "Transfer-Encoding does not end in one chunked",
        lambda it: re.search(rb"(?i):[ \t]*chunked *\t[ \t]*\r?\n", it.raw) is not None,
    ),
    Known(
        "h11 reads chunks in HTTP/1.0",
        "Transfer-Encoding in HTTP/1.0",
        lambda it: b"HTTP/1.0" in it.words,
    ),
    Known(
        "h11 takes 20 digits of a chunk size",
        "Chunk size overflow",
        lambda it: re.fullmatch(rb"0*[1-9A-Fa-f][0-9A-Fa-f]{16,19}", it.line) is not None,
    ),
    Known(
        "h11 skips what is behind a chunk size",
        "Invalid character in chunk (size|extensions.*)|Invalid quoted-pair in chunk .*|Expected LF after chunk size",
        lambda it: CHUNK_LINE.fullmatch(it.line) is not None,
    ),
    Known(
        "h11 leaves expectations to the server",
        "an expectation other than 100-continue",
        has_odd_expectation,
    ),
    Known(
        "h11 does without the space behind a status",
        "no space behind the status code",
        lambda it: re.match(rb"HTTP/1\.[0-9] [0-9]{3}\r?\n", it.raw) is not None,
    ),
    Known(
        "h11 takes any 101 that it has asked for",
        "101 without an Upgrade",
        lambda it: it.words[1:2] == [b"101"],
    ),
    Known(
        "h11 has no limit on the number of fields",
        "more than 100 header fields",
        lambda it: it.raw.count(b"\n") > 100,
    ),
    # We accept it, as far as it came, and h11 does not; or the other way round.
    Known(
        "h11 takes any token as a method",  # this one begins HTTP/2, and we wait for what must follow
        None,
        lambda it: it.words[0] == b"PRI" and it.mine is None,
    ),
    Known(
        "h11 takes no empty line before a request",
        None,
        lambda it: it.behind_empty_lines and it.theirs is None,
    ),
    Known(
        "h11 takes 20 digits of a chunk size",
        None,
        lambda it: LONG_SIZE.search(it.raw) is not None and is_less(it.theirs, it.mine),
    ),
    Known(
        "h11 takes 20 digits of a length",
        None,
        lambda it: has_long_length(it) and it.theirs is None,
    ),
    Known(
        "h11 looks at the coding though another protocol follows",
        None,
        lambda it: it.theirs is None and it.mine is not None and is_switch(it) and has_odd_coding(it.mine),
    ),
)


def is_switch(it: Difference) -> bool:
    status = it.mine.first_line[0]
    return it.answers is not None and (status == 101 or it.answers == "CONNECT" and 200 <= status < 300)


def has_odd_coding(mine: Seen) -> bool:
    codings = [value for name, value in mine.headers if name == b"transfer-encoding"]
    return len(codings) > 1 or any(coding != b"chunked" for coding in codings)


def is_less(theirs: Seen | None, mine: Seen | None) -> bool:
    """Whether h11 saw no more than a beginning of what we saw."""
    if theirs is None or mine is None:
        return False
    return theirs[:2] == mine[:2] and mine.body.startswith(theirs.body)


def explain(it: Difference) -> str | None:
    """Why this difference is none to worry about, or None."""
    for known in KNOWN:
        same_kind = (known.ours is None) == (it.reason is None)
        if same_kind and re.fullmatch(known.ours or "", it.reason or "") and known.applies(it):
            return known.why
    return None
