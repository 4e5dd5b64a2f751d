"""Requests that are accepted: what the events hold, however the bytes arrive."""

from __future__ import annotations

import pytest
from esg_parser import END, UPGRADE, MalformedMessage, ParserError, RequestHead, RequestParser, Trailers

from .feeding import NEXT, Outcome, feed, feed_pieces, messages_of, outcome_of, parse, request

HOST = "Host: a.example"
CHUNKED = "Transfer-Encoding: chunked"
GET = request("GET / HTTP/1.1", HOST)
METHODS = """
    DELETE GET HEAD POST PUT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND
    UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR
    LINK UNLINK SOURCE QUERY
"""


# -- Heads ---------------------------------------------------------------------------------------------------


def test_every_field_of_a_head():
    raw = request(
        "POST /caf%C3%A9/?q=%20 HTTP/1.1",
        HOST,
        "Accept: */*",
        "X-Thing:  a b\t",
        "Content-Length: 2",
        body=b"hi",
    )
    message = parse(raw)
    assert message.head == RequestHead(
        method="POST",
        path="/café/",
        raw_path=b"/caf%C3%A9/",
        query_string=b"q=%20",
        http_version="1.1",
        headers=[
            (b"host", b"a.example"),
            (b"accept", b"*/*"),
            (b"x-thing", b"a b"),
            (b"content-length", b"2"),
        ],
        target=b"/caf%C3%A9/?q=%20",
        authority=None,
        upgrade=None,
        content_length=2,
        chunked=False,
        keep_alive=True,
        expect_continue=False,
    )
    assert message.body == b"hi"


def test_types_of_a_head():
    (head, end) = RequestParser().feed(GET)
    assert type(head) is RequestHead and isinstance(head, tuple)
    assert type(head.headers) is list
    assert all(type(pair) is tuple and len(pair) == 2 for pair in head.headers)
    assert type(head.keep_alive) is type(head.chunked) is type(head.expect_continue) is bool
    assert end is END and repr(end) == "END"


@pytest.mark.parametrize("method", METHODS.split())
def test_methods(method):
    assert parse(request(f"{method} / HTTP/1.1", HOST)).head.method == method


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query", "authority"),
    [
        ("/", "/", b"/", b"", None),
        ("/a/b", "/a/b", b"/a/b", b"", None),
        ("/?", "/", b"/", b"", None),
        ("/??a?", "/", b"/", b"?a?", None),
        ("/a?b=/c", "/a", b"/a", b"b=/c", None),
        ("/http://b.example/", "/http://b.example/", b"/http://b.example/", b"", None),
        ("/a:b@c;d,e!$&'()*+=~", "/a:b@c;d,e!$&'()*+=~", b"/a:b@c;d,e!$&'()*+=~", b"", None),
        ("http://b.example", "/", b"/", b"", b"b.example"),
        ("http://b.example/", "/", b"/", b"", b"b.example"),
        ("http://b.example/c%20d?e", "/c d", b"/c%20d", b"e", b"b.example"),
        ("http://b.example?e/f", "/", b"/", b"e/f", b"b.example"),
        ("http://b.example/c?d=http://e.example/", "/c", b"/c", b"d=http://e.example/", b"b.example"),
        ("https://[::1]:8443/c", "/c", b"/c", b"", b"[::1]:8443"),
        ("HTTPS://B.Example:443/", "/", b"/", b"", b"B.Example:443"),
    ],
)
def test_targets(target, path, raw_path, query, authority):
    head = parse(request(f"GET {target} HTTP/1.1", HOST)).head
    assert head.target == target.encode()
    assert (head.path, head.raw_path, head.query_string, head.authority) == (path, raw_path, query, authority)


def test_asterisk_form():
    head = parse(request("OPTIONS * HTTP/1.1", HOST)).head
    assert (head.path, head.raw_path, head.query_string, head.authority) == ("*", b"*", b"", None)


def test_options_of_a_host():
    head = parse(request("OPTIONS http://b.example HTTP/1.1", HOST)).head
    assert (head.path, head.authority) == ("/", b"b.example")


