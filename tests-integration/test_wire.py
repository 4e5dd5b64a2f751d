"""HTTP/1.1 as the bytes have it: a raw socket against a server process, on both event loops."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(serve_module: Any, loop: str) -> Any:
    """One server for all tests here: what one connection does must not matter to another."""
    return serve_module("wire:app", "--loop", loop, "--no-access-log", test_app=True, faults=True)


@pytest.fixture
def wire(server: Any) -> Any:
    with server.connect() as wire:
        yield wire


def noted(server: Any, word: str) -> Any:
    """What the application noted under a word, once it has."""
    return json.loads(server.get(f"/noted?{word}").body)


# -- Connections


def test_keep_alive(wire: Any) -> None:
    for _ in range(5):
        wire.request("/peer")
        answer = wire.answer()
        assert answer.status == 200
        assert answer["connection"] is None
        assert answer.body == b"%d" % wire.socket.getsockname()[1]


def test_default_fields(wire: Any) -> None:
    wire.request("/hello")
    answer = wire.answer()
    assert [name for name, _ in answer.headers] == ["content-length", "server", "date"]
    assert answer["server"] == "esg"
    assert answer["date"].endswith(" GMT")


def test_connection_close(wire: Any) -> None:
    wire.request("/hello", close=True)
    answer = wire.answer()
    assert (answer["connection"], answer.body) == ("close", b"hello")
    assert wire.is_over()


def test_pipelined_requests_are_answered_in_order(server: Any, wire: Any, word: str) -> None:
    targets = [f"/gate?{word}", "/hello", "/chunked", "/target?4"]
    wire.send(b"".join(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for target in targets))
    assert noted(server, word + "-entered") == "yes"
    # The first request is the slowest; nothing of the others may come before its answer.
    assert wire.is_silent()
    server.get(f"/open?{word}")
    bodies = [wire.answer().body for _ in targets]
    assert bodies == [b"through " + word.encode(), b"hello", b"one two three", b"/target?4"]


def test_1000_pipelined_requests_in_one_write(wire: Any) -> None:
    wire.send(b"".join(b"GET /target?%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(1000)))
    assert [wire.answer().body for _ in range(1000)] == [b"/target?%d" % i for i in range(1000)]
    wire.request("/hello")
    assert wire.answer().body == b"hello"


def test_pipelined_bodies(wire: Any) -> None:
    wire.send(
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none"
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
        b"POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nthree"
        b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    assert [wire.answer().body for _ in range(4)] == [b"one", b"two", b"ignored", b"hello"]


def test_a_request_in_single_bytes(wire: Any) -> None:
    wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
        wire.send(bytes([byte]))
    assert wire.answer().body == b"abc"


@pytest.mark.parametrize("path", ["/hello", "/chunked"])
def test_http_1_0(wire: Any, path: str) -> None:
    wire.request(path, version="1.0")
    answer = wire.answer()
    assert (answer.version, answer.status, answer["connection"]) == ("HTTP/1.1", 200, "close")
    assert answer["transfer-encoding"] is None
    assert answer.body == (b"hello" if path == "/hello" else b"one two three")
    assert wire.is_over()


def test_http_1_0_with_keep_alive(wire: Any) -> None:
    for _ in range(2):
        wire.request("/hello", version="1.0", headers=("Connection: keep-alive",))
        answer = wire.answer()
        assert (answer["connection"], answer.body) == ("keep-alive", b"hello")
    wire.request("/chunked", version="1.0", headers=("Connection: keep-alive",))
    answer = wire.answer()
    assert (answer["transfer-encoding"], answer["connection"]) == (None, "close")
    assert answer.body == b"one two three"
    assert wire.is_over()


def test_half_closed_behind_a_request(server: Any, wire: Any, word: str) -> None:
    wire.request(f"/gate?{word}")
    wire.end()
    assert noted(server, word + "-entered") == "yes"
    server.get(f"/open?{word}")
    assert wire.answer().body == b"through " + word.encode()
    assert wire.is_over()


@pytest.mark.parametrize("start", [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_half_closed_without_a_request(wire: Any, start: bytes) -> None:
    wire.send(start)
    wire.end()
    assert wire.is_over()


# -- Responses


@pytest.mark.parametrize("path", ["/hello", "/chunked", "/status?200"])
def test_head(wire: Any, path: str) -> None:
    for _ in range(2):
        wire.request(path, "HEAD")
        answer = wire.answer("HEAD")
        assert answer.status == 200
        assert answer["content-length"] == ("5" if path == "/hello" else None)
    wire.request("/hello")
    assert wire.answer().body == b"hello"


@pytest.mark.parametrize("status", [204, 304])
def test_no_body(wire: Any, status: int) -> None:
    wire.request(f"/status?{status}")
    answer = wire.answer()
    assert (answer.status, answer["x-kept"]) == (status, "yes")
    assert (answer["transfer-encoding"], answer["content-length"]) == (None, None)
    wire.request("/hello")
    assert wire.answer().body == b"hello"


@pytest.mark.parametrize("status", [100, 101, 103])
def test_an_informational_status_is_no_answer(server: Any, wire: Any, status: int) -> None:
    with server.says(f"status must be from 200 to 999, not {status}"):
        wire.request(f"/status?{status}")
        answer = wire.answer()
        assert (answer.status, answer["x-kept"], answer.complete) == (500, None, True)
        assert wire.is_over()


@pytest.mark.parametrize("status", [200, 201, 206, 404, 418, 500, 599])
def test_status(wire: Any, status: int) -> None:
    wire.request(f"/status?{status}")
    answer = wire.answer()
    assert (answer.status, answer.body, answer.complete) == (status, b"not for everyone", True)


def test_chunked_parts_arrive_as_sent(wire: Any) -> None:
    wire.request("/chunked")
    assert wire.head()["transfer-encoding"] == "chunked"
    # An empty part in the middle must not be the chunk that ends the body.
    assert [wire.chunk() for _ in range(4)] == [b"one ", b"two ", b"three", b""]


# -- Requests


def test_chunked_upload(wire: Any) -> None:
    wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    wire.send(b"5;ext=1\r\nhello\r\n" + b"10000\r\n" + b"x" * 65536 + b"\r\n")
    wire.send(b"0\r\nTrailer-Field: 1\r\n\r\n")
    assert wire.answer().body == b"hello" + b"x" * 65536


def test_large_upload(wire: Any) -> None:
    wire.request("/unread?", "POST", body=b"")  # opens nothing: it only waits for its gate below
    with socket.create_connection(wire.socket.getpeername()) as other:
        other.sendall(b"GET /open? HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert other.recv(100).startswith(b"HTTP/1.1 200")
    assert wire.answer().body == b"0"
    wire.request("/unread?", "POST", body=bytes(8 * MIB))
    assert wire.answer().body == b"%d" % (8 * MIB)


def test_continue_when_the_app_reads(wire: Any) -> None:
    wire.request("/echo", "POST", headers=("Expect: 100-continue", "Content-Length: 4"))
    assert wire.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"body")
    assert wire.answer().body == b"body"
    wire.request("/hello")
    assert wire.answer().body == b"hello"


def test_no_continue_when_the_app_does_not_read(wire: Any) -> None:
    wire.request("/hello", "POST", headers=("Expect: 100-continue", "Content-Length: 4"))
    answer = wire.answer()
    # Whether the client sends its body now is open, so the connection cannot go on (RFC 9110 section 10.1.1).
    assert (answer.status, answer["connection"], answer.body) == (200, "close", b"hello")


def test_no_continue_when_the_body_is_there(wire: Any) -> None:
    wire.request("/echo", "POST", headers=("Expect: 100-continue",), body=b"here")
    assert wire.answer().body == b"here"


def test_no_continue_to_http_1_0(wire: Any) -> None:
    wire.request("/echo", "POST", version="1.0", headers=("Expect: 100-continue",), body=b"here")
    answer = wire.answer()
    assert (answer.status, answer.body) == (200, b"here")


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        ("http://other.example/host?q", "other.example", "/host"),
        ("http://other.example:81/host", "other.example:81", "/host"),
        ("HTTP://OTHER.example/host", "OTHER.example", "/host"),
    ],
)
def test_absolute_form(wire: Any, target: str, host: str, path: str) -> None:
    wire.request(target)
    assert json.loads(wire.answer().body) == [host, path]


def test_asterisk_form(wire: Any) -> None:
    wire.request("*", "OPTIONS")
    answer = wire.answer()
    assert (answer.status, answer.body) == (200, b"*")


def test_decoded_path(wire: Any) -> None:
    wire.request("/caf%C3%A9%2Fau%20lait?%41")
    assert wire.answer().body == "/café/au lait".encode()


def test_an_unread_body_is_not_the_next_request(wire: Any) -> None:
    smuggled = b"GET /target?smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    wire.request("/ignore", "POST", body=smuggled)
    assert wire.answer().body == b"ignored"
    wire.request("/target?own")
    assert wire.answer().body == b"/target?own"


@pytest.mark.parametrize("chunked", [False, True])
def test_an_unread_body_that_comes_after_the_answer(wire: Any, chunked: bool) -> None:
    smuggled = b"GET /target?smuggled HTTP/1.1\r\nHost: a\r\n\r\n" * 1000
    field = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(smuggled)}"
    wire.request("/ignore", "POST", headers=(field,))
    assert wire.answer().body == b"ignored"
    wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(smuggled), smuggled) if chunked else smuggled)
    wire.request("/target?own")
    assert wire.answer().body == b"/target?own"


# -- Applications that do wrong


def test_raises_before_the_start(server: Any, wire: Any) -> None:
    with server.says("RuntimeError: before the start"):
        wire.request("/raise-early")
        answer = wire.answer()
        assert (answer.status, answer.complete) == (500, True)
        assert b"before the start" not in answer.body
        assert (answer["connection"], wire.is_over()) == ("close", True)


def test_raises_after_the_start(server: Any, wire: Any) -> None:
    with server.says("RuntimeError: after the start"):
        wire.request("/raise-late")
        answer = wire.answer()
        assert (answer.status, answer.body, answer.complete) == (200, b"part", False)
        assert wire.is_over()


def test_returns_without_an_answer(server: Any, wire: Any) -> None:
    with server.says("The application returned without a response."):
        wire.request("/silent")
        assert (wire.answer().status, wire.is_over()) == (500, True)


def test_returns_in_the_middle_of_its_answer(server: Any, wire: Any) -> None:
    with server.says("The application returned before its response was complete."):
        wire.request("/stops-halfway")
        answer = wire.answer()
        assert (answer.body, answer.complete, wire.is_over()) == (b"part", False, True)


def test_work_behind_a_response_does_not_touch_the_next_exchange(server: Any, wire: Any, word: str) -> None:
    wire.request(f"/late?{word}")
    assert wire.answer().body == b"early"
    wire.request("/echo", "POST", headers=("Content-Length: 8",))
    wire.send(b"half")
    server.get(f"/open?{word}")
    assert noted(server, word) == ["http.disconnect", "refused", "refused"]
    wire.send(b"half")
    assert wire.answer().body == b"halfhalf"


@pytest.mark.parametrize("path", ["/too-long", "/too-long-in-parts"])
def test_more_than_its_content_length(server: Any, wire: Any, path: str) -> None:
    with server.says("The application's response was cut short"):
        wire.request(path)
        answer = wire.answer()
        assert answer.status == 200
        assert b"1234".startswith(answer.body)
        assert wire.is_over()


def test_less_than_its_content_length(server: Any, wire: Any) -> None:
    with server.says("The application's response was cut short"):
        wire.request("/too-short")
        answer = wire.answer()
        assert (answer.status, answer.complete, wire.is_over()) == (200, False, True)


@pytest.mark.parametrize(
    "kind",
    ["cr", "lf", "crlf", "split", "nul", "name-crlf", "name-colon", "name-space", "name-empty"],
)
def test_a_field_that_must_not_go_out(server: Any, wire: Any, kind: str) -> None:
    with server.says("a header with a character that may not go on the wire"):
        wire.request(f"/bad-field?{kind}")
        everything = wire.rest()
    assert everything.startswith(b"HTTP/1.1 500 ")
    assert everything.count(b"HTTP/1.1") == 1
    assert b"njected" not in everything
    assert b"x-good" not in everything


# -- Requests that are refused, and some that are not. docs/strictness.md says why.

POST = b"POST /echo HTTP/1.1\r\nHost: a\r\n"
REFUSED = {
    "content-length and transfer-encoding": (
        400,
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "transfer-encoding and content-length": (
        400,
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    "two equal content-lengths": (400, POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    "two content-lengths": (400, POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    "gzip, chunked": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked in HTTP/1.0": (
        400,
        b"POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "bare LF line ends": (400, b"GET /hello HTTP/1.1\nHost: a\n\n"),
    "bare LF inside chunked": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n"),
    "obs-fold": (400, b"GET /hello HTTP/1.1\r\nHost: a\r\nX-Folded: one\r\n two\r\n\r\n"),
    "missing Host": (400, b"GET /hello HTTP/1.1\r\n\r\n"),
    "an empty Host": (400, b"GET /hello HTTP/1.1\r\nHost:\r\n\r\n"),
    "two Hosts": (400, b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    "HTTP/2.0": (505, b"GET /hello HTTP/2.0\r\nHost: a\r\n\r\n"),
    "lower-case method": (501, b"get /hello HTTP/1.1\r\nHost: a\r\n\r\n"),
    "unknown method": (501, b"FOO /hello HTTP/1.1\r\nHost: a\r\n\r\n"),
    "raw UTF-8 in the path": (400, "GET /café HTTP/1.1\r\nHost: a\r\n\r\n".encode()),
}


@pytest.mark.parametrize("row", REFUSED)
def test_refused(server: Any, wire: Any, row: str) -> None:
    status, request = REFUSED[row]
    wire.send(request)
    answer = wire.answer()
    assert (answer.status, answer.complete, answer["connection"]) == (status, True, "close")
    assert wire.is_over()


@pytest.mark.parametrize("row", REFUSED)
def test_refused_behind_an_answer(wire: Any, row: str) -> None:
    """The first request was good, so its answer comes, and comes first."""
    status, request = REFUSED[row]
    wire.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n" + request)
    assert wire.answer().body == b"hello"
    assert wire.answer().status == status
    assert wire.is_over()


ACCEPTED = {
    "leading CRLF": (b"\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n", b"hello"),
    "absolute-form": (b"GET http://b/host HTTP/1.1\r\nHost: a\r\n\r\n", b'["b", "/host"]'),
    "a later minor version": (b"GET /hello HTTP/1.2\r\nHost: a\r\n\r\n", b"hello"),
    "no Host in HTTP/1.0": (b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"hello"),
}


@pytest.mark.parametrize("row", ACCEPTED)
def test_accepted(wire: Any, row: str) -> None:
    request, body = ACCEPTED[row]
    for _ in range(2):
        wire.send(request)
        answer = wire.answer()
        assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (414, b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70000 + b"\r\n\r\n"),
        (431, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 200 + b"\r\n"),
        (417, b"POST / HTTP/1.1\r\nHost: a\r\nExpect: more\r\nContent-Length: 1\r\n\r\na"),
    ],
    ids=["target", "head", "fields", "expectation"],
)
def test_limits(wire: Any, status: int, request_: bytes) -> None:
    wire.send(request_)
    answer = wire.answer()
    assert (answer.status, answer["connection"]) == (status, "close")
    assert wire.is_over()


@pytest.mark.parametrize("end", ["Host: a\r\nHost: b\r\n\r\n", "Host: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"])
@pytest.mark.parametrize("split", [False, True], ids=["whole", "head first"])
def test_a_bad_head_request_gets_no_body(server: Any, wire: Any, end: str, split: bool) -> None:
    """Nor does it depend on how much of it was read at once (RFC 9110 section 9.3.2)."""
    head, behind, body = f"HEAD /echo HTTP/1.1\r\n{end}".partition("\r\n\r\n")
    for part in [head + behind, body] if split else [head + behind + body]:
        wire.send(part.encode())
        server.get("/hello")  # so that it was read
    answer = wire.answer("HEAD")
    assert (answer.status, answer["connection"], answer["content-length"]) == (400, "close", "11")
    assert wire.is_over()


FORGED = [
    b"GET /a\nERROR:    forged HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a\rERROR:    forged HTTP/1.1\r\nHost: a\r\n\r\n",
    b'GET /%0d%0aERROR:%20forged?%0a" HTTP/1.1\r\nHost: a\r\n\r\n',
    b"GET /\x1b[2Jforged HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /?\xc2\x85forged\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"G\x1b[31mforged / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a\nERROR:    forged/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1\nERROR:    forged\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\nERROR:    forged\r\n\r\n",
    b"GET / HTTP/1.1\r\nERROR\n   forged: a\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\x0bforged\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\x0c\x1b[0mforged\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xe2\x80\xa8forged\r\n\r\n",
    b"\nERROR:    forged\r\n\r\n",
]


def test_no_line_of_the_log_is_a_clients_own(serve: Any, loop: str) -> None:
    """One line of the server's own for each request, and nothing in it that a terminal would obey."""
    server = serve("wire:app", "--loop", loop, test_app=True)
    after = len(server.lines)
    for request in FORGED:
        with server.connect() as wire:
            wire.send(request)
            assert wire.head().status in (200, 400, 501, 505)
    lines = server.said_since(after)[:-1]
    assert len(lines) == len(FORGED)
    for line in lines:
        assert line.startswith(("WARNING:  Invalid HTTP request received from 127.0.0.1:", "INFO:     127.0.0.1"))
        assert line.isprintable()
        assert line.isascii()


