"""What an app may do wrong: it learns of it, the client sees a 500 or the end, and nothing else gets on the wire."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from esg_protocols.errors import LocalProtocolError

Play = Callable[..., None]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
STREAM = {"type": "http.response.start", "status": 200}
BODY = {"type": "http.response.body", "body": b"hello"}


def part(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


class Trouble(Exception):
    pass


async def refused(client: Any) -> list[Any]:
    """The request was answered with 500 and the connection ended; what was logged."""
    await client.send(GET)
    answer = await client.answer()
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert answer.header(b"connection") == b"close"
    assert await client.end() == b""
    return list(client.take_errors())


@pytest.fixture(params=[False, True], ids=["at once", "later"])
def wait(request: pytest.FixtureRequest) -> Any:
    """Something for the app to await: nothing, or a turn of the loop."""

    async def wait() -> None:
        if request.param:
            await asyncio.sleep(0)

    return wait


# -- What an app's messages are made of --------------------------------------------------------------------------------


class Key(str):
    """A key that is no plain str."""


def put_together(message: dict[str, Any]) -> dict[str, Any]:
    """The message with keys that no program wrote down, and so no interned objects."""
    return {"".join([key[:1], key[1:]]): value for key, value in message.items()}


@pytest.mark.parametrize(
    "make",
    [
        dict,
        put_together,
        lambda message: {"more": 1, Key("other"): 2, 7: 8, **message},
        lambda message: [*message.items()],
    ],
    ids=["written", "put together", "with strangers", "pairs"],
)
def test_the_keys_of_a_message(play: Play, make: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(make({"type": "http.response.start", "status": 201, "headers": [(b"x-a", b"b")]}))
        await send(make({"type": "http.response.body", "body": b"a", "more_body": True}))
        await send(make({"type": "http.response.body", "body": b"b", "more_body": False}))

    async def case(client: Any) -> None:
        await client.send(GET)
        answer = await client.answer()
        assert (answer.status, answer.body, answer.header(b"x-a")) == (201, b"ab", b"b")

    play(app, case)


# -- An app that fails -----------------------------------------------------------------------------------------------


def test_an_app_that_raises_before_its_response(play: Play, wait: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await wait()
        raise Trouble

    async def case(client: Any) -> None:
        (record,) = await refused(client)
        assert record.getMessage() == "Exception in ASGI application"
        assert record.levelname == "ERROR"
        assert record.exc_info[0] is Trouble
        assert client.context.counters.app_errors == 1

    play(app, case)


def test_an_app_that_raises_behind_start(play: Play, wait: Any) -> None:
    """Once the status is said it cannot be taken back: the client must see that the body is cut short."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(STREAM)
        await wait()
        raise Trouble

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.end()).endswith(b"date: Thu, 01 Jan 1970 00:16:40 GMT\r\n\r\n")
        (record,) = client.take_errors()
        assert record.exc_info[0] is Trouble

    play(app, case)


@pytest.mark.parametrize("start", [START, STREAM], ids=["length", "chunked"])
def test_an_app_that_raises_within_the_body(start: Any, play: Play, wait: Any, judge: Any) -> None:
    import h11

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send(part(b"he"))
        await wait()
        raise Trouble

    async def case(client: Any) -> None:
        await client.send(GET)
        written = await client.end()
        assert written.endswith(b"\r\n\r\n2\r\nhe\r\n" if start is STREAM else b"\r\n\r\nhe")
        with pytest.raises(h11.RemoteProtocolError, match="peer closed connection without sending complete"):
            judge(written, ["GET"], eof=True)
        assert len(client.take_errors()) == 1

    play(app, case)


