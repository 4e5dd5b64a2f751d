"""The connection without I/O: requests in, responses out, over plain lists of bytes, with h11 as the judge."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import pytest
from esg_parser import END, RequestHead, Trailers
from esg_protocols.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from esg_protocols.http1 import HTTPConnection, Reading, Writing
from esg_protocols.settings import Settings

GET = b"GET / HTTP/1.1\r\nHost: example\r\n\r\n"
POST = b"POST /form HTTP/1.1\r\nHost: example\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: example\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECT = b"POST / HTTP/1.1\r\nHost: example\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"

Judge = Callable[..., Any]


def asked(request: bytes = GET, **options: Any) -> HTTPConnection:
    connection = HTTPConnection(**options)
    connection.receive_data(request)
    return connection


def respond(connection: HTTPConnection, body: Iterable[bytes] = (b"",), status: int = 200, headers: Any = ()) -> bytes:
    parts = list(body)
    written = connection.send_response(status, headers)
    for part in parts[:-1]:
        written += connection.send_body(part, True)
    return written + connection.send_body(parts[-1])


# -- Requests --------------------------------------------------------------------------------------------------------


def test_a_request_without_a_body() -> None:
    connection = HTTPConnection()
    assert (connection.reading, connection.writing) == (Reading.HEAD, Writing.IDLE)
    assert connection.request is None
    head, end = connection.receive_data(GET)
    assert isinstance(head, RequestHead)
    assert (head.method, head.path, end) == ("GET", "/", END)
    assert connection.request is head
    assert (connection.reading, connection.writing) == (Reading.DONE, Writing.HEAD)


def test_a_request_with_a_body_in_pieces() -> None:
    connection = HTTPConnection()
    assert len(connection.receive_data(POST + b"01")) == 2
    assert connection.reading is Reading.BODY
    assert connection.receive_data(b"234") == [b"234"]
    assert connection.receive_data(b"56789") == [b"56789", END]
    assert connection.reading is Reading.DONE


def test_a_chunked_request_with_trailers() -> None:
    connection = HTTPConnection()
    _, body, trailers, end = connection.receive_data(CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")
    assert body == b"abcde"
    assert trailers == Trailers([(b"x-sum", b"5")])
    assert end is END


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind_are_taken(kind: type) -> None:
    connection = HTTPConnection()
    events = connection.receive_data(kind(POST + b"0123456789"))
    assert events[1:] == [b"0123456789", END]


def test_byte_by_byte() -> None:
    connection, events = HTTPConnection(), []
    for i in range(len(POST)):
        events += connection.receive_data(POST[i : i + 1])
    assert [type(event) for event in events] == [RequestHead]


@pytest.mark.parametrize(
    ("limit", "request_bytes", "status"),
    [
        ({"limit_head_size": 300}, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 300, 431),
        ({"limit_header_count": 2}, b"GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\n\r\n", 431),
        ({"limit_header_size": 7}, b"GET / HTTP/1.1\r\nHost: a\r\nA: 12345\r\n\r\n", 431),
        ({"limit_target_size": 16}, b"GET /" + b"x" * 16 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    ],
)
def test_the_limits_are_those_of_the_settings(limit: dict[str, int], request_bytes: bytes, status: int) -> None:
    connection = HTTPConnection(Settings(**limit))
    with pytest.raises(RemoteProtocolError) as raised:
        connection.receive_data(request_bytes)
    assert raised.value.status == status


def test_a_request_behind_another_waits_its_turn() -> None:
    connection = asked(GET + b"GET /second HTTP/1.1\r\nHost: example\r\n\r\nGET /third HTTP/1.1\r\n")
    assert connection.receive_data(b"Host: example\r\n\r\n") == []
    respond(connection)
    head, _ = connection.next_exchange()
    assert head.path == "/second"
    respond(connection)
    head, _ = connection.next_exchange()
    assert head.path == "/third"
    respond(connection)
    assert connection.next_exchange() == []
    assert connection.request is None


def test_a_bad_request_behind_another_is_met_in_its_turn() -> None:
    connection = asked(GET + b"what is this\r\n\r\n")
    assert respond(connection).startswith(b"HTTP/1.1 200 ")
    with pytest.raises(RemoteProtocolError):
        connection.next_exchange()
    assert connection.reading is Reading.FAILED
    assert connection.send_refusal(400).startswith(b"HTTP/1.1 400 ")


def test_a_bad_body_fails_the_request() -> None:
    connection = asked(CHUNKED + b"3\r\nabc\r\n")
    with pytest.raises(RemoteProtocolError) as raised:
        connection.receive_data(b"xyz\r\n")
    assert raised.value.status == 400
    assert connection.reading is Reading.FAILED
    assert connection.writing is Writing.HEAD
    assert connection.must_close
    assert connection.receive_data(b"3\r\nabc\r\n") == []


# -- The end of the input --------------------------------------------------------------------------------------------


def test_the_end_between_requests() -> None:
    connection = HTTPConnection()
    connection.receive_eof()
    assert connection.reading is Reading.CLOSED
    assert connection.must_close
    connection.receive_eof()
    assert connection.receive_data(GET) == []


def test_the_end_behind_a_request_leaves_it_to_be_answered(judge: Judge) -> None:
    connection = asked()
    connection.receive_eof()
    (answer,), rest = judge(respond(connection, [b"still"]), ["GET"])
    assert (answer.body, rest) == (b"still", b"")
    assert connection.next_exchange() == []
    assert connection.reading is Reading.CLOSED
    assert connection.must_close


@pytest.mark.parametrize("size", range(10))
def test_the_end_inside_a_body_is_a_failure(size: int) -> None:
    connection = asked(POST + b"0123456789"[:size])
    connection.receive_eof()
    assert connection.reading is Reading.FAILED
    assert connection.must_close


def test_the_end_inside_a_head() -> None:
    connection = asked(GET[:-3])
    connection.receive_eof()
    assert connection.must_close
    assert connection.request is None


@pytest.mark.parametrize("early", [True, False], ids=["one read", "two reads"])
def test_the_end_behind_two_requests_leaves_both_to_be_answered(early: bool, judge: Judge) -> None:
    connection = asked(GET + GET) if early else asked()
    if not early:
        connection.receive_data(GET)
    connection.receive_eof()
    written = respond(connection, [b"one"])
    assert len(connection.next_exchange()) == 2
    written += respond(connection, [b"two"])
    answers, rest = judge(written, ["GET", "GET"])
    assert [answer.body for answer in answers] == [b"one", b"two"]
    assert connection.next_exchange() == []
    assert connection.must_close


@pytest.mark.parametrize("size", range(1, len(POST) + 10))
def test_the_end_inside_the_second_request(size: int) -> None:
    connection = asked(GET + (POST + b"0123456789")[:size])
    connection.receive_eof()
    respond(connection)
    connection.next_exchange()
    assert connection.reading is (Reading.CLOSED if size < len(POST) else Reading.FAILED)
    assert connection.must_close


# -- Framing ---------------------------------------------------------------------------------------------------------


def expected_response(version: str, method: str, status: int, with_length: bool, keep: bool) -> tuple[bytes, bool]:
    """What RFC 9112 sections 6.3 and 9.3 ask for, and whether the connection ends with it."""
    bodiless = method == "HEAD" or status in (204, 304)
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    body = b"" if bodiless else b"hello"
    ends = not keep
    if with_length and status != 204:
        lines.append("content-length: 5")
    if not bodiless and not with_length:
        if version == "1.1":
            lines.append("transfer-encoding: chunked")
            body = b"5\r\nhello\r\n0\r\n\r\n"
        else:
            ends = True
    if ends:
        lines.append("connection: close")
    elif version == "1.0":
        lines.append("connection: keep-alive")
    return "\r\n".join([*lines, "", ""]).encode() + body, ends


@pytest.mark.parametrize("keep", [True, False], ids=["keep", "close"])
@pytest.mark.parametrize("with_length", [True, False], ids=["length", "no-length"])
@pytest.mark.parametrize("status", [200, 204, 304, 404])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_framing(version: str, method: str, status: int, with_length: bool, keep: bool, judge: Judge) -> None:
    option = "keep-alive" if keep else "close"
    connection = asked(f"{method} / HTTP/{version}\r\nHost: a\r\nConnection: {option}\r\n\r\n".encode())
    written = respond(connection, [b"hello"], status, [(b"content-length", b"5")] if with_length else [])
    expected, ends = expected_response(version, method, status, with_length, keep)
    assert written == expected
    assert connection.must_close is ends
    assert connection.writing is Writing.DONE
    (answer,), rest = judge(written, [method], eof=ends)
    assert (answer.status, rest) == (status, b"")
    assert answer.body == (b"" if method == "HEAD" or status in (204, 304) else b"hello")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_version_has_its_own_default_of_keep_alive(version: str) -> None:
    connection = asked(f"GET / HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    respond(connection, headers=[(b"content-length", b"0")])
    assert connection.must_close is (version == "1.0")


def test_chunks_are_framed_exactly() -> None:
    connection = asked()
    assert connection.send_response(200) == b""
    assert connection.send_body(b"a" * 26, True) == (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1a\r\n" + b"a" * 26 + b"\r\n"
    )
    assert connection.send_body(b"", True) == b""
    assert connection.send_body(b"b", True) == b"1\r\nb\r\n"
    assert connection.send_body(b"c" * 0x1000, False) == b"1000\r\n" + b"c" * 0x1000 + b"\r\n0\r\n\r\n"


def test_an_empty_chunked_body() -> None:
    assert respond(asked()) == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"


def test_the_head_waits_for_the_first_body_bytes() -> None:
    connection = asked()
    assert connection.send_response(200, [(b"content-length", b"3")]) == b""
    assert connection.flush() == b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"
    assert connection.flush() == b""
    assert connection.send_body(b"abc") == b"abc"


@pytest.mark.parametrize("size", [1, 65535, 65536, 65537, 300_000])
@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("framing", ["length", "chunked", "close", "none"])
def test_large_bodies_arrive_as_they_are(size: int, pieces: int, framing: str, judge: Judge) -> None:
    method, version = "HEAD" if framing == "none" else "GET", "1.0" if framing == "close" else "1.1"
    connection = asked(f"{method} / HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    body = [bytes([65 + i]) * size for i in range(pieces)]
    headers = [(b"content-length", b"%d" % (size * pieces))] if framing == "length" else []
    written = respond(connection, body, headers=headers)
    (answer,), rest = judge(written, [method], eof=framing == "close")
    assert answer.body == (b"" if framing == "none" else b"".join(body))
    assert rest == b""


def test_a_large_body_that_stands_alone_is_not_copied() -> None:
    connection, body = asked(), b"x" * 100_000
    connection.send_response(200, [(b"content-length", b"200000")])
    connection.flush()
    assert connection.send_body(body, True) is body
    assert connection.send_body(body) is body


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_body_of_another_kind_is_copied_at_once(kind: Any) -> None:
    connection, body = asked(), bytearray(b"hello")
    connection.send_response(200, [(b"content-length", b"5")])
    written = connection.send_body(kind(body))
    body[:] = b"other"
    assert written.endswith(b"\r\n\r\nhello")


def test_a_connection_answers_many_requests(judge: Judge) -> None:
    connection, written = HTTPConnection(), b""
    methods = ["GET", "HEAD", "GET", "HEAD", "GET"]
    for method in methods:
        connection.receive_data(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        written += respond(connection, [b"hel", b"lo"])
        assert connection.next_exchange() == []
    answers, rest = judge(written, methods)
    assert [answer.body for answer in answers] == [b"hello", b"", b"hello", b"", b"hello"]
    assert rest == b""


# -- Content-Length --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([b"123456"], "6 body bytes where content-length leaves 5"),
        ([b"123", b"456"], "3 body bytes where content-length leaves 2"),
        ([b"1234"], "ended 1 bytes before"),
        ([b"123", b""], "ended 2 bytes before"),
        ([b""], "ended 5 bytes before"),
    ],
)
def test_a_body_must_have_its_length(body: list[bytes], message: str) -> None:
    connection = asked()
    with pytest.raises(LocalProtocolError, match=message):
        respond(connection, body, headers=[(b"content-length", b"5")])
    assert connection.writing is Writing.CLOSED
    assert connection.must_close
    # What is left of the response is its head; never a byte of a body that has another length.
    assert connection.flush() in (b"", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_length_of_a_body_that_is_not_sent_is_not_counted(method: str) -> None:
    connection = asked(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    status = 304 if method == "GET" else 200
    written = respond(connection, [b"any", b"thing"], status, [(b"content-length", b"5000")])
    assert written.endswith(b"content-length: 5000\r\n\r\n")


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"+1", b" 5", b"5 ", b"5,5", b"0x5", b"five", b"5.0", b"9" * 19, b"9" * 400]
)
def test_a_content_length_is_digits(value: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="content-length"):
        asked().send_response(200, [(b"content-length", value)])


def test_the_longest_content_length() -> None:
    connection = asked()
    connection.send_response(200, [(b"content-length", b"9" * 18)])
    with pytest.raises(LocalProtocolError, match=f"{'9' * 17}8 bytes before"):
        connection.send_body(b"x")


@pytest.mark.parametrize("second", [b"5", b"6"])
def test_one_content_length_only(second: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="more than one content-length"):
        asked().send_response(200, [(b"content-length", b"5"), (b"Content-Length", second)])


# -- Headers ---------------------------------------------------------------------------------------------------------


def head_of(headers: Any, request: bytes = GET, **options: Any) -> list[bytes]:
    """The lines of a response's head without the first, the blank one and the framing."""
    connection = asked(request, **options)
    connection.send_response(200, headers)
    lines = connection.flush().split(b"\r\n")
    assert lines[-2:] == [b"", b""]
    return [line for line in lines[1:-2] if not line.startswith(b"transfer-encoding")]


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-a", b"1"), (b"x-b", b"2")],
        [[b"x-a", b"1"], [b"x-b", b"2"]],
        ((b"x-a", b"1"), [b"x-b", b"2"]),
        iter([(b"x-a", b"1"), (b"x-b", b"2")]),
        {b"x-a": b"1", b"x-b": b"2"}.items(),
        (iter(pair) for pair in [(b"x-a", b"1"), (b"x-b", b"2")]),
    ],
    ids=["tuples", "lists", "mixed", "iterator", "items", "generator"],
)
def test_headers_come_in_many_shapes(headers: Any) -> None:
    assert head_of(headers) == [b"x-a: 1", b"x-b: 2"]


