"""Responses that are accepted, event by event; what the method, a switch and the end of the input do."""

from __future__ import annotations

import pytest
from esg_parser import (
    END,
    UPGRADE,
    ContentTooLarge,
    HeadTooLarge,
    MalformedMessage,
    ParserError,
    ResponseHead,
    ResponseParser,
    Trailers,
    UnsupportedFeature,
    UnsupportedVersion,
)

from .feeding import NEXT_RESPONSE, Outcome, feed, feed_pieces, messages_of, outcome_of, parse, parser_for, response

CHUNKED = "Transfer-Encoding: chunked"
OK = "HTTP/1.1 200 OK"
EMPTY = response(OK, "Content-Length: 0")
HELLO = response(OK, "Content-Length: 5", body=b"hello")
TO_THE_END = response(OK)
SWITCH = response("HTTP/1.1 101 Go", "Connection: upgrade", "Upgrade: x")
CONTINUE = response("HTTP/1.1 100 Continue")
# The exact words.
AFTER_ERROR = "^feed was called after an error, or while it was running$"
AFTER_SWITCH = "^feed was called after the connection was given to another protocol$"
AFTER_END = "^feed was called after the end of the input$"


# -- Heads ---------------------------------------------------------------------------------------------------


def test_every_field_of_a_head():
    raw = response(
        "HTTP/1.1 404 Not Found", "Date: now", "X-Thing:  a b\t", "Set-Cookie: a", "Content-Length: 2", body=b"hi"
    )
    message = parse(raw, "GET")
    assert message.head == ResponseHead(
        status=404,
        reason=b"Not Found",
        http_version="1.1",
        headers=[(b"date", b"now"), (b"x-thing", b"a b"), (b"set-cookie", b"a"), (b"content-length", b"2")],
        upgrade=None,
        content_length=2,
        chunked=False,
        keep_alive=True,
    )
    assert message.body == b"hi"


def test_types_of_a_head():
    head, end = ResponseParser().feed(EMPTY)
    assert type(head) is ResponseHead and isinstance(head, tuple)
    assert type(head.status) is int and type(head.reason) is bytes
    assert type(head.headers) is list and all(type(pair) is tuple for pair in head.headers)
    assert type(head.keep_alive) is type(head.chunked) is bool
    assert end is END


@pytest.mark.parametrize("status", [100, 102, 199, 200, 299, 399, 400, 599, 600, 999])
def test_statuses(status):
    assert parse(response(f"HTTP/1.1 {status} x", "Content-Length: 0"), "GET").head.status == status


@pytest.mark.parametrize("reason", ["", "x", " ", " x ", "\t", "Not Found", "\xe9", "x" * 300])
def test_reasons(reason):
    """As it was sent, as it is no field value."""
    assert parse(response(f"HTTP/1.1 200 {reason}", "Content-Length: 0"), "GET").head.reason == reason.encode("latin-1")


@pytest.mark.parametrize(("sent", "told"), [("1.0", "1.0"), ("1.1", "1.1"), ("1.2", "1.1"), ("1.9", "1.1")])
def test_versions(sent, told):
    head = parse(response(f"HTTP/{sent} 204 x"), "GET").head
    assert (head.http_version, head.keep_alive) == (told, told == "1.1")


@pytest.mark.parametrize(
    ("connection", "in_1_0", "in_1_1"),
    [
        ([], False, True),
        (["close"], False, False),
        (["Keep-Alive"], True, True),
        (["x ,\tkeep-alive"], True, True),
        (["keep-alive, close"], False, False),
        (["keep-alive", "close"], False, False),
        (["closed"], False, True),
        ([""], False, True),
    ],
)
@pytest.mark.parametrize("extra", [[], ["Proxy-Connection: close"], ["Proxy-Connection: keep-alive"]])
def test_keep_alive(connection, in_1_0, in_1_1, extra):
    fields = [f"Connection: {value}" for value in connection] + extra
    for line, alive in (("HTTP/1.0 200 OK", in_1_0), ("HTTP/1.1 200 OK", in_1_1)):
        assert parse(response(line, "Content-Length: 0", *fields), "GET").head.keep_alive is alive
        # Without a length the connection is the end of the body.
        assert feed_pieces([response(line, *fields)], answers="GET").messages[0].head.keep_alive is False


# -- Events --------------------------------------------------------------------------------------------------