@pytest.mark.parametrize("target", ["b.example:443", "[::1]:443", "192.0.2.1:80"])
def test_authority_form(target):
    head = parse(request(f"CONNECT {target} HTTP/1.1", HOST)).head
    assert (head.target, head.authority) == (target.encode(), target.encode())
    assert (head.path, head.raw_path, head.query_string) == ("", b"", b"")


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/%41%7a", "/Az"),
        ("/%C3%a9", "/é"),
        ("/%E2%82%AC%F0%9F%99%82", "/€\N{SLIGHTLY SMILING FACE}"),
        ("/%2f%3F%23%25", "/?#%".replace("/", "//")),  # decoded once, also what would be a delimiter
        ("/%252e", "/%2e"),
        ("/+", "/+"),
        ("/%00", "/\0"),
        ("/%ff", "/\ufffd"),
        ("/%c3", "/\ufffd"),
        ("/%c3x", "/\ufffdx"),
        ("/%ed%a0%80", "/\ufffd\ufffd\ufffd"),  # a surrogate
        ("/%c0%af", "/\ufffd\ufffd"),  # a slash in two bytes
        ("/%", "/%"),
        ("/%4", "/%4"),
        ("/%4g%g4%%41", "/%4g%g4%A"),
        ("/%u0041", "/%u0041"),
    ],
)
def test_percent_decoding(raw, path):
    head = parse(request(f"GET {raw}?{raw} HTTP/1.1", HOST)).head
    assert head.path == path
    assert head.raw_path == raw.encode()
    assert head.query_string == raw.encode()


def test_many_fields():
    fields = [f"X-{i}: {'v' * i}" for i in range(99)]  # more than the parser first has room for
    head = feed_pieces([request("GET / HTTP/1.1", HOST, *fields)]).messages[0].head
    assert head.headers[1:] == [(b"x-%d" % i, b"v" * i) for i in range(99)]


def test_repeated_fields_keep_their_order():
    head = parse(request("GET / HTTP/1.1", "Cookie: a", HOST, "cookie: b", "COOKIE: a")).head
    assert head.headers == [(b"cookie", b"a"), (b"host", b"a.example"), (b"cookie", b"b"), (b"cookie", b"a")]


@pytest.mark.parametrize(
    "name", ["Accept", "uSER-aGENT", "X-Request-Id", "x-request-idx", "a", "A" * 33, "Hots", "tsoH"]
)
def test_names_are_lower_cased(name):
    head = parse(request("GET / HTTP/1.1", HOST, f"{name}: x")).head
    assert head.headers[1] == (name.lower().encode(), b"x")


@pytest.mark.parametrize(("sent", "told"), [("1.0", "1.0"), ("1.1", "1.1"), ("1.2", "1.1"), ("1.9", "1.1")])
def test_versions(sent, told):
    assert parse(request(f"GET / HTTP/{sent}", HOST)).head.http_version == told


# -- What the connection does next ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("connection", "in_1_0", "in_1_1"),
    [
        ([], False, True),
        (["close"], False, False),
        (["CLOSE"], False, False),
        (["keep-alive"], True, True),
        (["Keep-Alive"], True, True),
        (["keep-alive, x"], True, True),
        (["x ,\tkeep-alive"], True, True),
        (["keep-alive, close"], False, False),
        (["close, keep-alive"], False, False),
        (["close", "keep-alive"], False, False),
        (["keep-alive", "close"], False, False),
        (["x, close"], False, False),
        (["x,close,y"], False, False),
        (["close\t"], False, False),
        ([",,close,"], False, False),
        ([""], False, True),
        (["closed"], False, True),
        (["x-close"], False, True),
        (["close x"], False, True),
        (["upgrade"], False, True),
    ],
)
def test_keep_alive(connection, in_1_0, in_1_1):
    fields = [f"Connection: {value}" for value in connection]
    assert parse(request("GET / HTTP/1.0", *fields)).head.keep_alive is in_1_0
    assert parse(request("GET / HTTP/1.1", HOST, *fields)).head.keep_alive is in_1_1