def test_headers_keep_their_order_case_and_repetition() -> None:
    headers = [(b"Set-Cookie", b"a=1"), (b"X-B", b""), (b"set-cookie", b"b=2"), (b"x-c", b" two  words\t")]
    assert head_of(headers) == [b"Set-Cookie: a=1", b"X-B: ", b"set-cookie: b=2", b"x-c:  two  words\t"]


@pytest.mark.parametrize("byte", [9, *range(32, 127), *range(128, 256)])
def test_bytes_that_a_value_may_hold(byte: int) -> None:
    assert head_of([(b"x", b"a" + bytes([byte]) + b"b")]) == [b"x: a" + bytes([byte]) + b"b"]


@pytest.mark.parametrize("byte", [i for i in range(32) if i != 9] + [127])
def test_bytes_that_a_value_must_not_hold(byte: int) -> None:
    refused([(b"x", b"a" + bytes([byte]) + b"b")])


TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@pytest.mark.parametrize("byte", range(256))
def test_names_are_tokens(byte: int) -> None:
    headers = [(b"a" + bytes([byte]), b"b")]
    if byte in TOKEN:
        assert head_of(headers) == [b"a" + bytes([byte]) + b": b"]
    else:
        refused(headers)


def refused(headers: Any) -> None:
    """These headers raise, nothing of them is written, and the request can still be answered."""
    connection = asked()
    with pytest.raises(LocalProtocolError):
        connection.send_response(200, headers)
    assert connection.writing is Writing.HEAD
    assert connection.flush() == b""
    assert respond(connection) == respond(asked())