def test_interim_responses_and_the_final_one():
    parser = ResponseParser()
    head, end = parser.feed(CONTINUE + response("HTTP/1.1 103 Early Hints", "Link: </a>") + HELLO)
    assert (head.status, end) == (100, END)
    head, end = parser.feed(b"")
    assert (head.status, head.headers, end) == (103, [(b"link", b"</a>")], END)
    head, body, end = parser.feed(b"")
    assert (head.status, body, end) == (200, b"hello", END)
    assert parser.trailing_data == b"" and parser.close() == []


def test_events_of_one_read():
    raw = response(OK, CHUNKED, body=b"1\r\na\r\n2\r\nbc\r\n0\r\nX: y\r\n\r\n")
    head, body, trailers, end = ResponseParser().feed(raw)
    assert (type(head), body, trailers, end) == (ResponseHead, b"abc", Trailers([(b"x", b"y")]), END)


def test_events_of_many_reads():
    parser = ResponseParser()
    assert parser.feed(HELLO[:20]) == []
    (head,) = parser.feed(HELLO[20:-5])
    assert head.content_length == 5
    assert parser.feed(b"") == []
    assert parser.feed(b"he") == [b"he"]
    assert parser.feed(b"llo") == [b"llo", END]


@pytest.mark.parametrize("fields", [["Content-Length: 6"], [], [CHUNKED]])
def test_a_read_that_is_all_body_is_not_copied(fields):
    parser = ResponseParser()
    parser.feed(response(OK, *fields, body=b"6\r\n" if fields == [CHUNKED] else b""))
    read = b"x" * 3
    (body,) = parser.feed(read)
    assert body is read


def test_feed_stops_behind_each_message():
    parser = ResponseParser()
    assert parser.feed(EMPTY + NEXT_RESPONSE)[-1] is END
    assert parser.trailing_data == NEXT_RESPONSE and parser.pending()
    assert parser.feed(b"")[0].status == 404
    assert parser.trailing_data == b"" and not parser.pending()


def test_pipelining():
    chunked = response(OK, CHUNKED, body=b"1\r\nx\r\n0\r\nA: b\r\n\r\n")
    outcome = outcome_of(HELLO + chunked + CONTINUE + HELLO, answers="GET")
    assert outcome.failure is None
    assert [message.body for message in outcome.messages] == [b"hello", b"x", b"", b"hello"]
    assert outcome.messages[1].trailers == [(b"a", b"b")]


@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda raw: memoryview(bytearray(raw + raw))[: len(raw)]])
def test_other_bytes(kind):
    assert messages_of(feed(ResponseParser(), kind(HELLO))) == feed_pieces([HELLO], answers="GET").messages


@pytest.mark.parametrize("data", ["HTTP", None, 1, [1]])
def test_not_bytes(data):
    parser = ResponseParser()
    with pytest.raises(TypeError):
        parser.feed(data)
    assert len(parser.feed(EMPTY)) == 2


def test_nothing_carries_over():
    alone = feed_pieces([EMPTY], answers="GET").messages
    for before in (
        response("HTTP/1.0 404 Odd", "Connection: keep-alive", "Content-Length: 1", body=b"x"),
        response(OK, CHUNKED, body=b"1\r\nx\r\n0\r\nConnection: close\r\n\r\n"),
        response("HTTP/1.1 304 Same", "Content-Length: 7", "Connection: close, upgrade", "Upgrade: x"),
        CONTINUE,
    ):
        assert outcome_of(before + EMPTY, answers="GET").messages[1:] == alone


# -- The method ----------------------------------------------------------------------------------------------


def test_method():
    parser = ResponseParser()
    assert parser.method == "GET"
    parser.method = "HEAD"
    assert parser.method == "HEAD"


@pytest.mark.parametrize("value", [None, b"HEAD", 1, ["HEAD"]])
def test_method_of_another_type(value):
    parser = ResponseParser()
    parser.method = "HEAD"
    with pytest.raises(TypeError):
        parser.method = value
    assert parser.method == "HEAD"


def test_method_is_not_deleted():
    with pytest.raises((AttributeError, NotImplementedError)):
        del ResponseParser().method


@pytest.mark.parametrize("method", ["", "GET", "head", "Connect", "POST", "HEAD ", "\ud800", "X" * 1000])
def test_other_methods_have_ordinary_responses(method):
    """Methods are case-sensitive (RFC 9110 section 9.1)."""
    parser = parser_for(method)
    assert parser.method == method
    assert parser.feed(HELLO)[1:] == [b"hello", END]