# -- Clients that leave


def test_disconnect_is_received(server: Any, wire: Any, word: str) -> None:
    wire.request(f"/await-disconnect?{word}")
    assert noted(server, word + "-entered") == "yes"
    wire.socket.close()
    assert noted(server, word) == "http.disconnect"


def test_disconnect_in_a_body(server: Any, wire: Any, word: str) -> None:
    wire.request(f"/leave-in-body?{word}", "POST", headers=("Content-Length: 100",))
    wire.send(b"part")
    assert noted(server, word + "-entered") == "yes"
    wire.socket.close()
    assert noted(server, word) == ["http.disconnect", "http.request"]


def test_truncated_body_is_not_complete(server: Any, wire: Any, word: str) -> None:
    wire.request(f"/leave-in-body?{word}", "POST", headers=("Content-Length: 100",))
    wire.send(b"part")
    wire.end()
    assert noted(server, word) == ["http.disconnect", "http.request"]


@pytest.mark.parametrize("path", ["/endless", "/endless-wrapped"])
@pytest.mark.parametrize("reset", [False, True])
def test_send_fails_once_the_client_has_left(server: Any, wire: Any, word: str, path: str, reset: bool) -> None:
    after = len(server.lines)
    wire.request(f"{path}?{word}")
    wire.head()
    if reset:
        wire.reset()
    wire.socket.close()
    assert noted(server, word) == [True, "http.disconnect"]
    # The application let the error pass, or raised its own because of it; neither is its fault.
    assert not [line for line in server.said_since(after) if "Traceback" in line]


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_in_the_last_message(server: Any, word: str, reset: bool) -> None:
    after = len(server.lines)
    with server.connect(receive_buffer=64 * 1024) as wire:
        wire.request(f"/large-at-once?{word}")
        wire.head()
        if reset:
            wire.reset()
    # Which one it learns is a race; that the client left is no fault of its own in either case.
    assert noted(server, word) in ("gone", "taken")
    assert not [line for line in server.said_since(after) if "Traceback" in line]