@pytest.mark.parametrize(
    "headers",
    [
        [(b"", b"a")],
        [("x-a", b"1")],
        [(b"x-a", "1")],
        [(b"x-a", 1)],
        [(b"x-a", None)],
        [(bytearray(b"x-a"), b"1")],
        [(b"x-a",)],
        [(b"x-a", b"1", b"2")],
        [b"x-a"],
        [5],
        [None],
        ["x-a: 1"],
        [(b"x-a", b"good\r\nx-b: injected")],
        [(b"x-a: good\r\nx-b", b"injected")],
        [(b"x-a", b"good"), (b"x-b", b"split\r\n\r\n<html>")],
        [(b"content-length", b"5"), (b"x-b", b"\n")],
        [(b"transfer-encoding", b"gzip")],
        [(b"transfer-encoding", b"gzip, chunked")],
        [(b"transfer-encoding", b"identity")],
        [(b"Transfer-Encoding", b"")],
    ],
    ids=repr,
)
def test_headers_that_are_refused(headers: Any) -> None:
    refused(headers)


@pytest.mark.parametrize("headers", [None, 5], ids=repr)
def test_headers_that_are_no_list_are_refused(headers: Any) -> None:
    refused(headers)


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b" chunked\t"])
def test_chunked_is_what_an_app_gets_anyway(value: bytes) -> None:
    written = respond(asked(), headers=[(b"transfer-encoding", value)])
    assert written == respond(asked())