@pytest.mark.parametrize(
    ("fields", "upgrade"),
    [
        (["Connection: Upgrade", "Upgrade: WebSocket"], b"websocket"),
        (["Upgrade: websocket", "Connection: keep-alive, upgrade"], b"websocket"),
        (["Connection: upgrade", "Upgrade: h2c, x/1"], b"h2c, x/1"),
        (["Connection: upgrade", "Upgrade: a", "Upgrade: b"], b"a, b"),
        (["Connection: close, upgrade", "Upgrade: a"], b"a"),
        (["Upgrade: websocket"], None),
        (["Connection: upgrade"], None),
        (["Connection: x-upgrade", "Upgrade: websocket"], None),
        ([], None),
    ],
)
def test_upgrade(fields, upgrade):
    assert parse(request("GET / HTTP/1.1", HOST, *fields)).head.upgrade == upgrade


def test_bytes_behind_an_upgrade():
    parser = RequestParser()
    raw = request("GET / HTTP/1.1", HOST, "Connection: upgrade", "Upgrade: websocket")
    head, upgrade, end = parser.feed(raw + b"\x81\x00\xff")
    assert (upgrade, end) == (UPGRADE, END)
    assert head.upgrade == b"websocket" and end is END
    assert parser.trailing_data == b"\x81\x00\xff"


def test_bytes_behind_a_connect():
    parser = RequestParser()
    head, upgrade, end = parser.feed(request("CONNECT b.example:443 HTTP/1.1", HOST) + b"\x16\x03\x01")
    assert (upgrade, end) == (UPGRADE, END)
    assert head.method == "CONNECT" and end is END
    assert parser.trailing_data == b"\x16\x03\x01"


def test_expect_continue():
    raw = request("PUT / HTTP/1.1", HOST, "Expect: 100-continue", "Content-Length: 2")
    parser = RequestParser()
    (head,) = parser.feed(raw)
    assert head.expect_continue is True
    assert parser.feed(b"hi") == [b"hi", END]
    assert parse(GET).head.expect_continue is False


# -- Bodies --------------------------------------------------------------------------------------------------


def test_body_by_length():
    message = parse(request("POST / HTTP/1.1", HOST, "Content-Length: 11", body=b"hello\r\n\0\xffzz"))
    assert message.body == b"hello\r\n\0\xffzz"
    assert message.head.content_length == 11 and not message.head.chunked


def test_empty_body():
    message = parse(request("POST / HTTP/1.1", HOST, "Content-Length: 0"))
    assert message.body == b""
    assert message.head.content_length == 0


def test_chunked_body():
    body = b"5\r\nhello\r\n1;a=b;c\r\n \r\n00F\r\nwide wide world\r\n0\r\n\r\n"
    message = parse(request("POST / HTTP/1.1", HOST, CHUNKED, body=body))
    assert message.body == b"hello wide wide world"
    assert message.head.content_length is None and message.head.chunked
    assert message.trailers == []


def test_trailers():
    body = b"2\r\nhi\r\n0\r\nX-Sum:\t 12 \r\nHOST: b\r\n\r\n"
    message = parse(request("POST / HTTP/1.1", HOST, CHUNKED, body=body))
    assert message.trailers == [(b"x-sum", b"12"), (b"host", b"b")]
    assert message.head.headers == [(b"host", b"a.example"), (b"transfer-encoding", b"chunked")]


def test_events_of_one_read():
    parser = RequestParser()
    raw = request("POST / HTTP/1.1", HOST, CHUNKED, body=b"1\r\na\r\n2\r\nbc\r\n0\r\nX: y\r\n\r\n")
    head, body, trailers, end = parser.feed(raw)
    assert (type(head), body, trailers, end) == (RequestHead, b"abc", Trailers([(b"x", b"y")]), END)


def test_a_read_that_is_all_body_is_not_copied():
    parser = RequestParser()
    parser.feed(request("POST / HTTP/1.1", HOST, "Content-Length: 6"))
    first, last = b"x" * 3, b"y" * 3
    (body,) = parser.feed(first)
    assert body is first
    body, end = parser.feed(last)
    assert body is last and end is END


