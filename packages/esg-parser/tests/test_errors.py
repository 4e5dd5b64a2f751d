"""The errors: what they carry, and that nothing comes behind one."""

from __future__ import annotations

import esg_parser
import pytest
from esg_parser import (
    ContentTooLarge,
    ExpectationFailed,
    HeadTooLarge,
    MalformedMessage,
    ParserError,
    RequestParser,
    TargetTooLong,
    UnsupportedFeature,
    UnsupportedVersion,
)

from .feeding import NEXT, failure_of, request

HOST = "Host: a.example"
KINDS = {
    MalformedMessage: 400,
    ContentTooLarge: 413,
    TargetTooLong: 414,
    ExpectationFailed: 417,
    HeadTooLarge: 431,
    UnsupportedFeature: 501,
    UnsupportedVersion: 505,
}


def test_every_kind_and_its_status():
    assert {kind: kind.status for kind in ParserError.__subclasses__()} == KINDS
    assert all(getattr(esg_parser, kind.__name__) is kind for kind in KINDS)
    assert issubclass(ParserError, ValueError)


def raised_by(raw):
    with pytest.raises(ParserError) as caught:
        RequestParser().feed(raw)
    return caught.value


def test_what_an_error_says():
    error = raised_by(request("GET / HTTP/1.1", HOST, HOST))
    assert (error.status, error.reason, error.offset) == (400, "more than one Host", 33)
    assert str(error) == "more than one Host (at byte 33)"


@pytest.mark.parametrize(
    ("raw", "offset"),
    [
        (b"GET\x00/ HTTP/1.1\r\n", 3),
        (b"GET / HTTP/1.1\nHost: a\r\n", 15),
        (b"GET /\x80 HTTP/1.1\r\n", 5),
        (request("GET / HTTP/1.1", HOST, "X: \x00"), 36),
        (request("GET / HTTP/1.1", "Host: a b"), 22),
        (request("GET / HTTP/1.1", HOST, "Expect: x"), 41),
        (request("POST / HTTP/1.1", HOST, "Transfer-Encoding: gzip, chunked"), 53),
        (request("GET http://user@b.example/ HTTP/1.1", HOST), 4),
        (request("POST / HTTP/1.1", HOST, "Transfer-Encoding: chunked", body=b"2\r\nhi\r\nz\r\n"), 71),
    ],
)
def test_offset(raw, offset):
    assert failure_of(raw).offset == offset


def test_offset_of_what_is_missing_is_in_the_head():
    head = request("POST / HTTP/1.1", "Content-Length: 2")
    assert failure_of(head + b"hi").offset == failure_of(head).offset <= len(head)
    chunked = request("POST / HTTP/1.1", "Transfer-Encoding: chunked")
    assert failure_of(chunked + b"!").offset == failure_of(chunked).offset <= len(chunked)


def test_offset_starts_again_with_each_message():
    body = b"x" * 5000
    good = request("POST / HTTP/1.1", HOST, "Content-Length: 5000", body=body)
    bad = request("GET / HTTP/1.1", HOST, HOST)
    parser = RequestParser()
    parser.feed(good + bad)
    with pytest.raises(MalformedMessage) as caught:
        parser.feed(b"")
    assert caught.value.offset == 33


def test_offset_does_not_count_empty_lines_before():
    assert failure_of(b"\r\n\r\n" + request("GET / HTTP/1.1", HOST, HOST)).offset == 33


def test_offset_behind_a_big_body():
    head = request("POST / HTTP/1.1", HOST, "Transfer-Encoding: chunked")
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    parser = RequestParser()
    parser.feed(head)
    for _ in range(100):
        parser.feed(chunk)
    with pytest.raises(MalformedMessage) as caught:
        parser.feed(b"!")
    assert caught.value.offset == len(head) + 100 * len(chunk)


def test_messages_before_the_bad_one_stand():
    parser = RequestParser()
    head, _ = parser.feed(NEXT + b"BAD")
    assert head.path == "/next"
    with pytest.raises(UnsupportedFeature):
        parser.feed(b"")


def test_nothing_comes_behind_an_error():
    parser = RequestParser()
    with pytest.raises(ParserError):
        parser.feed(b"\x00")
    for data in (b"", NEXT):
        with pytest.raises(RuntimeError, match="after an error"):
            parser.feed(data)
    assert parser.trailing_data == b""
    parser.close()


def test_a_reason_has_no_byte_of_the_input():
    """It may go into a log or to the client."""
    mark = "zqzq"
    for raw in (
        request(f"{mark} / HTTP/1.1", HOST),
        request(f"GET {mark} HTTP/1.1", HOST),
        request(f"GET /{mark}# HTTP/1.1", HOST),
        request(f"GET http://{mark}@a/ HTTP/1.1", HOST),
        request(f"GET / HTTP/1.{mark}", HOST),
        request("GET / HTTP/1.1", f"Host: {mark} {mark}"),
        request("GET / HTTP/1.1", HOST, f"{mark} : {mark}"),
        request("GET / HTTP/1.1", HOST, f"{mark}: \x00{mark}"),
        request("GET / HTTP/1.1", HOST, f"Expect: {mark}"),
        request("GET / HTTP/1.1", HOST, f"Transfer-Encoding: {mark}, chunked"),
        request("GET / HTTP/1.1", HOST, f"Content-Length: {mark}"),
        request("GET / HTTP/1.1", HOST, "Transfer-Encoding: chunked", body=mark.encode()),
    ):
        error = raised_by(raw)
        assert mark not in str(error) and error.reason.isascii() and error.reason.isprintable()
