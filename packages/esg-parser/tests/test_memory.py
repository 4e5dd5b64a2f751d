"""Nothing is leaked or lost, whatever comes in and wherever it stops.

The ordinary run takes some thousand messages; a million of each kind and a million errors take some minutes:

    ESG_MEMORY_MESSAGES=1000000 pytest tests/test_memory.py
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest
from esg_parser import END, UPGRADE, ParserError, RequestParser, ResponseParser

from .feeding import parser_for, request, response

TIMES = int(os.environ.get("ESG_MEMORY_MESSAGES", "30000"))
STATM = Path("/proc/self/statm")
HOST = "Host: a.example"
FIELDS = [HOST, "Accept: */*", "X-Own-Name: value", "Content-Type: text/plain"]
CHUNKS = b"5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nX: y\r\n\r\n"
GET = request("GET /a%20b?c HTTP/1.1", *FIELDS)
CHUNKED = request("POST / HTTP/1.1", HOST, "Transfer-Encoding: chunked", body=CHUNKS)
MANY = request("GET http://a.example/x HTTP/1.1", HOST, *["X: y"] * 60)
OK = "HTTP/1.1 200 OK"
EMPTY = response(OK, *FIELDS, "Content-Length: 0")
CHUNKED_RESPONSE = response(OK, "Transfer-Encoding: chunked", body=CHUNKS)
MANY_RESPONSE = response("HTTP/1.1 404 Not Found", "Content-Length: 5", *["X: y"] * 60, body=b"hello")
MESSAGES = {
    "get": (None, GET),
    "chunked": (None, CHUNKED),
    "many fields": (None, MANY),
    "response": ("GET", EMPTY),
    "response to HEAD": ("HEAD", response(OK, "Content-Length: 5")),
    "chunked response": ("GET", CHUNKED_RESPONSE),
    "response of many fields": ("GET", MANY_RESPONSE),
}


def whole(parser, raw):
    parser.feed(raw)


def in_pieces(parser, raw):
    for i in range(0, len(raw), 40):
        parser.feed(raw[i : i + 40])


def resident():
    """Bytes of memory that the process has now; tracemalloc does not see what is allocated in C."""
    pages = int(STATM.read_text().split()[1]) if STATM.exists() else 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def assert_flat(work, times):
    """Doing the work many times must take no more memory than doing it some times."""
    work(times // 10)
    gc.collect()
    blocks, memory = sys.getallocatedblocks(), resident()
    work(times)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 500
    assert resident() - memory < 2_000_000


@pytest.mark.parametrize("way", [whole, in_pieces])
@pytest.mark.parametrize("what", MESSAGES)
def test_messages_on_one_connection(what, way):
    answers, raw = MESSAGES[what]
    parser = parser_for(answers)

    def work(times):
        for _ in range(times):
            way(parser, raw)

    assert_flat(work, TIMES)


@pytest.mark.parametrize("what", MESSAGES)
def test_messages_behind_each_other(what):
    answers, raw = MESSAGES[what]
    parser = parser_for(answers)

    def work(times):
        for _ in range(times // 50):
            parser.feed(raw * 50)
            while parser.pending():
                parser.feed(b"")

    assert_flat(work, TIMES)


@pytest.mark.parametrize("way", [whole, in_pieces])
def test_last_messages(way):
    """A parser for each: behind a switch and a body to the end of the input nothing follows."""
    switch = response("HTTP/1.1 101 Go", "Connection: upgrade", "Upgrade: x")
    to_the_end = response(OK, "X: y", body=b"hello" * 30)

    def work(times):
        for _ in range(times // 3):
            parser = ResponseParser()
            way(parser, to_the_end)
            assert parser.close() == [END]
            way(ResponseParser(), switch)
            way(parser_for("CONNECT"), response(OK, "Content-Length: 5"))

    assert_flat(work, TIMES)


BAD = [
    b"\x00",
    b"\n",
    request("FOO / HTTP/1.1", HOST),
    request("GET / HTTP/2.0", HOST),
    request("GET / HTTP/1.1"),
    request("GET / HTTP/1.1", HOST, HOST),
    request("GET  / HTTP/1.1", HOST),
    request("GET /# HTTP/1.1", HOST),
    request("GET http://u@a/ HTTP/1.1", HOST),
    request("CONNECT / HTTP/1.1", HOST),
    request("GET /" + "x" * 20000 + " HTTP/1.1", HOST),
    request("GET / HTTP/1.1", HOST, *["X: y"] * 100),
    request("GET / HTTP/1.1", HOST, "X: \x00"),
    request("POST / HTTP/1.1", HOST, "Expect: x"),
    request("POST / HTTP/1.1", HOST, "Transfer-Encoding: gzip, chunked"),
    request("POST / HTTP/1.1", HOST, "Content-Length: 1", "Transfer-Encoding: chunked"),
    CHUNKED[:-4] + b"\x00",
    CHUNKED.replace(b"!", b"!!"),
    GET[:-2],
    CHUNKED[:-2],
]


BAD_RESPONSES = [
    b"\x00",
    b"\n",
    response("HTTP/2.0 200 OK"),
    response("HTTP/1.1 200"),
    response("HTTP/1.1 099 Low"),
    response("HTTP/1.1 200 \x00"),
    response("HTTP/1.1 101 Go"),
    response(OK, *["X: y"] * 101),
    response(OK, "X: \x00"),
    response(OK, "Transfer-Encoding: gzip, chunked"),
    response(OK, "Transfer-Encoding: chunked\t"),
    response(OK, "Content-Length: 1", "Content-Length: 1"),
    CHUNKED_RESPONSE[:-4] + b"\x00",
    CHUNKED_RESPONSE.replace(b"X:", b"Transfer-Encoding:"),
    CHUNKED_RESPONSE.replace(b"!", b"!!"),
    EMPTY[:-2],
    MANY_RESPONSE[:-2],
    CHUNKED_RESPONSE[:-2],
]


@pytest.mark.parametrize("way", [whole, in_pieces])
@pytest.mark.parametrize(("make", "bad"), [(RequestParser, BAD), (ResponseParser, BAD_RESPONSES)])
def test_errors(make, bad, way):
    """Also parsers that are dropped in the middle of a head, with memory of their own."""

    def work(times):
        for _ in range(times // len(bad)):
            for raw in bad:
                parser = make()
                try:
                    way(parser, raw)
                    parser.close()
                except ParserError:
                    continue
                raise AssertionError(raw)

    assert_flat(work, TIMES)


@pytest.mark.parametrize(
    ("make", "line", "many"), [(RequestParser, "POST / HTTP/1.1", MANY), (ResponseParser, OK, MANY_RESPONSE)]
)
def test_memory_of_its_own(make, line, many):
    """What the parser allocates in C: heads in pieces, many fields, trailers, many chunks in one read."""
    chunks = request(line, HOST, "Transfer-Encoding: chunked", body=b"1\r\nx\r\n" * 500 + b"0\r\nX: ")
    trailer = b"y" * 5000 + b"\r\n\r\n"
    bad_trailer = b"y" * 5000 + b"\x00"

    def work(times):
        parser = make()
        for _ in range(times):
            in_pieces(parser, many)
            parser.feed(chunks)
            assert parser.feed(trailer)[-1] is END
            broken = make()
            broken.feed(chunks)
            with pytest.raises(ParserError):
                broken.feed(bad_trailer)
            make().feed(many[:-10])  # dropped in its head

    assert_flat(work, TIMES // 10)


# Fields that a parser shares, and the events of each.
SHARING = {
    RequestParser: request(
        "PUT / HTTP/1.1", HOST, "Accept: */*", "Content-Length: 0", "Connection: upgrade", "Upgrade: x"
    ),
    ResponseParser: response("HTTP/1.1 204 ", "Accept: */*", "Connection: upgrade", "Upgrade: x"),
}


@pytest.mark.parametrize("make", SHARING)
def test_shared_objects_keep_their_counts(make):
    """Names, methods and versions are shared by all heads; a count that drifts ends in a crash."""
    parser = make()
    head = parser.feed(SHARING[make])[0]
    shared = [b"", END, UPGRADE, None, True, False, type(head), head.http_version, *(name for name, _ in head.headers)]
    shared += [pair for pair in head.headers if pair[0] == b"accept"]
    shared.append(head.method if make is RequestParser else head.status)
    assert_counts_stay(shared, lambda: parser.feed(SHARING[make]))


@pytest.mark.parametrize(("make", "bad"), [(RequestParser, BAD), (ResponseParser, BAD_RESPONSES)])
def test_shared_objects_keep_their_counts_in_errors(make, bad):
    def fail():
        for raw in bad:
            parser = make()
            with pytest.raises(ParserError):
                parser.feed(raw)
                parser.close()

    names = [name for name, _ in RequestParser().feed(GET)[0].headers]
    assert_counts_stay([b"", END, None, make, type(RequestParser().feed(GET)[0]), *names], fail, TIMES // len(bad))


def assert_counts_stay(shared, work, times=TIMES):
    work()
    before = [sys.getrefcount(item) for item in shared]
    for _ in range(times):
        work()
    gc.collect()
    after = [sys.getrefcount(item) for item in shared]
    for item, old, new in zip(shared, before, after, strict=True):
        assert abs(new - old) < 100, item


def test_known_names_are_shared_and_others_are_not_kept():
    one, other = (RequestParser().feed(GET)[0].headers for _ in range(2))
    assert one[0][0] is other[0][0]
    assert one[2][0] is not other[2][0] and one[2][0] == b"x-own-name"


def test_events_outlive_the_parser():
    parser = RequestParser()
    events = parser.feed(CHUNKED)
    expected = repr(events)
    parser.feed(GET)
    del parser
    gc.collect()
    assert repr(events) == expected


def test_the_events_hold_no_read():
    """A head is copied out of the read, so keeping it does not keep a whole read alive."""
    read = bytes(bytearray(GET + b"x" * 100_000))
    count = sys.getrefcount(read)
    parser = RequestParser()
    events = parser.feed(read)
    assert parser.trailing_data
    del parser
    assert sys.getrefcount(read) == count
    assert events[-1] is END