def test_a_length_wins_over_chunked(judge: Judge) -> None:
    headers = [(b"content-length", b"2"), (b"transfer-encoding", b"chunked")]
    written = respond(asked(), [b"hi"], headers=headers)
    assert written == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


def test_chunked_is_not_said_where_it_is_not_done() -> None:
    for request in (b"GET / HTTP/1.0\r\n\r\n", b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"):
        assert b"chunked" not in respond(asked(request), [b"x"], headers=[(b"transfer-encoding", b"chunked")])


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    ("value", "closes", "kept"),
    [
        (b"close", True, None),
        (b"Close", True, None),
        (b"keep-alive", False, None),
        (b"Keep-Alive, close", True, None),
        (b"upgrade", False, b"upgrade"),
        (b"close, x-hop", True, b"close, x-hop"),
        (b"", False, None),
    ],
)
def test_what_an_app_says_of_the_connection(
    value: bytes, closes: bool, kept: bytes | None, version: str, judge: Judge
) -> None:
    request = f"GET / HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n".encode()
    connection = asked(request)
    written = respond(connection, headers=[(b"content-length", b"0"), (b"connection", value)])
    assert connection.must_close is closes
    lines = [line for line in written.split(b"\r\n") if line.startswith(b"connection: ")]
    own = [b"close"] if closes else [b"keep-alive"] * (version == "1.0")
    assert lines == [b"connection: " + option for option in ([] if kept is None else [kept]) + own]
    judge(written, ["GET"], eof=closes)


