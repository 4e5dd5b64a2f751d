"""Limits: exact, enforced while reading, and the same however the bytes arrive."""

from __future__ import annotations

import tracemalloc

import pytest
from esg_parser import HeadTooLarge, MalformedMessage, ParserError, RequestParser

from .feeding import Failure, failure_of, feed_pieces, outcome_of, parse, request

HOST = "Host: a.example"
GET = request("GET / HTTP/1.1", HOST)
CHUNKED = request("POST / HTTP/1.1", HOST, "Transfer-Encoding: chunked")
MEGABYTE = 1_000_000


# -- Head size -----------------------------------------------------------------------------------------------


def test_head_size():
    raw = request("GET /abc HTTP/1.1", HOST, "X: yz")
    assert parse(raw, max_head_size=len(raw))
    assert failure_of(raw, max_head_size=len(raw) - 1) == Failure(431, "HeadTooLarge", len(raw) - 1)


def test_head_size_does_not_count_the_body_or_what_follows():
    raw = request("POST / HTTP/1.1", HOST, "Content-Length: 100", body=b"x" * 100)
    outcome = outcome_of(raw + GET, max_head_size=len(raw) - 100)
    assert outcome.failure is None and len(outcome.messages) == 2


def test_head_size_does_not_count_empty_lines_before():
    assert outcome_of(b"\r\n" * 10 + GET, max_head_size=len(GET)).failure is None


def test_head_size_counts_each_head_by_itself():
    outcome = outcome_of(GET * 3, max_head_size=len(GET))
    assert outcome.failure is None and len(outcome.messages) == 3