def test_an_app_that_raises_behind_its_response(play: Play, wait: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(BODY)
        await wait()
        raise Trouble

    async def case(client: Any) -> None:
        for i in (1, 2):
            await client.send(GET, more=True)
            assert (await client.answer()).body == b"hello"
            await client.until(lambda i=i: client.context.counters.app_errors == i)
        await client.nothing_more()
        assert [record.exc_info[0] for record in client.take_errors()] == [Trouble, Trouble]

    play(app, case)


def test_an_app_that_returns_without_a_response(play: Play, wait: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await wait()

    async def case(client: Any) -> None:
        (record,) = await refused(client)
        assert record.getMessage() == "The application returned without a response."

    play(app, case)


def test_an_app_that_returns_behind_start(play: Play, wait: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(STREAM)
        await send(part(b"x"))
        await wait()

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.end()).endswith(b"\r\n\r\n1\r\nx\r\n")
        (record,) = client.take_errors()
        assert record.getMessage() == "The application returned before its response was complete."

    play(app, case)


@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
def test_a_body_that_would_look_whole_ends_with_a_reset(raises: bool, play: Play, wait: Any) -> None:
    """To HTTP/1.0 the end of the connection ends the body, so it must not look like an orderly one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(STREAM)
        await send(part(b"x"))
        await wait()
        if raises:
            raise Trouble

    async def case(client: Any) -> None:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        await client.until(lambda: client.ended)
        assert client.was_reset
        assert len(client.take_errors()) == 1

    play(app, case)


def test_a_whole_body_does_not_end_with_a_reset(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(STREAM)
        await send(BODY)

    async def case(client: Any) -> None:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        await client.until(lambda: client.ended)
        assert client.received.endswith(b"\r\n\r\nhello")
        assert not client.was_reset

    play(app, case)


def test_an_app_that_is_cancelled(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    async def case(client: Any) -> None:
        assert len(await refused(client)) == 1

    play(app, case)


def test_an_app_that_cannot_be_called(play: Play) -> None:
    async def app(scope: Any) -> None:
        raise AssertionError("never called")

    async def case(client: Any) -> None:
        (record,) = await refused(client)
        assert record.exc_info[0] is TypeError

    play(app, case)


@pytest.mark.parametrize("result", [None, 5], ids=repr)
def test_an_app_that_is_no_coroutine(result: Any, play: Play) -> None:
    async def case(client: Any) -> None:
        (record,) = await refused(client)
        assert record.exc_info[0] is TypeError

    play(lambda scope, receive, send: result, case)


def test_a_refused_request_with_a_body_is_refused_whole(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise Trouble

    async def case(client: Any) -> None:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 5000, more=True)
        assert (await client.answer("POST")).status == 500
        assert await client.end() == b""
        client.take_errors()

    play(app, case)


def test_the_request_behind_a_failure_is_not_answered(play: Play, wait: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await wait()
        raise Trouble

    async def case(client: Any) -> None:
        await client.send(GET * 3)
        assert (await client.answer()).status == 500
        assert await client.end() == b""
        assert client.context.counters.requests == 1
        assert len(client.take_errors()) == 1

    play(app, case)


# -- Content-Length --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "written"),
    [
        ([b"hello!"], b""),
        ([b"hell", b"o!"], b"hell"),
        ([b"hello", b"!"], b"hello"),
        ([b"x" * 100_000], b""),
        ([b"h", b"x" * 100_000], b"h"),
    ],
)
def test_more_bytes_than_the_content_length(parts: list[bytes], written: bytes, play: Play) -> None:
    raised = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        try:
            for data in parts:
                await send(part(data))
        except LocalProtocolError as error:
            raised.append(error)

    async def case(client: Any) -> None:
        await client.send(GET)
        head, blank, body = (await client.end()).partition(b"\r\n\r\n")
        assert b"content-length: 5" in head
        assert body == written
        assert "body bytes where content-length leaves" in str(raised[0])
        (record,) = client.take_errors()
        assert "cut short" in record.getMessage()

    play(app, case)


@pytest.mark.parametrize("parts", [[b""], [b"hell"], [b"he", b"ll"], [b"hell", b""]])
def test_fewer_bytes_than_the_content_length(parts: list[bytes], play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for data in parts[:-1]:
            await send(part(data))
        await send({"type": "http.response.body", "body": parts[-1]})

    async def case(client: Any) -> None:
        await client.send(GET)
        head, blank, body = (await client.end()).partition(b"\r\n\r\n")
        assert len(body) < 5
        assert b"hell".startswith(body)
        assert "cut short" in client.take_errors()[0].getMessage()

    play(app, case)


def test_the_length_of_a_body_that_is_not_sent_is_not_held_against_the_app(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"far more than it says"})

    async def case(client: Any) -> None:
        await client.send(GET.replace(b"GET", b"HEAD"))
        answer = await client.answer("HEAD")
        assert answer.header(b"content-length") == b"5"
        await client.nothing_more()

    play(app, case)


# -- Headers and status ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"headers": [(b"x", b"a\r\nInjected: yes")]},
        {"headers": [(b"x", b"a\nInjected: yes")]},
        {"headers": [(b"x", b"a\rInjected: yes")]},
        {"headers": [(b"x", b"Injected\x00")]},
        {"headers": [(b"Injected: yes\r\nx", b"a")]},
        {"headers": [(b"ok", b"Injected"), (b"", b"a")]},
        {"headers": [("Injected", "yes")]},
        {"headers": [b"Injected"]},
        {"headers": [(b"content-length", b"5"), (b"content-length", b"6")]},
        {"headers": [(b"content-length", b"-5")]},
        {"headers": [(b"transfer-encoding", b"gzip")]},
        {"headers": None},
        {"status": 99},
        {"status": 100},
        {"status": 101},
        {"status": 103},
        {"status": 1000},
        {"status": "200 OK"},
        {"status": None},
    ],
    ids=repr,
)
def test_a_start_that_must_not_be_sent(fields: dict[str, Any], play: Play) -> None:
    raised = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, **fields})
        except LocalProtocolError as error:
            raised.append(error)
            raise

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.until(lambda: client.ended)
        assert b"Injected" not in client.received
        answer = await client.answer()
        assert answer.status == 500
        assert len(raised) == len(client.take_errors()) == 1

    play(app, case)


def test_an_app_may_mend_its_start(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(LocalProtocolError):
            await send({"type": "http.response.start", "status": 200, "headers": [(b"bad\n", b"")]})
        await send(START)
        await send(BODY)

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).body == b"hello"
        await client.nothing_more()

    play(app, case)


# -- Messages of a wrong type or order -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "message", "text"),
    [
        ([], BODY, "'http.response.body' sent where 'http.response.start' is due"),
        ([], {"type": "http.response.trailers"}, "'http.response.trailers' sent where"),
        ([], {"type": "websocket.accept"}, "'websocket.accept' sent where"),
        ([], {"type": "http.response.starT"}, "'http.response.starT' sent where"),
        ([], {"type": b"http.response.start"}, "b'http.response.start' sent where"),
        ([], {"type": None}, "None sent where"),
        ([], {"type": "http.rësponse.start"}, "'http.rësponse.start' sent where"),
        ([], {}, "None sent where 'http.response.start' is due"),
        ([], {"status": 200}, "None sent where 'http.response.start' is due"),
        ([], {"type": "http.response.start"}, "status"),
        ([START], START, "'http.response.start' sent where 'http.response.body' is due"),
        ([START], {"type": "http.response.debug"}, "'http.response.debug' sent where"),
        ([START], {}, "None sent where 'http.response.body' is due"),
        ([START, BODY], BODY, "'http.response.body' sent after the response was complete"),
        ([START, BODY], START, "'http.response.start' sent after the response was complete"),
        ([START], {"type": "http.response.body", "body": "text"}, "body must be bytes, not str"),
        ([START], {"type": "http.response.body", "body": None}, "body must be bytes, not NoneType"),
    ],
    ids=str,
)
def test_a_message_that_must_not_come(before: list[Any], message: Any, text: str, play_steps: Play) -> None:
    raised = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for earlier in before:
            await send(earlier)
        try:
            await send(message)
        except BaseException as error:
            raised.append(error)

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.until(lambda: raised)
        await client.settle()
        assert type(raised[0]) is LocalProtocolError
        assert re.search(re.escape(text), str(raised[0]))
        assert client.ended == (len(before) < 2)
        client.take_errors()

    play_steps(app, case)


@pytest.mark.parametrize("message", [None, 5, "http.response.start"], ids=repr)
def test_a_message_that_is_none(message: Any, play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(message)

    async def case(client: Any) -> None:
        (record,) = await refused(client)
        assert issubclass(record.exc_info[0], (TypeError, ValueError, LocalProtocolError))

    play_steps(app, case)


def test_a_wrong_message_does_no_harm_to_the_response(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(LocalProtocolError):
            await send(BODY)
        await send(START)
        with pytest.raises(LocalProtocolError):
            await send(START)
        with pytest.raises(LocalProtocolError):
            await send({"type": "http.response.end"})
        await send(BODY)
        with pytest.raises(LocalProtocolError):
            await send(BODY)

    async def case(client: Any) -> None:
        for more in (True, False):
            await client.send(GET, more=more)
            assert (await client.answer()).body == b"hello"
        await client.nothing_more()

    play(app, case)


def test_send_is_still_refused_behind_a_failure(play_steps: Play) -> None:
    raised = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for _ in range(2):
            try:
                await send({"type": "http.response.body", "body": b"too much of it"})
            except (LocalProtocolError, OSError) as error:
                raised.append(error)

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.end()
        assert len(raised) == 2
        client.take_errors()

    play_steps(app, case)