def test_an_app_cannot_keep_a_connection_that_ends() -> None:
    connection = asked(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    written = respond(connection, headers=[(b"content-length", b"0"), (b"connection", b"keep-alive")])
    assert written == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def test_server_and_date_are_the_servers_unless_the_app_has_its_own() -> None:
    def written(headers: Any) -> bytes:
        connection = asked(server_line=b"server: esg\r\n")
        connection.send_response(200, [(b"content-length", b"0"), *headers], date=b"date: now\r\n")
        return connection.send_body()

    head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n"
    assert written([]) == head + b"server: esg\r\ndate: now\r\n\r\n"
    assert written([(b"Server", b"mine")]) == head + b"Server: mine\r\ndate: now\r\n\r\n"
    assert written([(b"dAtE", b"then")]) == head + b"dAtE: then\r\nserver: esg\r\n\r\n"
    assert written([(b"served", b"x"), (b"data", b"y")]) == (
        head + b"served: x\r\ndata: y\r\nserver: esg\r\ndate: now\r\n\r\n"
    )


def test_a_list_that_fails_in_the_middle_leaves_nothing_behind() -> None:
    def headers() -> Any:
        yield b"x-a", b"1"
        raise ZeroDivisionError

    connection = asked()
    with pytest.raises(ZeroDivisionError):
        connection.send_response(200, headers())
    assert respond(connection) == respond(asked())


def test_many_headers() -> None:
    headers = [(b"x-%d" % i, b"v" * i) for i in range(1000)]
    assert head_of(headers) == [b"x-%d: " % i + b"v" * i for i in range(1000)]


# -- Status ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [status for status in HTTPStatus if status >= 200])
def test_a_status_line(status: HTTPStatus) -> None:
    line = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    assert respond(asked(), status=status.value).startswith(line)
    assert respond(asked(), status=status).startswith(line)


def test_a_status_without_a_phrase(judge: Judge) -> None:
    written = respond(asked(), status=799)
    assert written.startswith(b"HTTP/1.1 799 \r\n")
    assert respond(asked(), status=799) == written
    assert judge(written, ["GET"])[0][0].status == 799


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 101, 103, 199, 1000, 10**9, "200", b"200", 200.0, None], ids=repr)
def test_a_status_that_is_none(status: Any) -> None:
    connection = asked()
    with pytest.raises(LocalProtocolError, match="status"):
        connection.send_response(status)
    assert respond(connection) == respond(asked())


def test_a_status_that_is_far_too_large() -> None:
    with pytest.raises(LocalProtocolError, match="status"):
        asked().send_response(10**30)


# -- What is sent when -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["text", 5, None, [b"a"]], ids=repr)
def test_a_body_is_bytes(body: Any) -> None:
    connection = asked()
    connection.send_response(200)
    with pytest.raises(LocalProtocolError, match=f"not {type(body).__name__}"):
        connection.send_body(body)
    assert connection.writing is Writing.BODY
    assert connection.send_body(b"ok").endswith(b"2\r\nok\r\n0\r\n\r\n")


def test_two_responses_to_one_request() -> None:
    connection = asked()
    connection.send_response(200)
    with pytest.raises(LocalProtocolError, match="RESPONSE must not be sent when writing is BODY"):
        connection.send_response(200)
    connection.send_body(b"")
    with pytest.raises(LocalProtocolError, match="when writing is DONE"):
        connection.send_response(200)