def test_default_head_size():
    filler = "x" * (65536 - len(GET) - len("X: \r\n"))
    exact = request("GET / HTTP/1.1", HOST, f"X: {filler}")
    more = request("GET / HTTP/1.1", HOST, f"X: {filler}x")
    assert len(exact) == 65536
    for cut in (len(exact), 1, 30000, 65535):
        assert feed_pieces([exact[:cut], exact[cut:]]).failure is None
        assert feed_pieces([more[:cut], more[cut:]]).failure == Failure(431, "HeadTooLarge", 65536)


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nX:"])
@pytest.mark.parametrize("filling", [b"x", b"X: y\r\n", b" "])
def test_a_huge_read_stops_at_the_limit(start, filling):
    raw = start + filling * (MEGABYTE // len(filling))
    failure = feed_pieces([raw], max_headers=10**6).failure
    assert failure == feed_pieces((raw[i : i + 1000] for i in range(0, len(raw), 1000)), max_headers=10**6).failure
    assert failure.offset <= 65536


# -- Number of fields ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 24, 25, 49])
def test_number_of_fields(limit):
    fields = [f"X{i}: y" for i in range(limit - 1)]
    assert len(parse(request("GET / HTTP/1.1", HOST, *fields), max_headers=limit).head.headers) == limit
    raw = request("GET / HTTP/1.1", HOST, *fields, "Last: one")
    assert failure_of(raw, max_headers=limit) == Failure(431, "HeadTooLarge", raw.index(b"Last"))


def test_default_number_of_fields():
    assert feed_pieces([request("GET / HTTP/1.1", HOST, *["x: y"] * 99)]).failure is None
    assert feed_pieces([request("GET / HTTP/1.1", HOST, *["x: y"] * 100)]).failure.status == 431


def test_a_bad_field_where_none_is_allowed_any_more():
    """It is counted when it is whole, so it is refused for what comes first in the input: the bad byte."""
    raw = request("GET / HTTP/1.1", HOST, "Too-Many\x00: x")
    assert failure_of(raw, max_headers=1) == Failure(400, "MalformedMessage", raw.index(b"\x00"))
    raw = request("GET / HTTP/1.1", HOST, "Too-Many: \x00")
    assert failure_of(raw, max_headers=1) == Failure(400, "MalformedMessage", raw.index(b"\x00"))


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
def test_stretch_without_body(what):
    start, filling, end = STRETCHES[what]
    before = CHUNKED + b"1\r\nx"
    stretch = start + filling * 100 + end.partition(b"x")[0]
    raw = before + start + filling * 100 + end
    limit = len(stretch)
    assert parse(raw, max_head_size=limit)
    assert failure_of(raw, max_head_size=limit - 1) == Failure(431, "HeadTooLarge", len(before) + limit - 1)


def test_stretches_are_measured_one_by_one():
    chunk = b"0000001\r\nx\r\n"
    assert parse(CHUNKED + chunk * 50 + b"0\r\n\r\n", max_head_size=len(CHUNKED)).body == b"x" * 50


def test_a_bad_trailer_that_is_too_large():
    raw = CHUNKED + b"1\r\nx\r\n0\r\n" + b"x" * 100 + b"\x00: y\r\n\r\n"
    assert failure_of(raw, max_head_size=80) == Failure(431, "HeadTooLarge", len(CHUNKED) + 4 + 80)


def test_a_body_of_a_known_length_is_no_such_stretch():
    raw = request("POST / HTTP/1.1", HOST, "Content-Length: 300", body=b"x" * 300)
    assert parse(raw, max_head_size=100).body == b"x" * 300


def test_number_of_trailers_and_fields():
    assert parse(CHUNKED + b"0\r\nX: y\r\n\r\n", max_headers=3)
    raw = CHUNKED + b"0\r\nX: y\r\nZ: y\r\n\r\n"
    assert failure_of(raw, max_headers=3) == Failure(431, "HeadTooLarge", raw.index(b"Z"))


@pytest.mark.parametrize("extension", [b"aaaaaaaaaa", b"aaaa=bbbbbb", b"aaaa;bbb=ccc", b'aaaa="cccc"'])
def test_extension_size(extension):
    assert parse(CHUNKED + b"1;" + extension + b"\r\nx\r\n0\r\n\r\n", max_extensions_size=10).body == b"x"
    raw = CHUNKED + b"1;" + extension + b"\r\nx\r\n0;o\r\n\r\n"
    assert failure_of(raw, max_extensions_size=10) == Failure(400, "MalformedMessage", len(raw) - 5)


def test_extension_that_is_too_long_and_bad():
    raw = CHUNKED + b"1;" + b"a" * 20 + b"\x00\r\nx\r\n0\r\n\r\n"
    assert failure_of(raw, max_extensions_size=10) == Failure(400, "MalformedMessage", len(CHUNKED) + 12)


# -- Empty lines ---------------------------------------------------------------------------------------------


def test_empty_lines():
    assert outcome_of(b"\r\n" * 50 + GET, max_head_size=100).failure is None
    assert failure_of(b"\r\n" * 51 + GET, max_head_size=100) == Failure(431, "HeadTooLarge", 0)


def test_empty_lines_are_counted_between_messages_too():
    outcome = outcome_of(GET + b"\r\n" * 51, max_head_size=100)
    assert len(outcome.messages) == 1 and outcome.failure.status == 431


# -- Endless input -------------------------------------------------------------------------------------------

ENDLESS = {
    "method": (b"", b"M"),
    "spaces": (b"GET ", b" "),
    "target": (b"GET /", b"x"),
    "absolute target": (b"GET http://", b"x"),
    "version": (b"GET / HTTP/1.1", b"1"),
    "field name": (b"GET / HTTP/1.1\r\n", b"x"),
    "field value": (b"GET / HTTP/1.1\r\nX: ", b"x"),
    "field whitespace": (b"GET / HTTP/1.1\r\nX: ", b" \t"),
    "fields": (b"GET / HTTP/1.1\r\n", b"x: y\r\n"),
    "empty fields": (b"GET / HTTP/1.1\r\n", b"x:\r\n"),
    "empty lines": (b"", b"\r\n"),
    "trailer name": (CHUNKED + b"0\r\n", b"x"),
    "trailer value": (CHUNKED + b"0\r\nX: ", b"x"),
    "trailer whitespace": (CHUNKED + b"0\r\nX: ", b" \t"),
    "trailers": (CHUNKED + b"0\r\n", b"x: y\r\n"),
    "chunk size": (CHUNKED, b"0"),
    "extension name": (CHUNKED + b"1;", b"x"),
    "extension value": (CHUNKED + b"1;a=", b"x"),
    "quoted extension": (CHUNKED + b'1;a="', b"x"),
    "extensions": (CHUNKED + b"1", b";a=b"),
    "empty extensions": (CHUNKED + b"1", b";="),
    "extensions of many chunks": (CHUNKED, b"1;abc\r\nx\r\n"),
}


def push(start, filling, total):
    """Push up to ``total`` bytes in pieces; return how many were taken and the most memory held."""
    piece = filling * (50_000 // len(filling))
    parser = RequestParser()
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


@pytest.mark.parametrize("what", ENDLESS)
def test_endless_input_is_stopped(what):
    taken, _ = push(*ENDLESS[what], 200 * MEGABYTE)
    assert taken < MEGABYTE


@pytest.mark.parametrize("size", [1, 100, 70_000])
def test_endless_head_in_small_reads(size):
    parser = RequestParser()
    parser.feed(b"GET / HTTP/1.1\r\nX: ")
    with pytest.raises(HeadTooLarge):
        for _ in range(70_000 // size + 2):
            parser.feed(b"x" * size)


def test_a_body_of_200_mb_holds_no_memory():
    start = request("POST / HTTP/1.1", HOST, f"Content-Length: {10**15}")
    taken, peak = push(start, b"x", 200 * MEGABYTE)
    assert taken >= 200 * MEGABYTE and peak < MEGABYTE


def test_a_chunked_body_of_50_mb_holds_no_memory():
    taken, peak = push(CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n", 50 * MEGABYTE)
    assert taken >= 50 * MEGABYTE and peak < MEGABYTE


# -- Values --------------------------------------------------------------------------------------------------

NAMES = ["max_head_size", "max_headers", "max_target_size", "max_extensions_size"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1, 2**31, 2**64])
def test_bad_value(name, value):
    with pytest.raises(ValueError, match=f"{name} must be from 1 to 2147483647, not {value}"):
        RequestParser(**{name: value})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["1", None])
def test_value_of_another_type(name, value):
    with pytest.raises(TypeError):
        RequestParser(**{name: value})


@pytest.mark.parametrize("name", NAMES)
def test_largest_value(name):
    assert RequestParser(**{name: 2**31 - 1}).feed(GET)


def test_limits_are_named():
    with pytest.raises(TypeError):
        RequestParser(65536)


def test_a_limit_below_the_first_line():
    with pytest.raises(HeadTooLarge):
        RequestParser(max_head_size=1).feed(GET)
    with pytest.raises(MalformedMessage):
        RequestParser(max_head_size=1).feed(b"\x00")