def test_method_holds_until_it_is_set():
    parser = parser_for("HEAD")
    for _ in range(2):
        head, end = parser.feed(CONTINUE)
        head, end = parser.feed(response(OK, "Content-Length: 5"))
        assert (head.content_length, end) == (5, END)
    parser.method = "GET"
    assert parser.feed(HELLO)[1:] == [b"hello", END]


def test_method_counts_where_the_head_ends():
    parser = ResponseParser()
    head = response(OK, "Content-Length: 5")
    parser.feed(head[:-1])
    parser.method = "HEAD"
    assert parser.feed(head[-1:])[1] is END
    parser.method = "GET"
    parser.feed(head)
    parser.method = "HEAD"  # too late for this one
    assert parser.feed(b"hello") == [b"hello", END]
    assert parser.feed(head)[1] is END


def test_each_response_of_a_pipeline_has_its_method():
    parser = ResponseParser()
    head = response(OK, "Content-Length: 5")
    parser.method = "HEAD"
    assert len(parser.feed(head + HELLO)) == 2
    parser.method = "GET"
    assert parser.feed(b"")[1:] == [b"hello", END]


# -- Another protocol ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [b"", b"\x81\x05hello", NEXT_RESPONSE])
def test_101(tail):
    parser = ResponseParser()
    head, upgrade, end = parser.feed(SWITCH + tail)
    assert (head.status, head.upgrade, upgrade, end) == (101, b"x", UPGRADE, END)
    assert parser.trailing_data == tail and parser.pending() is bool(tail)
    for data in (b"", NEXT_RESPONSE):
        with pytest.raises(RuntimeError, match=AFTER_SWITCH):
            parser.feed(data)
    assert parser.trailing_data == tail and parser.close() == []


@pytest.mark.parametrize("status", [200, 204, 205, 299])
@pytest.mark.parametrize("fields", [[], ["Content-Length: 5"], [CHUNKED], ["Transfer-Encoding: gzip"]])
def test_connect_that_succeeds(status, fields):
    parser = parser_for("CONNECT")
    head, upgrade, end = parser.feed(response(f"HTTP/1.1 {status} Fine", *fields, body=b"\x16\x03\x01"))
    assert (head.status, upgrade, end) == (status, UPGRADE, END)
    assert head.chunked is (fields == [CHUNKED])
    assert parser.trailing_data == b"\x16\x03\x01"
    with pytest.raises(RuntimeError, match=AFTER_SWITCH):
        parser.feed(b"")


@pytest.mark.parametrize("status", [300, 304, 407, 502])
def test_connect_that_fails(status):
    parser = parser_for("CONNECT")
    events = parser.feed(response(f"HTTP/1.1 {status} No", "Content-Length: 0") + NEXT_RESPONSE)
    assert UPGRADE not in events
    assert parser.feed(b"")[0].status == 404


def test_upgrade_behind_an_interim_response():
    parser = ResponseParser()
    assert len(parser.feed(CONTINUE + SWITCH + b"more")) == 2
    assert parser.feed(b"")[1:] == [UPGRADE, END]
    assert parser.trailing_data == b"more"


@pytest.mark.parametrize("upgrade", ["h2c, x/1", "TLS/1.0"])
def test_an_offer_is_no_switch(upgrade):
    parser = ResponseParser()
    head, end = parser.feed(response(OK, "Content-Length: 0", "Connection: upgrade", f"Upgrade: {upgrade}"))
    assert head.upgrade == upgrade.lower().encode() and end is END
    assert parser.feed(NEXT_RESPONSE)[-1] is END


# -- The end of the input ------------------------------------------------------------------------------------


def test_close_ends_a_body():
    parser = ResponseParser()
    (head,) = parser.feed(TO_THE_END)
    assert head.content_length is None and not head.chunked and not head.keep_alive
    assert parser.feed(b"a") == [b"a"]
    assert parser.feed(NEXT_RESPONSE) == [NEXT_RESPONSE]
    assert parser.close() == [END]
    assert parser.close() == []
    for data in (b"", b"x", NEXT_RESPONSE):
        with pytest.raises(RuntimeError, match=AFTER_END):
            parser.feed(data)
    assert parser.trailing_data == b""


def test_close_ends_an_empty_body():
    parser = ResponseParser()
    parser.feed(TO_THE_END)
    assert parser.close() == [END]


@pytest.mark.parametrize("raw", [b"", EMPTY, HELLO, CONTINUE, SWITCH, EMPTY + HELLO])
def test_close_between_messages(raw):
    parser = ResponseParser()
    list(feed(parser, raw))
    assert parser.close() == []
    assert parser.close() == []


