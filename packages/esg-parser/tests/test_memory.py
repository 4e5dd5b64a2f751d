"""Nothing is leaked or lost, whatever comes in and wherever it stops."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest
from esg_parser import END, ParserError, RequestParser

from .feeding import request

STATM = Path("/proc/self/statm")
HOST = "Host: a.example"
FIELDS = [HOST, "Accept: */*", "X-Own-Name: value", "Content-Type: text/plain"]
GET = request("GET /a%20b?c HTTP/1.1", *FIELDS)
CHUNKED = request(
    "POST / HTTP/1.1",
    HOST,
    "Transfer-Encoding: chunked",
    body=b"5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nX: y\r\n\r\n",
)
MANY = request("GET http://a.example/x HTTP/1.1", HOST, *["X: y"] * 60)


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
@pytest.mark.parametrize("raw", [GET, CHUNKED, MANY], ids=["get", "chunked", "many fields"])
def test_messages_on_one_connection(raw, way):
    parser = RequestParser()

    def work(times):
        for _ in range(times):
            way(parser, raw)

    assert_flat(work, 30_000)


def test_messages_behind_each_other():
    parser = RequestParser()

    def work(times):
        for _ in range(times // 50):
            parser.feed(GET * 50)
            while parser.trailing_data:
                parser.feed(b"")

    assert_flat(work, 50_000)


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


@pytest.mark.parametrize("way", [whole, in_pieces])
def test_errors(way):
    """Also parsers that are dropped in the middle of a head, with memory of their own."""

    def work(times):
        for _ in range(times // len(BAD)):
            for raw in BAD:
                parser = RequestParser()
                try:
                    way(parser, raw)
                    parser.close()
                except ParserError:
                    continue
                raise AssertionError(raw)

    assert_flat(work, 25_000)


def test_memory_of_its_own():
    """What the parser allocates in C: heads in pieces, many fields, trailers, many chunks in one read."""
    chunks = request("POST / HTTP/1.1", HOST, "Transfer-Encoding: chunked", body=b"1\r\nx\r\n" * 500 + b"0\r\nX: ")
    trailer = b"y" * 5000 + b"\r\n\r\n"
    bad_trailer = b"y" * 5000 + b"\x00"

    def work(times):
        parser = RequestParser()
        for _ in range(times):
            in_pieces(parser, MANY)
            parser.feed(chunks)
            assert parser.feed(trailer)[-1] is END
            broken = RequestParser()
            broken.feed(chunks)
            with pytest.raises(ParserError):
                broken.feed(bad_trailer)
            RequestParser().feed(MANY[:-2])  # dropped in its head

    assert_flat(work, 5000)


def test_shared_objects_keep_their_counts():
    """Names, methods and versions are shared by all heads; a count that drifts ends in a crash."""
    parser = RequestParser()
    raw = request("PUT / HTTP/1.1", HOST, "Accept: */*", "Content-Length: 0", "Connection: upgrade", "Upgrade: x")
    head = parser.feed(raw)[0]
    shared = [
        head.method,
        head.http_version,
        b"",
        END,
        None,
        True,
        False,
        *(name for name, _ in head.headers),
    ]
    before = [sys.getrefcount(item) for item in shared]
    for _ in range(20_000):
        parser.feed(raw)
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
