"""What is answered: requests through the protocol on every transport, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

Play = Callable[..., None]


def get(path: str = "/", *fields: str, method: str = "GET", version: str = "1.1", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: example", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def post(body: bytes, *fields: str, path: str = "/") -> bytes:
    return get(path, f"Content-Length: {len(body)}", *fields, method="POST", body=body)


def chunked(*chunks: bytes, path: str = "/", trailers: bytes = b"") -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in [*chunks])
    return get(path, "Transfer-Encoding: chunked", method="POST", body=body + b"0\r\n" + trailers + b"\r\n")


def answering(
    *body: bytes, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = (), length: bool = False
) -> Any:
    """An app that sends these pieces of a body."""
    parts = body or (b"hello",)
    fields = list(headers)
    if length:
        fields.append((b"content-length", b"%d" % sum(map(len, parts))))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": fields})
        for part in parts[:-1]:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": parts[-1]})

    return app


async def read_body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        body, more = body + message["body"], message["more_body"]
    return body


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Method, path and body of the request, with its length."""
    body = await read_body(receive)
    text = b"%s %s %s" % (scope["method"].encode(), scope["raw_path"], body)
    headers = [(b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


# -- One request -----------------------------------------------------------------------------------------------------


def test_a_request_is_answered(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(get("/path"))
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"GET /path ")
        assert answer.names() == [b"content-length", b"server", b"date"]
        assert answer.header(b"server") == b"esg"
        assert answer.header(b"date") == b"Thu, 01 Jan 1970 00:16:40 GMT"
        await client.nothing_more()

    play(echo, case)


def test_the_default_headers_can_be_renamed_and_left_out(play: Play) -> None:
    async def renamed(client: Any) -> None:
        await client.send(get())
        assert (await client.answer()).header(b"server") == b"other/1"

    async def bare(client: Any) -> None:
        await client.send(get())
        assert (await client.answer()).names() == [b"content-length"]

    play(echo, renamed, server_name=b"other/1")
    play(echo, bare, settings={"server_header": False, "date_header": False})


def test_what_an_app_says_of_server_and_date_stands(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(get())
        answer = await client.answer()
        assert answer.header(b"server") == b"mine"
        assert answer.header(b"date") == b"then"

    play(answering(headers=[(b"Server", b"mine"), (b"Date", b"then")]), case)


@pytest.mark.parametrize("size", [0, 1, 100, 5000])
def test_a_body_with_a_length(size: int, play: Play) -> None:
    async def case(client: Any) -> None:
        body = b"x" * size
        await client.send(post(body))
        assert (await client.answer("POST")).body == b"POST / " + body
        await client.nothing_more()

    play(echo, case)


def test_a_chunked_body(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(chunked(b"a", b"bc", b"d" * 300))
        assert (await client.answer("POST")).body == b"POST / abc" + b"d" * 300
        await client.nothing_more()

    play(echo, case)


def test_trailers_are_no_headers(play: Play) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await echo(scope, receive, send)
        seen.extend(scope["headers"])

    async def case(client: Any) -> None:
        await client.send(chunked(b"abc", trailers=b"X-Sum: 1\r\n"))
        assert (await client.answer("POST")).body == b"POST / abc"
        assert (b"x-sum", b"1") not in seen

    play(app, case)


def test_a_body_of_many_pieces_is_chunked(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(get())
        answer = await client.answer()
        assert answer.header(b"transfer-encoding") == b"chunked"
        assert answer.body == b"onetwo" + b"x" * 70_000 + b"end"
        await client.nothing_more()

    play(answering(b"one", b"", b"two", b"x" * 70_000, b"end"), case)


def test_a_body_of_many_pieces_with_a_length(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(get())
        answer = await client.answer()
        assert answer.header(b"transfer-encoding") is None
        assert answer.body == b"onetwo" + b"x" * 70_000
        await client.nothing_more()

    play(answering(b"one", b"two", b"x" * 70_000, length=True), case)


def test_the_least_an_app_can_say(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async def case(client: Any) -> None:
        await client.send(get())
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"")
        await client.nothing_more()

    play(app, case)


def test_headers_as_lists(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [[b"content-type", b"text/plain"], [b"content-length", b"5"]]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"hello"})

    async def case(client: Any) -> None:
        await client.send(get())
        assert (await client.answer()).header(b"content-type") == b"text/plain"

    play(app, case)


def test_messages_that_are_mappings_but_no_dicts(play: Play) -> None:
    import types

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(types.MappingProxyType({"type": "http.response.start", "status": 200}))
        await send(types.MappingProxyType({"type": "http.response.body", "body": bytearray(b"hello")}))

    async def case(client: Any) -> None:
        await client.send(get())
        assert (await client.answer()).body == b"hello"

    play(app, case)


def test_words_made_at_run_time_are_words(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": ".".join(["http", "response", "start"]), "status": 200})
        await send({"type": ".".join(["http", "response", "body"]), "body": b"hello"})

    async def case(client: Any) -> None:
        await client.send(get())
        assert (await client.answer()).body == b"hello"

    play(app, case)


@pytest.mark.parametrize("kind", ["function", "instance", "plain function", "partial", "class"])
def test_apps_of_every_kind(kind: str, play: Play) -> None:
    import functools

    class Instance:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await echo(scope, receive, send)

    class Endpoint:
        """Awaited in itself, as Starlette's HTTPEndpoint."""

        def __init__(self, scope: Any, receive: Any, send: Any) -> None:
            self.arguments = scope, receive, send

        def __await__(self) -> Any:
            return echo(*self.arguments).__await__()

    def plain(scope: Any, receive: Any, send: Any) -> Any:
        assert asyncio.current_task() is not None
        return echo(scope, receive, send)

    async def case(client: Any) -> None:
        await client.send(get())
        assert (await client.answer()).body == b"GET / "

    kinds: dict[str, Any] = {
        "function": echo,
        "instance": Instance(),
        "plain function": plain,
        "partial": functools.partial(echo),
        "class": Endpoint,
    }
    play(kinds[kind], case)


# -- Where there is no body ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("status", [200, 204, 304])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_body_where_there_must_be_none(method: str, status: int, length: bool, play: Play) -> None:
    async def case(client: Any) -> None:
        for more in (True, False):
            await client.send(get(method=method), more=more)
            answer = await client.answer(method)
            assert answer.status == status
            bodiless = method == "HEAD" or status in (204, 304)
            assert answer.body == (b"" if bodiless else b"hello there")
            assert (answer.header(b"content-length") is not None) == (length and status != 204)
            assert (answer.header(b"transfer-encoding") is None) == (length or bodiless)
        await client.nothing_more()

    play(answering(b"hello ", b"there", status=status, length=length), case)


# -- Keep-alive and pipelining ---------------------------------------------------------------------------------------


def test_requests_one_after_another(play: Play) -> None:
    async def case(client: Any) -> None:
        for i in range(5):
            await client.send(get(f"/{i}"), more=True)
            assert (await client.answer()).body == b"GET /%d " % i
        await client.send(post(b"last"))
        assert (await client.answer("POST")).body == b"POST / last"
        await client.nothing_more()

    play(echo, case)


def requests_of_all_kinds(count: int) -> tuple[list[str], list[bytes], bytes]:
    methods, expected, data = [], [], b""
    for i in range(count):
        path = f"/{i}"
        kind = i % 4
        methods.append(["GET", "HEAD", "POST", "POST"][kind])
        body = b"b" * i
        data += [
            get(path),
            get(path, method="HEAD"),
            post(body, path=path),
            chunked(body or b"-", path=path),
        ][kind]
        sent = body if kind > 1 else b""
        expected.append(b"" if kind == 1 else b"%s /%d %s" % (methods[-1].encode(), i, sent))
    return methods, expected, data


@pytest.mark.parametrize("wait", [False, True], ids=["at once", "later"])
def test_pipelined_requests_are_answered_in_order(wait: bool, play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if wait and scope["path"] in ("/0", "/5", "/6", "/20"):
            await asyncio.sleep(0)
        await echo(scope, receive, send)

    async def case(client: Any) -> None:
        methods, expected, data = requests_of_all_kinds(40)
        await client.send(data)
        answers = await client.answers(methods)
        assert [answer.body for answer in answers] == expected
        assert client.context.counters.requests == 40
        await client.nothing_more()

    play(app, case)


def test_a_long_pipeline_lets_others_have_their_turn(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        turns = 0

        def turn() -> None:
            nonlocal turns
            turns += 1
            if client.context.counters.requests < 200:
                client.wiring.loop.call_soon(turn)

        client.wiring.loop.call_soon(turn)
        await client.send(get() * 200)
        await client.answers(["GET"] * 200)
        assert turns > 5

    play_steps(echo, case)


def test_a_pipelined_request_waits_for_the_one_before(play: Play) -> None:
    order: list[str] = []

    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            order.append(f"begin {scope['path']}")
            if scope["path"] == "/1":
                await go.wait()
            await echo(scope, receive, send)
            order.append(f"end {scope['path']}")

        client.app = slow
        await client.send(get("/1") + get("/2") + post(b"three", path="/3"))
        await client.settle()
        assert order == ["begin /1"]
        go.set()
        answers = await client.answers(["GET", "GET", "POST"])
        assert [answer.body for answer in answers] == [b"GET /1 ", b"GET /2 ", b"POST /3 three"]
        await client.until(lambda: len(order) == 6)
        assert order == ["begin /1", "end /1", "begin /2", "end /2", "begin /3", "end /3"]

    play(None, case)


@pytest.mark.parametrize(
    ("version", "option", "closes"),
    [
        ("1.1", None, False),
        ("1.1", "keep-alive", False),
        ("1.1", "close", True),
        ("1.1", "Close", True),
        ("1.1", "x-hop, close", True),
        ("1.0", None, True),
        ("1.0", "close", True),
        ("1.0", "keep-alive", False),
        ("1.0", "Keep-Alive", False),
    ],
)
def test_what_the_client_says_of_the_connection(version: str, option: str | None, closes: bool, play: Play) -> None:
    async def case(client: Any) -> None:
        fields = [] if option is None else [f"Connection: {option}"]
        await client.send(get("/", *fields, version=version))
        answer = await client.answer()
        assert answer.header(b"transfer-encoding") is None
        if closes:
            assert answer.header(b"connection") == b"close"
            assert await client.end() == b""
        else:
            assert answer.header(b"connection") == (b"keep-alive" if version == "1.0" else None)
            await client.nothing_more()

    play(echo, case)


def test_what_the_app_says_of_the_connection(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(get())
        assert (await client.answer()).header(b"connection") == b"close"
        assert await client.end() == b""

    play(answering(headers=[(b"connection", b"close")], length=True), case)


def test_nothing_behind_close_is_read(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(get("/", "Connection: close") + get("/second"))
        assert (await client.answer()).body == b"GET / "
        assert await client.end() == b""
        assert client.context.counters.requests == 1

    play(echo, case)


@pytest.mark.parametrize("keep", [True, False])
def test_http_1_0_is_never_sent_chunks(keep: bool, play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(get("/", *["Connection: keep-alive"] * keep, version="1.0"))
        await client.until(lambda: client.ended)
        answer = await client.answer()
        assert answer.header(b"transfer-encoding") is None
        assert answer.header(b"connection") == b"close"
        assert answer.body == b"onetwo"

    play(answering(b"one", b"two"), case)


def test_http_1_0_and_keep_alive(play: Play) -> None:
    async def case(client: Any) -> None:
        for i in range(3):
            await client.send(get(f"/{i}", "Connection: keep-alive", version="1.0"), more=True)
            answer = await client.answer()
            assert answer.body == b"GET /%d " % i
            assert answer.header(b"connection") == b"keep-alive"
        await client.send(get("/last", version="1.0"))
        assert (await client.answer()).body == b"GET /last "
        assert await client.end() == b""

    play(echo, case)


# -- Targets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "path"),
    [
        ("GET", "http://other:81/path?a=b", b"/path"),
        ("GET", "HTTP://other", b"/"),
        ("OPTIONS", "*", b"*"),
        ("GET", "//double/slash", b"//double/slash"),
        ("GET", "/%2e%2E/%00", b"/%2e%2E/%00"),
    ],
)
def test_forms_of_the_target(method: str, target: str, path: bytes, play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(get(target, method=method))
        assert (await client.answer(method)).body == method.encode() + b" " + path + b" "

    play(echo, case)


# -- 100 Continue ----------------------------------------------------------------------------------------------------


def test_continue_is_said_when_the_app_reads(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        read = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await read.wait()
            await echo(scope, receive, send)

        client.app = app
        await client.send(get("/", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        await client.nothing_more()
        read.set()
        await client.until(lambda: client.ended or b"\r\n\r\n" in client.received)
        assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"he", more=True)
        await client.settle()
        await client.send(b"llo")
        answer = await client.answer("POST")
        assert answer.informational == (100,)
        assert answer.body == b"POST / hello"
        await client.nothing_more()

    play_steps(None, case)


def test_continue_is_not_said_when_the_body_is_here(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(post(b"hello", "Expect: 100-continue"))
        answer = await client.answer("POST")
        assert (answer.informational, answer.body) == ((), b"POST / hello")
        await client.nothing_more()

    play_steps(echo, case)


def test_continue_is_not_said_by_an_app_that_does_not_read(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(get("/", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        answer = await client.answer("POST")
        assert answer.informational == ()
        assert answer.header(b"connection") == b"close"
        assert await client.end() == b""

    play_steps(answering(length=True), case)


def test_continue_is_not_said_to_http_1_0(play: Play) -> None:
    async def case(client: Any) -> None:
        fields = ["Content-Length: 5", "Expect: 100-continue"]
        await client.send(get("/", *fields, method="POST", version="1.0"), more=True)
        await client.nothing_more()
        await client.send(b"hello")
        answer = await client.answer("POST")
        assert (answer.informational, answer.body) == ((), b"POST / hello")

    play(echo, case)


# -- What cannot be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000, 431),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    ],
    ids=["NUL", "no host", "bad name", "two lengths", "long target", "long head", "version"],
)
def test_a_request_that_cannot_be_read_is_refused(request_bytes: bytes, status: int, play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("never called")

    async def case(client: Any) -> None:
        await client.send(request_bytes)
        answer = await client.answer()
        assert answer.status == status
        assert answer.header(b"connection") == b"close"
        assert answer.header(b"server") == b"esg"
        assert await client.end() == b""
        assert client.context.counters.protocol_errors == 1
        (record,) = client.take_errors()
        assert record.levelname == "WARNING"
        assert record.getMessage().startswith("Invalid HTTP request received from ")

    play_steps(app, case)


@pytest.mark.parametrize("wait", [False, True], ids=["at once", "later"])
def test_a_bad_second_request_leaves_the_first_its_answer(wait: bool, play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if wait:
            await asyncio.sleep(0)
        await echo(scope, receive, send)

    async def case(client: Any) -> None:
        await client.send(post(b"first") + b"GET / HTTP/1.1\r\n\r\n")
        first, second = await client.answers(["POST", "GET"])
        assert (first.status, first.body) == (200, b"POST / first")
        assert (second.status, second.body) == (400, b"Bad Request")
        assert await client.end() == b""
        assert len(client.take_errors()) == 1

    play(app, case)


def test_a_bad_request_behind_head_is_refused_with_its_body(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(get(method="HEAD") + b"GET / HTTP/1.1\r\n\r\n")
        _, second = await client.answers(["HEAD", "GET"])
        assert (second.status, second.body) == (400, b"Bad Request")
        assert await client.end() == b""
        client.take_errors()

    play(echo, case)


def test_a_body_that_goes_bad_before_the_answer(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        messages = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            messages.append(await receive())
            messages.append(await receive())
            with pytest.raises(OSError):
                await send({"type": "http.response.start", "status": 200})

        client.app = app
        await client.send(get("/", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n"), more=True)
        await client.until(lambda: messages)
        await client.send(b"nonsense\r\n")
        assert (await client.answer("POST")).status == 400
        assert await client.end() == b""
        await client.until(lambda: len(messages) == 2)
        assert messages == [
            {"type": "http.request", "body": b"abc", "more_body": True},
            {"type": "http.disconnect"},
        ]
        client.take_errors()

    play_steps(None, case)


def test_a_body_that_goes_bad_within_the_answer_cuts_it(play_steps: Play, incomplete: Any, judge: Any) -> None:
    async def case(client: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"begin", "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass

        client.app = app
        await client.send(get("/", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n"), more=True)
        await client.until(lambda: client.ended or b"begin" in client.received)
        await client.send(b"nonsense\r\n")
        rest = await client.end()
        assert rest.count(b"HTTP/1.1") == 1
        assert rest.endswith(b"5\r\nbegin\r\n")
        client.take_errors()

    play_steps(None, case)


# -- Between the end of a response and the next request --------------------------------------------------------------
# A response that ends in a step of its app's task leaves the next request to the next turn of the loop; what the
# selector reported in the same turn comes in between.


def between(client: Any, go: asyncio.Event, *calls: Any) -> None:
    """Let the first response end, and call these behind it in the same turn."""
    client.wiring.loop.call_soon(go.set)
    for call in calls:
        client.wiring.loop.call_soon(client.wiring.loop.call_soon, *call)


async def two_requests(client: Any, second: bytes) -> asyncio.Event:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/first":
            await go.wait()
        await echo(scope, receive, send)

    client.app = app
    await client.send(get("/first") + second, more=True)
    await client.settle()
    return go


def test_a_body_that_comes_between_two_requests(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        go = await two_requests(client, post(b"hello")[:-5])
        between(client, go, (client.transport.receive, b"he"), (client.transport.receive, b"llo"))
        answers = await client.answers(["GET", "POST"])
        assert [answer.body for answer in answers] == [b"GET /first ", b"POST / hello"]

    play_fake(None, case)


def test_the_end_that_comes_between_two_requests(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        go = await two_requests(client, get("/second"))
        between(client, go, (client.transport.receive_eof,))
        answers = await client.answers(["GET", "GET"])
        assert [answer.body for answer in answers] == [b"GET /first ", b"GET /second "]
        assert await client.end() == b""

    play_fake(None, case)


def test_a_shutdown_that_comes_between_two_requests(play_fake: Play) -> None:
    """The second one may be answered or not; its app is called only if it is."""

    async def case(client: Any) -> None:
        go = await two_requests(client, get("/second"))
        between(client, go, (client.protocol.shutdown,))
        await client.until(lambda: client.ended)
        answers = await client.answers(["GET"] * client.context.counters.requests)
        assert answers[0].body == b"GET /first "
        assert await client.end() == b""

    play_fake(None, case)


def test_a_loss_that_comes_between_two_requests(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        go = await two_requests(client, get("/second"))
        between(client, go, (client.transport.lose,))
        await client.until(lambda: not client.context.tasks)
        await client.settle()
        assert client.context.counters.requests == 1

    play_fake(None, case)
