"""Limits: exact, enforced while reading, and the same however the bytes arrive."""

from __future__ import annotations

import tracemalloc
from typing import NamedTuple

import pytest
from esg_parser import END, ContentTooLarge, HeadTooLarge, MalformedMessage, ParserError, RequestParser, ResponseParser

from .feeding import Failure, failure_of, feed_pieces, outcome_of, parse, parser_for, request

HOST = "Host: a.example"
GET = request("GET / HTTP/1.1", HOST)
MEGABYTE = 1_000_000


class Side(NamedTuple):
    """What a test needs for either kind of message, so that it is written once."""

    answers: str | None
    make: type
    bodiless: str
    """The first line of a message without a body."""
    line: str
    """The first line of one that may have a body."""

    def message(self, *fields, body=b""):
        """A message with a body; the Host of a request is in a response too."""
        return request(self.line, HOST, *fields, body=body)

    @property
    def empty(self):
        return request(self.bodiless, HOST)

    @property
    def chunked(self):
        return self.message("Transfer-Encoding: chunked")

    def parser(self, **limits):
        return parser_for(self.answers, **limits)

    def feed_pieces(self, pieces, **limits):
        return feed_pieces(pieces, answers=self.answers, **limits)

    def outcome_of(self, raw, **limits):
        return outcome_of(raw, answers=self.answers, **limits)

    def parse(self, raw, **limits):
        return parse(raw, self.answers, **limits)

    def failure_of(self, raw, **limits):
        return failure_of(raw, self.answers, **limits)

    def failure(self, kind, offset):
        return Failure(kind.status if self.answers is None else 502, kind.__name__, offset)


SIDES = {
    "requests": Side(None, RequestParser, "GET / HTTP/1.1", "POST / HTTP/1.1"),
    "responses": Side("GET", ResponseParser, "HTTP/1.1 204 No Content", "HTTP/1.1 200 OK"),
}


@pytest.fixture(params=SIDES)
def side(request):
    return SIDES[request.param]


# -- Head size -----------------------------------------------------------------------------------------------


def test_head_size(side):
    raw = request(side.bodiless, HOST, "X: yz")
    assert side.parse(raw, max_head_size=len(raw))
    assert side.failure_of(raw, max_head_size=len(raw) - 1) == side.failure(HeadTooLarge, len(raw) - 1)


def test_head_size_does_not_count_the_body_or_what_follows(side):
    raw = side.message("Content-Length: 100", body=b"x" * 100)
    outcome = side.outcome_of(raw + side.empty, max_head_size=len(raw) - 100)
    assert outcome.failure is None and len(outcome.messages) == 2


def test_head_size_does_not_count_empty_lines_before():
    assert outcome_of(b"\r\n" * 10 + GET, max_head_size=len(GET)).failure is None


def test_head_size_counts_each_head_by_itself(side):
    outcome = side.outcome_of(side.empty * 3, max_head_size=len(side.empty))
    assert outcome.failure is None and len(outcome.messages) == 3


def test_default_head_size(side):
    filler = "x" * (65536 - len(side.empty) - len("X: \r\n"))
    exact = request(side.bodiless, HOST, f"X: {filler}")
    more = request(side.bodiless, HOST, f"X: {filler}x")
    assert len(exact) == 65536
    for cut in (len(exact), 1, 30000, 65535):
        assert side.feed_pieces([exact[:cut], exact[cut:]]).failure is None
        assert side.feed_pieces([more[:cut], more[cut:]]).failure == side.failure(HeadTooLarge, 65536)