# -- Flow control

# What a server may grow by while one side does not take what the other has for it: far less than that is.
MOST_GROWN = 8 * MIB


def drain(wire: Any) -> threading.Thread:
    """Read all that comes, in a thread."""
    thread = threading.Thread(target=wire.rest)
    thread.start()
    return thread


def test_an_app_that_only_sends_leaves_others_their_turn(server: Any, wire: Any, word: str) -> None:
    """Its client takes everything, so nothing makes it wait; still it must not have the loop for itself."""
    wire.request(f"/torrent?{word}", close=True)
    wire.head()
    reading = drain(wire)
    assert server.get(f"/open?{word}").body == b"open"
    assert noted(server, word) == "open"
    reading.join(20)


def test_an_app_that_only_sends_learns_that_its_client_has_left(server: Any, wire: Any, word: str) -> None:
    after = len(server.lines)
    wire.request(f"/torrent?{word}")
    wire.head()
    wire.socket.close()
    assert noted(server, word) == "gone"
    # asyncio's transport says this for each write to a lost connection.
    assert not [line for line in server.said_since(after) if "socket.send() raised" in line]


def test_an_app_that_does_not_read_stops_the_upload(server: Any, wire: Any, word: str) -> None:
    size, most = 64 * MIB, 24 * MIB  # the kernel's own buffers hold up to some MiB on each side
    part = bytes(MIB)
    before = server.memory()
    wire.request(f"/unread?{word}", "POST", headers=(f"Content-Length: {size}",))
    sent = wire.offer(part, size)
    assert 64 * 1024 <= sent < most
    assert server.memory() - before < MOST_GROWN
    server.get(f"/open?{word}")
    while sent < size:
        sent += wire.socket.send(part[: size - sent])
    assert wire.answer().body == b"%d" % size


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("step", [16, 64, 256])
def test_a_client_that_does_not_read_stops_the_app(server: Any, word: str, framing: str, step: int) -> None:
    before = server.memory()
    with server.connect(receive_buffer=64 * 1024) as wire:
        wire.request(f"/large?{word}-{framing}-{step}", close=True)
        assert wire.head().status == 200
        assert 64 * 1024 <= noted(server, word) < 24 * MIB
        assert server.memory() - before < MOST_GROWN
        read = len(wire.buffer)
        while data := wire.socket.recv(MIB):
            read += len(data)
        assert 64 * MIB <= read < 65 * MIB


def test_requests_behind_a_slow_one_are_not_read_without_bound(server: Any, wire: Any, word: str) -> None:
    wire.request(f"/gate?{word}")
    request = b"GET /hello HTTP/1.1\r\nHost: a\r\nX-Padding: %s\r\n\r\n" % (b"x" * 4000)
    requests = request * 256
    before = server.memory()
    sent = wire.offer(requests, 64 * MIB)
    assert sent < 24 * MIB
    assert server.memory() - before < MOST_GROWN
    server.get(f"/open?{word}")
    count, cut = divmod(sent, len(request))
    last = b"GET /target?last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    # In a thread: the server stops reading when we do.
    thread = threading.Thread(target=wire.send, args=((request[cut:] if cut else b"") + last,))
    thread.start()
    everything = wire.rest()
    thread.join(20)
    assert everything.count(b"HTTP/1.1 200 OK\r\n") == 1 + count + bool(cut) + 1
    assert everything.endswith(b"/target?last")