def test_a_read_that_is_all_chunk_data_is_not_copied():
    parser = RequestParser()
    parser.feed(request("POST / HTTP/1.1", HOST, CHUNKED, body=b"1000\r\n"))
    read = b"x" * 2048
    (body,) = parser.feed(read)
    assert body is read


def test_a_read_that_holds_more_than_body_is_copied():
    parser = RequestParser()
    parser.feed(request("POST / HTTP/1.1", HOST, "Content-Length: 3"))
    body, end = parser.feed(b"abc" + NEXT)
    assert (body, end) == (b"abc", END)
    assert parser.trailing_data == NEXT


@pytest.mark.parametrize("size", [97, 1000, 65536, 300_000])
def test_big_body_in_pieces(size):
    body = bytes(range(256)) * 4000
    raw = request("POST / HTTP/1.1", HOST, f"Content-Length: {len(body)}", body=body)
    outcome = feed_pieces([raw[:200], *(raw[i : i + size] for i in range(200, len(raw), size))])
    assert outcome.failure is None and outcome.messages[0].body == body


@pytest.mark.parametrize("chunk_size", [1, 7, 4096, 70_000])
@pytest.mark.parametrize("read_size", [11, 5000, 1_000_000])
def test_big_chunked_body_in_pieces(chunk_size, read_size):
    body = bytes(range(256)) * 300
    chunks = [body[i : i + chunk_size] for i in range(0, len(body), chunk_size)]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    raw = request("POST / HTTP/1.1", HOST, CHUNKED, body=coded)
    outcome = feed_pieces(raw[i : i + read_size] for i in range(0, len(raw), read_size))
    assert outcome.failure is None and outcome.messages[0].body == body


# -- Messages and reads --------------------------------------------------------------------------------------


def test_pipelining():
    first = request("POST /1 HTTP/1.1", HOST, "Content-Length: 2", body=b"hi")
    second = request("POST /2 HTTP/1.1", HOST, CHUNKED, body=b"1\r\nx\r\n0\r\nA: b\r\n\r\n")
    third = request("GET /3 HTTP/1.0")
    outcome = outcome_of(first + second + third)
    assert outcome.failure is None
    assert [message.head.path for message in outcome.messages] == ["/1", "/2", "/3"]
    assert [message.body for message in outcome.messages] == [b"hi", b"x", b""]
    assert outcome.messages[1].trailers == [(b"a", b"b")]


def test_the_method_of_a_request_that_has_not_come_whole():
    parser = RequestParser()
    told = []
    for byte in b"\r\nHEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx":
        parser.feed(bytes([byte]))
        told.append(parser.method)
    assert told == [None] * 5 + ["HEAD"] * (len(told) - 6) + [None]
    parser.feed(b"PUT / HTTP/1.1\r\n")
    assert parser.method == "PUT"
    parser.feed(b"Host: a\r\n\r\nDEL")
    assert parser.method is None
    parser.feed(b"")
    assert parser.method is None


@pytest.mark.parametrize(
    ("bad", "method"),
    [
        (b"HEAD /" + b"a" * 20_000, "HEAD"),
        (b"HEAD /\0 HTTP/1.1\r\n", "HEAD"),
        (b"HEAD / HTTP/2.0\r\n", "HEAD"),
        (b"HEAD / HTTP/1.1\r\n\r\n", "HEAD"),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "HEAD"),
        (b"HEADS / HTTP/1.1\r\n\r\n", None),
        (GET + b"\n", None),
    ],
)
def test_the_method_of_a_bad_request(bad, method):
    for size in (1, len(bad)):
        parser = RequestParser()
        with pytest.raises(ParserError):
            for at in range(0, len(bad), size):
                parser.feed(bad[at : at + size])
                while parser.pending():
                    parser.feed(b"")
        assert parser.method == method


def test_feed_stops_behind_each_message():
    parser = RequestParser()
    assert parser.feed(GET + GET + NEXT)[-1] is END
    assert parser.trailing_data == GET + NEXT
    assert parser.pending()
    assert len(parser.feed(b"")) == 2
    assert parser.trailing_data == NEXT
    head, end = parser.feed(b"")
    assert head.path == "/next" and end is END
    assert parser.trailing_data == b""
    assert parser.feed(b"") == []