def test_a_body_before_its_head() -> None:
    with pytest.raises(LocalProtocolError, match="DATA must not be sent when writing is HEAD"):
        asked().send_body(b"x")


def test_a_response_to_nothing() -> None:
    with pytest.raises(LocalProtocolError, match="when writing is IDLE"):
        HTTPConnection().send_response(200)


def test_the_errors_are_what_one_may_catch() -> None:
    with pytest.raises(RuntimeError) as raised:
        HTTPConnection().send_response(200)
    assert isinstance(raised.value, ProtocolError)


def test_nothing_behind_close() -> None:
    connection = asked()
    connection.close()
    connection.close()
    assert connection.must_close
    for step in (lambda: connection.send_response(200), lambda: connection.send_refusal(500)):
        with pytest.raises(LocalProtocolError, match="when writing is CLOSED"):
            step()


def test_close_after_response(judge: Judge) -> None:
    connection = asked()
    assert not connection.must_close
    connection.close_after_response()
    (answer,), _ = judge(respond(connection, [b"bye"]), ["GET"], eof=True)
    assert answer.header(b"connection") == b"close"
    assert connection.must_close


def test_close_after_response_when_its_head_is_out() -> None:
    connection = asked()
    connection.send_response(200)
    connection.close_after_response()
    assert b"connection" not in connection.send_body(b"")
    assert connection.must_close


def test_nothing_follows_the_last_response() -> None:
    connection = asked(GET + GET)
    connection.close_after_response()
    respond(connection)
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="the connection ends with this response"):
            connection.next_exchange()
    assert (connection.reading, connection.writing) == (Reading.DONE, Writing.DONE)


# -- 100 Continue ----------------------------------------------------------------------------------------------------


def test_continue_is_said_once(judge: Judge) -> None:
    connection = asked(EXPECT)
    written = connection.send_continue()
    assert written == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert connection.send_continue() == b""
    assert connection.receive_data(b"0123456789") == [b"0123456789", END]
    (answer,), rest = judge(written + respond(connection, [b"ok"]), ["POST"])
    assert answer.informational == (100,)
    assert not connection.must_close


@pytest.mark.parametrize("fields", [b"Content-Length: 0\r\n", b""], ids=["empty", "none"])
def test_continue_for_no_body_costs_nothing(judge: Judge, fields: bytes) -> None:
    connection = asked(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + fields + b"\r\n")
    assert connection.send_continue() == b""
    judge(respond(connection), ["POST"])
    assert not connection.must_close
    assert connection.next_exchange() == []


def test_continue_is_not_said_unasked() -> None:
    assert HTTPConnection().send_continue() == b""
    assert asked(POST).send_continue() == b""
    assert asked(EXPECT.replace(b"HTTP/1.1", b"HTTP/1.0")).send_continue() == b""


def test_continue_is_not_said_when_the_body_is_here_already() -> None:
    connection = asked(EXPECT + b"0")
    assert connection.send_continue() == b""
    connection.receive_data(b"123456789")
    respond(connection)
    assert not connection.must_close


def test_continue_is_not_said_behind_the_response() -> None:
    connection = asked(EXPECT)
    connection.send_response(417)
    assert connection.send_continue() == b""


def test_an_answer_instead_of_continue_ends_the_connection(judge: Judge) -> None:
    connection = asked(EXPECT)
    (answer,), _ = judge(respond(connection, status=413), ["POST"], eof=True)
    assert answer.header(b"connection") == b"close"
    assert connection.must_close


# -- Refusals --------------------------------------------------------------------------------------------------------


def refusal(connection: HTTPConnection, request: bytes) -> bytes:
    with pytest.raises(RemoteProtocolError) as raised:
        connection.receive_data(request)
    return connection.send_refusal(raised.value.status, b"date: now\r\n")


def test_a_refusal_is_a_whole_response(judge: Judge) -> None:
    connection = HTTPConnection(server_line=b"server: esg\r\n")
    written = refusal(connection, b"GET / HTTP/1.1\r\n\r\n")
    assert written == (
        b"HTTP/1.1 400 Bad Request\r\nserver: esg\r\ndate: now\r\ncontent-type: text/plain; charset=utf-8\r\n"
        b"connection: close\r\ncontent-length: 11\r\n\r\nBad Request"
    )
    assert connection.writing is Writing.CLOSED
    assert connection.must_close
    (answer,), rest = judge(written, ["GET"], eof=True)
    assert (answer.body, rest) == (b"Bad Request", b"")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: a miracle\r\n\r\n", 417),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    ],
)
def test_a_refusal_has_the_status_of_its_error(request_bytes: bytes, status: int, judge: Judge) -> None:
    (answer,), _ = judge(refusal(HTTPConnection(), request_bytes), ["GET"], eof=True)
    assert answer.status == status
    assert answer.body == HTTPStatus(status).phrase.encode()