@pytest.mark.parametrize("start", [b"X: ", b"", b"X:"])
@pytest.mark.parametrize("filling", [b"x", b"X: y\r\n", b" "])
def test_a_huge_read_stops_at_the_limit(side, start, filling):
    raw = side.bodiless.encode() + b"\r\n" + start + filling * (MEGABYTE // len(filling))
    failure = side.feed_pieces([raw], max_headers=10**6).failure
    in_pieces = (raw[i : i + 1000] for i in range(0, len(raw), 1000))
    assert failure == side.feed_pieces(in_pieces, max_headers=10**6).failure
    assert failure.offset <= 65536


@pytest.mark.parametrize("line", ["HTTP/1.1 200 " + "x" * 100, "HTTP/1.1 200 " + " " * 100])
def test_a_long_reason(line):
    raw = request(line, "Content-Length: 0")
    assert parse(raw, "GET", max_head_size=len(raw))
    assert failure_of(raw, "GET", max_head_size=50) == Failure(502, "HeadTooLarge", 50)


# -- Number of fields ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 24, 25, 49])
def test_number_of_fields(side, limit):
    fields = [f"X{i}: y" for i in range(limit - 1)]
    raw = request(side.bodiless, HOST, *fields)
    assert len(side.parse(raw, max_headers=limit).head.headers) == limit
    raw = request(side.bodiless, HOST, *fields, "Last: one")
    assert side.failure_of(raw, max_headers=limit) == side.failure(HeadTooLarge, raw.index(b"Last"))


def test_default_number_of_fields(side):
    assert side.feed_pieces([request(side.bodiless, HOST, *["x: y"] * 99)]).failure is None
    raw = request(side.bodiless, HOST, *["x: y"] * 100)
    assert side.feed_pieces([raw]).failure == side.failure(HeadTooLarge, len(raw) - len("x: y\r\n\r\n"))


@pytest.mark.parametrize("field", ["Too-Many\x00: x", "Too-Many: \x00"])
def test_a_bad_field_where_none_is_allowed_any_more(side, field):
    """It is counted when it is whole, so it is refused for what comes first in the input: the bad byte."""
    raw = request(side.bodiless, HOST, field)
    assert side.failure_of(raw, max_headers=1) == side.failure(MalformedMessage, raw.index(b"\x00"))


# -- Target --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["/{}", "/?{}", "http://{}/", "http://a.example/{}"])
def test_target_size(form):
    target = form.format("x" * 50)
    raw = request(f"GET {target} HTTP/1.1", HOST)
    assert parse(raw, max_target_size=len(target)).head.target == target.encode()
    assert failure_of(raw, max_target_size=len(target) - 1) == Failure(414, "TargetTooLong", 4 + len(target) - 1)


def test_default_target_size():
    exact = request("GET /" + "x" * 16383 + " HTTP/1.1", HOST)
    more = request("GET /" + "x" * 16384 + " HTTP/1.1", HOST)
    for cut in (1, 5, 16387, 16388, 16389, 16400):
        assert feed_pieces([exact[:cut], exact[cut:]]).failure is None
        assert feed_pieces([more[:cut], more[cut:]]).failure == Failure(414, "TargetTooLong", 16388)


@pytest.mark.parametrize("end", [b"\x00", b"\x80", b"\n", b"\r\n", b"#", b" HTTX"])
def test_a_target_that_is_too_long_and_bad(end):
    assert failure_of(b"GET /" + b"x" * 30 + end, max_target_size=10) == Failure(414, "TargetTooLong", 14)


def test_a_target_that_is_too_long_and_bad_behind_two_spaces():
    assert failure_of(b"GET  " + b"x" * 30 + b"1", max_target_size=10) == Failure(400, "MalformedMessage", 4)


def test_a_target_that_is_bad_before_it_is_too_long():
    failure = failure_of(b"GET /xx\x80" + b"x" * 30 + b" HTTP/1.1\r\n", max_target_size=10)
    assert failure == Failure(400, "MalformedMessage", 7)


def test_a_long_absolute_form():
    target = "http://a.example/" + "x" * 100_000
    outcome = feed_pieces([request(f"GET {target} HTTP/1.1", HOST)], max_target_size=200_000, max_head_size=200_000)
    assert outcome.failure is None
    assert outcome.messages[0].head.target == target.encode()


# -- Chunk lines and trailers --------------------------------------------------------------------------------

# The limit holds for each stretch between two body bytes, the last and the end of the message.
STRETCHES = {
    "trailer": (b"\r\n0\r\nX: ", b"v", b"\r\n\r\n"),
    "trailer name": (b"\r\n0\r\n", b"x", b": \r\n\r\n"),
    "trailer whitespace": (b"\r\n0\r\nX:", b" ", b"\r\n\r\n"),
    "last chunk": (b"\r\n", b"0", b"\r\n\r\n"),
    "chunk size": (b"\r\n", b"0", b"1\r\nx\r\n0\r\n\r\n"),
    "empty extensions": (b"\r\n1", b";=", b"\r\nx\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("what", STRETCHES)
def test_stretch_without_body(side, what):
    start, filling, end = STRETCHES[what]
    before = side.chunked + b"1\r\nx"
    stretch = start + filling * 100 + end.partition(b"x")[0]
    raw = before + start + filling * 100 + end
    limit = len(stretch)
    assert side.parse(raw, max_head_size=limit)
    assert side.failure_of(raw, max_head_size=limit - 1) == side.failure(HeadTooLarge, len(before) + limit - 1)


def test_stretches_are_measured_one_by_one(side):
    raw = side.chunked + b"0000001\r\nx\r\n" * 50 + b"0\r\n\r\n"
    assert side.parse(raw, max_head_size=len(side.chunked)).body == b"x" * 50


def test_a_bad_trailer_that_is_too_large(side):
    raw = side.chunked + b"1\r\nx\r\n0\r\n" + b"x" * 100 + b"\x00: y\r\n\r\n"
    assert side.failure_of(raw, max_head_size=80) == side.failure(HeadTooLarge, len(side.chunked) + 4 + 80)


def test_a_body_of_a_known_length_is_no_such_stretch(side):
    raw = side.message("Content-Length: 300", body=b"x" * 300)
    assert side.parse(raw, max_head_size=100).body == b"x" * 300


def test_a_body_to_the_end_is_no_such_stretch():
    raw = request("HTTP/1.1 200 OK", body=b"x" * 300)
    assert outcome_of(raw, answers="GET", max_head_size=50).messages[0].body == b"x" * 300


def test_number_of_trailers_and_fields(side):
    assert side.parse(side.chunked + b"0\r\nX: y\r\n\r\n", max_headers=3)
    raw = side.chunked + b"0\r\nX: y\r\nZ: y\r\n\r\n"
    assert side.failure_of(raw, max_headers=3) == side.failure(HeadTooLarge, raw.index(b"Z"))


@pytest.mark.parametrize("extension", [b"aaaaaaaaaa", b"aaaa=bbbbbb", b"aaaa;bbb=ccc", b'aaaa="cccc"'])
def test_extension_size(side, extension):
    start = side.chunked + b"1;" + extension
    assert side.parse(start + b"\r\nx\r\n0\r\n\r\n", max_extensions_size=10).body == b"x"
    raw = start + b"\r\nx\r\n0;o\r\n\r\n"
    assert side.failure_of(raw, max_extensions_size=10) == side.failure(MalformedMessage, len(raw) - 5)


def test_extension_that_is_too_long_and_bad(side):
    raw = side.chunked + b"1;" + b"a" * 20 + b"\x00\r\nx\r\n0\r\n\r\n"
    assert side.failure_of(raw, max_extensions_size=10) == side.failure(MalformedMessage, len(side.chunked) + 12)


# -- One field -----------------------------------------------------------------------------------------------


def test_header_size(side):
    """From the first byte of a name to the last of its value; whatever the reads, and in trailers too."""
    raw = request(side.bodiless, HOST, "X-Long: 0123456789", "Empty:", "Blank: ")
    size = len("X-Long: 0123456789")
    assert side.parse(raw, max_header_size=size)
    assert side.failure_of(raw, max_header_size=size - 1) == side.failure(HeadTooLarge, raw.index(b"X-Long"))
    trailers = side.chunked + b"0\r\nX-Long: 0123456789\r\n\r\n"
    assert side.parse(trailers, max_header_size=max(size, len("Transfer-Encoding: chunked")))


def test_header_size_of_a_trailer(side):
    raw = side.chunked + b"0\r\nX-Long: 01234567890123456789012345\r\n\r\n"
    limit = len("Transfer-Encoding: chunked")
    assert side.failure_of(raw, max_header_size=limit) == side.failure(HeadTooLarge, raw.index(b"X-Long"))


# -- Bodies --------------------------------------------------------------------------------------------------


def test_body_size_of_a_known_length(side):
    """It is known with the head, and nothing of the message comes out."""
    raw = side.message("Content-Length: 10", body=b"0123456789")
    assert side.parse(raw, max_body_size=10).body == b"0123456789"
    head = side.message("Content-Length: 10")
    failure = side.failure(ContentTooLarge, len(head) - len("\r\n\r\n"))
    assert side.failure_of(raw, max_body_size=9) == failure
    parser = side.parser(max_body_size=9)
    with pytest.raises(ContentTooLarge):
        parser.feed(head)


def test_body_size_of_chunks(side):
    """It is known where the limit is passed; what came before it in other reads stands."""
    raw = side.chunked + b"4\r\nabcd\r\n4;x=y\r\nefgh\r\n0\r\nX: y\r\n\r\n"
    assert side.parse(raw, max_body_size=8).body == b"abcdefgh"
    assert side.failure_of(raw, max_body_size=6) == side.failure(ContentTooLarge, raw.index(b"gh"))
    assert side.failure_of(raw, max_body_size=4) == side.failure(ContentTooLarge, raw.index(b"efgh"))
    parser = side.parser(max_body_size=6)
    parser.feed(side.chunked)
    assert parser.feed(b"4\r\nabcd\r\n4\r\ne") == [b"abcde"]
    assert parser.feed(b"f") == [b"f"]
    with pytest.raises(ContentTooLarge):
        parser.feed(b"g")


def test_body_size_of_a_chunk_that_has_not_come(side):
    """A size alone is no body yet."""
    parser = side.parser(max_body_size=3)
    assert len(parser.feed(side.chunked + b"ffffffff\r\n")) == 1
    assert parser.feed(b"abc") == [b"abc"]
    with pytest.raises(ContentTooLarge):
        parser.feed(b"d")


def test_body_size_to_the_end_of_the_input():
    raw = request("HTTP/1.1 200 OK", body=b"0123456789")
    assert outcome_of(raw, answers="GET", max_body_size=10).messages[0].body == b"0123456789"
    assert failure_of(raw, "GET", max_body_size=9) == Failure(502, "ContentTooLarge", len(raw) - 1)
    assert failure_of(raw, "GET", max_body_size=0) == Failure(502, "ContentTooLarge", len(raw) - 10)


def test_no_body_at_all(side):
    for raw in (side.empty, side.message("Content-Length: 0"), side.chunked + b"0\r\nX: y\r\n\r\n"):
        assert side.parse(raw, max_body_size=0).body == b""
    raw = side.message("Content-Length: 1", body=b"x")
    assert side.failure_of(raw, max_body_size=0).kind == "ContentTooLarge"
    raw = side.chunked + b"1\r\nx\r\n0\r\n\r\n"
    assert side.failure_of(raw, max_body_size=0) == side.failure(ContentTooLarge, raw.index(b"x\r\n0"))


def test_body_size_counts_each_body_by_itself(side):
    raw = side.message("Content-Length: 4", body=b"abcd") + side.chunked + b"4\r\nabcd\r\n0\r\n\r\n"
    outcome = side.outcome_of(raw * 2, max_body_size=4)
    assert outcome.failure is None and len(outcome.messages) == 4


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        ("HEAD", "HTTP/1.1 200 OK"),
        ("GET", "HTTP/1.1 304 Same"),
        ("GET", "HTTP/1.1 204 None"),
        ("GET", "HTTP/1.1 100 Go"),
    ],
)
def test_a_length_without_a_body_is_not_too_large(answers, line):
    message = parse(request(line, "Content-Length: 1000"), answers, max_body_size=10)
    assert message.head.content_length == 1000 and message.body == b""


def test_a_tunnel_is_no_body():
    parser = parser_for("CONNECT", max_body_size=0)
    assert len(parser.feed(request("HTTP/1.1 200 OK", "Content-Length: 1000", body=b"x" * 50))) == 3
    assert parser.trailing_data == b"x" * 50


@pytest.mark.parametrize("length", [2**63 - 1, 2**63, 2**64 - 1])
def test_no_limit_of_a_body(side, length):
    assert side.parser(max_body_size=None).feed(side.message(f"Content-Length: {length}"))[0].content_length == length
    assert side.parser().feed(side.message(f"Content-Length: {length}"))[0].content_length == length


@pytest.mark.parametrize("value", [-1, 2**63, 2**64, 2**100])
def test_bad_body_size(side, value):
    with pytest.raises(ValueError, match=f"max_body_size must be from 0 to 9223372036854775807, not {value}"):
        side.make(max_body_size=value)


@pytest.mark.parametrize("value", ["1", 1.5, 1.0, [1]])
def test_body_size_of_another_type(side, value):
    with pytest.raises(TypeError):
        side.make(max_body_size=value)


@pytest.mark.parametrize("value", [0, 1, 2**63 - 1, None])
def test_bounds_of_a_body_size(side, value):
    assert side.make(max_body_size=value).feed(side.empty)[-1] is END


def test_the_largest_body_size(side):
    parser = side.parser(max_body_size=2**63 - 1)
    assert parser.feed(side.message(f"Content-Length: {2**63 - 1}"))[0].content_length == 2**63 - 1
    with pytest.raises(ContentTooLarge):
        side.parser(max_body_size=2**63 - 1).feed(side.message(f"Content-Length: {2**63}"))


# -- Empty lines ---------------------------------------------------------------------------------------------


def test_empty_lines():
    assert outcome_of(b"\r\n" * 50 + GET, max_head_size=100).failure is None
    assert failure_of(b"\r\n" * 51 + GET, max_head_size=100) == Failure(431, "HeadTooLarge", 0)


def test_empty_lines_are_counted_between_messages_too():
    outcome = outcome_of(GET + b"\r\n" * 51, max_head_size=100)
    assert len(outcome.messages) == 1 and outcome.failure.status == 431


# -- Endless input -------------------------------------------------------------------------------------------

ENDLESS_REQUESTS = {
    "method": (b"", b"M"),
    "spaces": (b"GET ", b" "),
    "target": (b"GET /", b"x"),
    "absolute target": (b"GET http://", b"x"),
    "version": (b"GET / HTTP/1.1", b"1"),
    "empty lines": (b"", b"\r\n"),
}
ENDLESS_RESPONSES = {
    "version of a response": (b"HTTP/1.1", b"1"),
    "spaces of a response": (b"HTTP/1.1", b" "),
    "status": (b"HTTP/1.1 ", b"2"),
    "reason": (b"HTTP/1.1 200 ", b"x"),
    "blank reason": (b"HTTP/1.1 200 ", b" "),
}
# Behind the first line.
ENDLESS_HEADS = {
    "field name": (b"", b"x"),
    "field value": (b"X: ", b"x"),
    "field whitespace": (b"X: ", b" \t"),
    "fields": (b"", b"x: y\r\n"),
    "empty fields": (b"", b"x:\r\n"),
}
# Behind a head.
ENDLESS_CHUNKS = {
    "trailer name": (b"0\r\n", b"x"),
    "trailer value": (b"0\r\nX: ", b"x"),
    "trailer whitespace": (b"0\r\nX: ", b" \t"),
    "trailers": (b"0\r\n", b"x: y\r\n"),
    "chunk size": (b"", b"0"),
    "extension name": (b"1;", b"x"),
    "extension value": (b"1;a=", b"x"),
    "quoted extension": (b'1;a="', b"x"),
    "extensions": (b"1", b";a=b"),
    "empty extensions": (b"1", b";="),
    "extensions of many chunks": (b"", b"1;abc\r\nx\r\n"),
}


def push(parser, start, filling, total):
    """Push up to ``total`` bytes in pieces; return how many were taken and the most memory held."""
    piece = filling * (50_000 // len(filling))
    taken = 0
    tracemalloc.start()
    try:
        parser.feed(start)
        while taken < total:
            parser.feed(piece)
            taken += len(piece)
    except ParserError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return taken, peak


def assert_stopped(side, start, filling):
    taken, _ = push(side.parser(), start, filling, 200 * MEGABYTE)
    assert taken < MEGABYTE


@pytest.mark.parametrize("what", ENDLESS_REQUESTS)
def test_an_endless_request_line_is_stopped(what):
    assert_stopped(SIDES["requests"], *ENDLESS_REQUESTS[what])


@pytest.mark.parametrize("what", ENDLESS_RESPONSES)
def test_an_endless_status_line_is_stopped(what):
    assert_stopped(SIDES["responses"], *ENDLESS_RESPONSES[what])


@pytest.mark.parametrize("what", ENDLESS_HEADS)
def test_an_endless_head_is_stopped(side, what):
    start, filling = ENDLESS_HEADS[what]
    assert_stopped(side, side.bodiless.encode() + b"\r\n" + start, filling)


@pytest.mark.parametrize("what", ENDLESS_CHUNKS)
def test_endless_chunks_are_stopped(side, what):
    start, filling = ENDLESS_CHUNKS[what]
    assert_stopped(side, side.chunked + start, filling)


@pytest.mark.parametrize("size", [1, 100, 70_000])
def test_endless_head_in_small_reads(side, size):
    parser = side.parser()
    parser.feed(side.bodiless.encode() + b"\r\nX: ")
    with pytest.raises(HeadTooLarge):
        for _ in range(70_000 // size + 2):
            parser.feed(b"x" * size)


def test_a_body_of_200_mb_holds_no_memory(side):
    start = side.message(f"Content-Length: {10**15}")
    taken, peak = push(side.parser(), start, b"x", 200 * MEGABYTE)
    assert taken >= 200 * MEGABYTE and peak < MEGABYTE


def test_a_body_to_the_end_of_200_mb_holds_no_memory():
    taken, peak = push(ResponseParser(), b"HTTP/1.1 200 OK\r\n\r\n", b"x", 200 * MEGABYTE)
    assert taken >= 200 * MEGABYTE and peak < MEGABYTE


def test_a_chunked_body_of_50_mb_holds_no_memory(side):
    taken, peak = push(side.parser(), side.chunked, b"3e8\r\n" + b"x" * 1000 + b"\r\n", 50 * MEGABYTE)
    assert taken >= 50 * MEGABYTE and peak < MEGABYTE


# -- Values --------------------------------------------------------------------------------------------------

NAMES = {
    RequestParser: ["max_head_size", "max_headers", "max_target_size", "max_extensions_size"],
    ResponseParser: ["max_head_size", "max_headers", "max_extensions_size"],
}
EACH = pytest.mark.parametrize(("make", "name"), [(make, name) for make, names in NAMES.items() for name in names])


@EACH
@pytest.mark.parametrize("value", [0, -1, 2**31, 2**64])
def test_bad_value(make, name, value):
    with pytest.raises(ValueError, match=f"{name} must be from 1 to 2147483647, not {value}"):
        make(**{name: value})


@EACH
@pytest.mark.parametrize("value", ["1", None, 1.5, 0.5, 1.0])
def test_value_of_another_type(make, name, value):
    with pytest.raises(TypeError):
        make(**{name: value})


@EACH
def test_largest_value(make, name):
    side = SIDES["requests" if make is RequestParser else "responses"]
    assert make(**{name: 2**31 - 1}).feed(side.empty)


def test_limits_are_named(side):
    with pytest.raises(TypeError):
        side.make(65536)


def test_responses_have_no_target():
    with pytest.raises(TypeError):
        ResponseParser(max_target_size=1)


def test_a_limit_below_the_first_line(side):
    with pytest.raises(HeadTooLarge):
        side.make(max_head_size=1).feed(side.empty)
    with pytest.raises(MalformedMessage):
        side.make(max_head_size=1).feed(b"\x00")


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_large_read_of_a_chunk_extension_fails_as_small_ones_do(cut):
    """Which of two limits was passed first is a matter of bytes, not of how many of them came at once."""
    begin = request("POST / HTTP/1.1", HOST, "Transfer-Encoding: chunked") + b"5;x"
    parser = RequestParser()
    parser.feed(begin[: len(begin) - cut])
    with pytest.raises(MalformedMessage) as caught:
        parser.feed(begin[len(begin) - cut :] + b"x" * 100_000)
    assert caught.value.status == 400