def test_trailing_data_and_more():
    parser = RequestParser()
    parser.feed(GET + NEXT[:10])
    assert parser.trailing_data == NEXT[:10]
    head, end = parser.feed(NEXT[10:])
    assert head.path == "/next" and end is END
    assert parser.trailing_data == b""


def test_half_a_request_is_no_trailing_data_once_it_is_fed():
    parser = RequestParser()
    parser.feed(GET + NEXT[:10])
    assert parser.feed(b"") == []
    assert parser.trailing_data == b""
    assert parser.feed(NEXT[10:])[0].path == "/next"


def test_nothing_carries_over():
    odd = request("POST /odd?q HTTP/1.0", "Connection: keep-alive", "Content-Length: 1", body=b"x")
    upgrade = request("GET / HTTP/1.1", HOST, "Connection: upgrade, close", "Upgrade: x", "Expect: 100-continue")
    chunked = request("POST / HTTP/1.1", HOST, CHUNKED, body=b"0\r\nConnection: close\r\nX: y\r\n\r\n")
    alone = feed_pieces([GET]).messages
    for before in (odd, upgrade, chunked):
        assert feed_pieces([before + GET]).messages[1:] == alone


def test_empty_lines_before_and_between():
    alone = feed_pieces([GET]).messages
    assert outcome_of(b"\r\n" + GET + b"\r\n\r\n" + GET + b"\r\n") == Outcome(alone * 2, None)


def test_nothing_at_all():
    parser = RequestParser()
    assert parser.feed(b"") == []
    assert parser.trailing_data == b""
    parser.close()


@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda raw: memoryview(bytearray(raw + raw))[: len(raw)]])
def test_other_bytes(kind):
    raw = request("POST / HTTP/1.1", HOST, "Content-Length: 2", body=b"hi")
    assert messages_of(feed(RequestParser(), kind(raw))) == feed_pieces([raw]).messages


def test_a_buffer_may_be_reused():
    buffer = bytearray(request("POST /a HTTP/1.1", HOST, "Content-Length: 2", body=b"hi"))
    parser = RequestParser()
    events = parser.feed(memoryview(buffer)[:30])
    buffer[:30] = b"#" * 30
    events += parser.feed(memoryview(buffer)[30:-1])
    buffer[30:-1] = b"#" * (len(buffer) - 31)
    events += parser.feed(buffer[-1:])
    (message,) = messages_of(events)
    assert (message.head.path, message.body) == ("/a", b"hi")
    assert message.head.headers == [(b"host", b"a.example"), (b"content-length", b"2")]


def test_bytes_of_a_subclass():
    class Bytes(bytes):
        pass

    assert messages_of(feed(RequestParser(), Bytes(GET))) == feed_pieces([GET]).messages


@pytest.mark.parametrize("data", ["GET", None, 1, [1]])
def test_not_bytes(data):
    parser = RequestParser()
    with pytest.raises(TypeError):
        parser.feed(data)
    assert len(parser.feed(GET)) == 2  # nothing was taken, so the parser goes on


def test_data_is_positional():
    with pytest.raises(TypeError):
        RequestParser().feed(data=GET)


def test_parsers_are_independent():
    one, other = RequestParser(), RequestParser()
    assert one.feed(GET[:9]) == other.feed(NEXT[:20]) == []
    assert one.feed(GET[9:])[0].path == "/"
    assert other.feed(NEXT[20:])[0].path == "/next"


# -- The end of the input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [b"", b"\r\n", GET, GET + b"\r\n"])
def test_close_between_messages(raw):
    parser = RequestParser()
    list(feed(parser, raw))
    parser.close()
    parser.close()


def test_close_inside_a_message():
    raw = request("POST / HTTP/1.1", HOST, CHUNKED, body=b"2\r\nhi\r\n0\r\nX: y\r\n\r\n")
    for i in range(1, len(raw)):
        parser = RequestParser()
        parser.feed(raw[:i])
        with pytest.raises(MalformedMessage) as caught:
            parser.close()
        assert caught.value.offset == i
        with pytest.raises(RuntimeError):
            parser.feed(raw[i:])
        parser.close()  # told once