def test_close_with_trailing_data():
    """It is the caller's to parse first; close is about the message that is being read."""
    parser = ResponseParser()
    parser.feed(EMPTY + NEXT_RESPONSE[:9])
    assert parser.close() == []
    assert parser.trailing_data == NEXT_RESPONSE[:9]


@pytest.mark.parametrize(
    "raw",
    [
        response(OK, CHUNKED, body=b"2\r\nhi\r\n0\r\nX: y\r\n\r\n"),
        HELLO,
        CONTINUE,
    ],
)
def test_close_inside_a_message(raw):
    for i in range(1, len(raw)):
        parser = ResponseParser()
        parser.feed(raw[:i])
        with pytest.raises(MalformedMessage) as caught:
            parser.close()
        assert (caught.value.status, caught.value.offset) == (502, i)
        assert caught.value.reason == "the input ended inside a message"
        with pytest.raises(RuntimeError, match=AFTER_ERROR):
            parser.feed(raw[i:])
        assert parser.close() == []  # told once


def test_close_inside_the_head_of_a_body_to_the_end():
    parser = ResponseParser()
    parser.feed(TO_THE_END[:-1])
    with pytest.raises(MalformedMessage):
        parser.close()


# -- Errors --------------------------------------------------------------------------------------------------

BAD = {
    MalformedMessage: b"\x00",
    ContentTooLarge: response(OK, "Content-Length: 11"),
    HeadTooLarge: response(OK, "X: y", "X: y", "X: y"),
    UnsupportedFeature: response(OK, "Transfer-Encoding: gzip, chunked"),
    UnsupportedVersion: response("HTTP/2.0 200 OK"),
}


@pytest.mark.parametrize("kind", BAD)
def test_every_kind_says_502(kind):
    parser = ResponseParser(max_headers=2, max_body_size=10)
    with pytest.raises(ParserError) as caught:
        parser.feed(BAD[kind])
    assert type(caught.value) is kind and caught.value.status == 502
    assert kind.status != 502  # that of requests stays
    for data in (b"", NEXT_RESPONSE):
        with pytest.raises(RuntimeError, match=AFTER_ERROR):
            parser.feed(data)
    assert parser.close() == [] and parser.trailing_data == b""


def test_what_an_error_says():
    with pytest.raises(MalformedMessage) as caught:
        ResponseParser().feed(response("HTTP/1.1 099 Low"))
    error = caught.value
    assert (error.reason, error.offset) == ("a status code below 100", 9)
    assert str(error) == "a status code below 100 (at byte 9)"


@pytest.mark.parametrize(
    ("raw", "offset"),
    [
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", 0),
        (response("HTTP/1.1  200 OK"), 9),
        (response("HTTP/1.1 200"), 12),
        (response("HTTP/1.1 200 a\x00b"), 14),
        (response(OK, "X: \x00"), 20),
        (response(OK, "Transfer-Encoding: gzip, chunked"), 36),
        (response(OK, CHUNKED, body=b"0\r\nTransfer-Encoding: chunked\r\n\r\n"), 50),
        (response("HTTP/1.1 101 Go", "X: y"), 21),
    ],
)
def test_offset(raw, offset):
    outcome = outcome_of(raw, answers="GET")
    assert outcome.failure.offset == offset
    again = outcome_of(NEXT_RESPONSE + raw, answers="GET")
    assert again == Outcome(feed_pieces([NEXT_RESPONSE], answers="GET").messages, outcome.failure)


def test_a_reason_has_no_byte_of_the_input():
    mark = "zqzq"
    for raw in (
        response(f"{mark}/1.1 200 OK"),
        response(f"HTTP/1.{mark} 200 OK"),
        response(f"HTTP/1.1 {mark} OK"),
        response(f"HTTP/1.1 200 {mark}\x00"),
        response(OK, f"{mark} : {mark}"),
        response(OK, f"{mark}: \x00{mark}"),
        response(OK, f"Transfer-Encoding: {mark}, chunked"),
        response(OK, f"Content-Length: {mark}"),
        response(OK, CHUNKED, body=mark.encode()),
        response("HTTP/1.1 101 Go", f"Upgrade: {mark}"),
    ):
        with pytest.raises(ParserError) as caught:
            ResponseParser().feed(raw)
        assert mark not in str(caught.value) and caught.value.reason.isascii() and caught.value.reason.isprintable()


def test_messages_before_the_bad_one_stand():
    parser = ResponseParser()
    assert len(parser.feed(EMPTY + b"BAD")) == 2
    with pytest.raises(MalformedMessage):
        parser.feed(b"")