def test_a_refusal_within_an_exchange(judge: Judge) -> None:
    (answer,), _ = judge(asked().send_refusal(500), ["GET"], eof=True)
    assert (answer.status, answer.body) == (500, b"Internal Server Error")


def test_a_refused_head_request_gets_no_body(judge: Judge) -> None:
    (answer,), rest = judge(asked(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").send_refusal(500), ["HEAD"], eof=True)
    assert (answer.status, answer.header(b"content-length"), rest) == (500, b"21", b"")


@pytest.mark.parametrize(
    "bad",
    [
        b"HEAD /" + b"a" * 20_000,
        b"HEAD /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD / HTTP/2.0\r\n",
        b"HEAD / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    ],
    ids=["target", "character", "version", "field", "head", "chunk"],
)
@pytest.mark.parametrize("size", [1, 100_000], ids=["bytewise", "whole"])
def test_a_head_request_that_is_bad_gets_no_body(bad: bytes, size: int, judge: Judge) -> None:
    connection = HTTPConnection()
    with pytest.raises(RemoteProtocolError) as raised:
        for at in range(0, len(bad), size):
            connection.receive_data(bad[at : at + size])
    (answer,), rest = judge(connection.send_refusal(raised.value.status), ["HEAD"], eof=True)
    assert (answer.status, answer.body, rest) == (raised.value.status, b"", b"")
    assert answer.header(b"content-length") != b"0"


def test_a_head_request_that_does_not_come_whole_gets_no_body(judge: Judge) -> None:
    connection = HTTPConnection()
    connection.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HT")
    written = respond(connection)
    connection.next_exchange()
    answers, rest = judge(written + connection.send_refusal(408), ["GET", "HEAD"], eof=True)
    assert (answers[1].status, rest) == (408, b"")


def test_a_refusal_behind_a_head_request_has_its_body(judge: Judge) -> None:
    connection = asked(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    written = respond(connection)
    connection.next_exchange()
    written += refusal(connection, b"nonsense\r\n\r\n")
    answers, rest = judge(written, ["HEAD", "GET"], eof=True)
    assert answers[1].body.startswith(HTTPStatus(answers[1].status).phrase.encode())
    assert rest == b""


def test_a_status_that_does_not_exist_cannot_refuse() -> None:
    connection = asked()
    with pytest.raises(ValueError):
        connection.send_refusal(299)
    assert connection.send_refusal(400)


@pytest.mark.parametrize("state", ["body", "done"])
def test_a_response_that_has_begun_cannot_be_refused(state: str) -> None:
    connection = asked()
    connection.send_response(200)
    if state == "done":
        connection.send_body()
    with pytest.raises(LocalProtocolError, match="REFUSAL must not be sent"):
        connection.send_refusal(500)


# -- Everything together ---------------------------------------------------------------------------------------------

BODIES = [[b""], [b"hello"], [b"", b"hello", b""], [b"a" * 100, b"b" * 70_000, b"c"]]


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_h11_agrees_on_a_whole_conversation(step: int, judge: Judge) -> None:
    methods, bodies, requests = [], [], b""
    for method, body in itertools.product(["GET", "HEAD", "POST"], BODIES):
        methods.append(method)
        bodies.append(body)
        requests += f"{method} / HTTP/1.1\r\nHost: a\r\n".encode()
        requests += b"Content-Length: 3\r\n\r\nabc" if method == "POST" else b"\r\n"
    connection, written, waiting = HTTPConnection(), b"", iter(bodies)
    for i in range(0, len(requests), step):
        events = connection.receive_data(requests[i : i + step])
        while END in events:
            written += respond(connection, next(waiting))
            events = connection.next_exchange()
    answers, rest = judge(written, methods)
    assert rest == b""
    for answer, method, body in zip(answers, methods, bodies, strict=True):
        assert answer.body == (b"" if method == "HEAD" else b"".join(body))


def test_a_connection_imports_no_event_loop() -> None:
    import subprocess

    code = "import esg_protocols.http1, sys; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- Bytes that leave by another way, trailers, early hints ------------------------------------------------------------


@pytest.mark.parametrize("length", [b"10", None], ids=["length", "chunked"])
def test_a_file_in_parts(length: bytes | None, judge: Judge) -> None:
    connection = asked()
    written = connection.send_response(200, [(b"content-length", length)] if length else [])
    assert connection.carries_body
    written += connection.begin_file(3, True) + b"abc" + connection.end_file()
    written += connection.send_body(b"de", True)
    written += connection.begin_file(0, True) + connection.end_file()
    written += connection.begin_file(5) + b"fghij" + connection.end_file()
    (answer,), rest = judge(written, ["GET"])
    assert (answer.body, rest) == (b"abcdefghij", b"")
    assert connection.writing is Writing.DONE


def test_a_file_for_head(judge: Judge) -> None:
    connection = asked(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    written = connection.send_response(200, [(b"content-length", b"7")])
    assert not connection.carries_body
    written += connection.begin_file(7) + connection.end_file()
    (answer,), rest = judge(written, ["HEAD"])
    assert (answer.header(b"content-length"), rest) == (b"7", b"")


@pytest.mark.parametrize(("size", "more"), [(11, True), (11, False), (9, False)])
def test_a_file_of_another_length(size: int, more: bool) -> None:
    connection = asked()
    connection.send_response(200, [(b"content-length", b"10")])
    with pytest.raises(LocalProtocolError, match="content-length"):
        connection.begin_file(size, more)
    assert connection.writing is Writing.CLOSED


def test_nothing_but_its_end_behind_the_beginning_of_a_file() -> None:
    connection = asked()
    connection.send_response(200)
    connection.begin_file(3)
    for step in (
        lambda: connection.send_body(b"x"),
        lambda: connection.begin_file(3),
        lambda: connection.send_trailers(),
        lambda: connection.send_response(200),
        lambda: connection.send_early_hint([]),
    ):
        with pytest.raises(LocalProtocolError, match="when writing is FILE"):
            step()
    assert connection.end_file() == b"\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("te", "sent"),
    [
        (b"TE: trailers\r\n", True),
        (b"te:gzip;q=1 ,  TRAILERS\t\r\n", True),
        (b"TE: gzip\r\nTE: trailers\r\n", True),
        (b"TE: trailersx\r\n", False),
        (b"X-TE: trailers\r\n", False),
        (b"", False),
    ],
)
def test_trailers_leave_for_who_asked(te: bytes, sent: bool) -> None:
    connection = asked(b"GET / HTTP/1.1\r\nHost: a\r\n" + te + b"\r\n")
    connection.send_response(200, trailers=True)
    assert connection.send_body(b"abc").endswith(b"\r\n\r\n3\r\nabc\r\n")
    assert connection.writing is Writing.TRAILERS
    assert connection.send_trailers([(b"a", b"1")], True) == b""
    assert connection.send_trailers([(b"b", b"2")]) == (b"0\r\na: 1\r\nb: 2\r\n\r\n" if sent else b"0\r\n\r\n")
    assert connection.writing is Writing.DONE
    assert connection.next_exchange() == []


@pytest.mark.parametrize("more", [True, False])
@pytest.mark.parametrize("size", [10, 100_000], ids=["small", "large"])
def test_a_body_before_trailers(size: int, more: bool, judge: Judge) -> None:
    """Copied or not, its last chunk waits for them."""
    connection = asked()
    written = connection.send_response(200, trailers=True)
    written += connection.send_body(b"x" * size, more)
    if more:
        written += connection.send_body()
    written += connection.send_trailers()
    (answer,), rest = judge(written, ["GET"])
    assert (answer.body, rest) == (b"x" * size, b"")


def test_an_early_hint_goes_before_a_head_that_is_held_back() -> None:
    connection = asked()
    assert connection.send_early_hint([b"<a>"]) == b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n"
    connection.send_response(200)
    assert connection.send_early_hint((b"<b>", b"<c>")).count(b"link: ") == 2
    assert connection.flush().startswith(b"HTTP/1.1 200 OK")
    assert connection.send_early_hint([b"<d>"]) == b""
    connection.send_body()
    with pytest.raises(LocalProtocolError, match="INFORMATIONAL must not be sent when writing is DONE"):
        connection.send_early_hint([])


@pytest.mark.parametrize("status", [200, 204, 299])
def test_no_success_to_connect(status: int) -> None:
    """Behind it there would be a tunnel (RFC 9110 section 9.3.6), and requests that no proxy has seen."""
    connection = asked(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n" + GET)
    with pytest.raises(LocalProtocolError, match="to CONNECT would begin a tunnel"):
        connection.send_response(status)
    assert respond(connection, [b"no"], 405).startswith(b"HTTP/1.1 405")
    head, _ = connection.next_exchange()
    assert head.method == "GET"
