"""``receive``: bodies, waiting, cancelling, and the client that leaves."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
from collections.abc import Callable
from typing import Any

import pytest
from esg_protocols.errors import ClientDisconnected, LocalProtocolError

Play = Callable[..., None]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
STREAM = {"type": "http.response.start", "status": 200}
BODY = {"type": "http.response.body", "body": b"hello"}
DISCONNECT = {"type": "http.disconnect"}


def request(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def part(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def hello(send: Any) -> None:
    await send(START)
    await send(BODY)


# -- What comes ------------------------------------------------------------------------------------------------------


def test_a_request_without_a_body_is_one_message(play: Play) -> None:
    messages = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        messages.append(await receive())
        await hello(send)

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.answer()
        assert messages == [request(b"")]

    play(app, case)


def test_a_body_in_the_same_read_is_one_message(play_fake: Play) -> None:
    messages = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        messages.append(await receive())
        await hello(send)

    async def case(client: Any) -> None:
        await client.send(POST + b"0123456789", more=True)
        await client.answer("POST")
        await client.send(CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        await client.answer("POST")
        assert messages == [request(b"0123456789"), request(b"abcde")]

    play_fake(app, case)


@pytest.mark.parametrize("pieces", [[b"0123456789"], [b"01234", b"56789"], [b"%d" % i for i in range(10)]])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_comes_as_it_is_sent(pieces: list[bytes], chunked: bool, play_steps: Play) -> None:
    messages = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not messages or messages[-1]["more_body"]:
            messages.append(await receive())
        await hello(send)

    async def case(client: Any) -> None:
        await client.send(CHUNKED if chunked else POST, more=True)
        for i, piece in enumerate(pieces):
            await client.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece, more=True)
            await client.until(lambda i=i: len(messages) > i)
        if chunked:
            await client.send(b"0\r\n\r\n")
        await client.answer("POST")
        expected = [request(piece, True) for piece in pieces]
        if chunked:
            expected.append(request(b""))
        else:
            expected[-1]["more_body"] = False
        assert messages == expected

    play_steps(app, case)


def test_what_came_while_nobody_read_is_one_message(play: Play) -> None:
    messages = []

    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            messages.append(await receive())
            await hello(send)

        client.app = app
        await client.send(POST, more=True)
        for i in range(10):
            await client.send(b"%d" % i, more=i < 9)
            await client.settle()
        go.set()
        await client.answer("POST")
        assert messages == [request(b"0123456789")]

    play(None, case)


def test_messages_are_the_apps_own(play: Play) -> None:
    """An app may change what it is given; the next one gets it fresh."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        assert message == request(b"")
        message.clear()
        await hello(send)
        gone = await receive()
        assert gone == DISCONNECT
        gone.clear()
        assert await receive() == DISCONNECT

    async def case(client: Any) -> None:
        for more in (True, False):
            await client.send(GET, more=more)
            await client.answer()
        await client.nothing_more()

    play(app, case)


# -- Waiting ---------------------------------------------------------------------------------------------------------


def test_behind_the_response_there_is_only_disconnect(play: Play) -> None:
    messages = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(send)
        for _ in range(3):
            messages.append(await receive())

    async def case(client: Any) -> None:
        await client.send(POST + b"0123456789")
        await client.answer("POST")
        await client.until(lambda: len(messages) == 3)
        assert messages == [DISCONNECT] * 3
        await client.nothing_more()

    play(app, case)


def test_a_receive_that_waits_when_the_response_ends(play: Play) -> None:
    messages = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert await receive() == request(b"")
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        assert not waiting.done()
        await hello(send)
        messages.append(await waiting)

    async def case(client: Any) -> None:
        for more in (True, False):
            await client.send(GET, more=more)
            await client.answer()
        await client.until(lambda: len(messages) == 2)
        assert messages == [DISCONNECT] * 2
        await client.nothing_more()

    play(app, case)


def test_a_receive_that_waits_while_others_are_served(play_steps: Play) -> None:
    """What an app left behind waiting gets its own disconnect, and nothing of the requests behind it."""
    left: list[Any] = []
    bodies: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        bodies.append(await receive())
        left.append(asyncio.ensure_future(receive()))
        await asyncio.sleep(0)
        await hello(send)

    async def case(client: Any) -> None:
        for i in range(4):
            body = b"%010d" % i
            await client.send(POST + body, more=True)
            await client.answer("POST")
            assert bodies[i] == request(body)
        assert [await waiting for waiting in left] == [DISCONNECT] * 4
        await client.nothing_more()

    play_steps(app, case)


@pytest.mark.parametrize("keep", ["receive", "send", "both", "awaitable"])
def test_what_an_app_keeps_stays_with_its_request(keep: str, play_steps: Play) -> None:
    kept: list[Any] = []
    bodies: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/keep":
            kept.append(receive if keep in ("receive", "both") else None)
            kept.append(send if keep in ("send", "both") else None)
            kept.append(receive() if keep == "awaitable" else None)
        else:
            await asyncio.sleep(0)
            bodies.append(await receive())
        await hello(send)

    async def case(client: Any) -> None:
        await client.send(GET.replace(b"/ ", b"/keep "), more=True)
        await client.answer()
        await client.send(POST + b"01234", more=True)
        await client.settle()
        receive, send, awaitable = kept
        if receive is not None:
            assert await receive() == DISCONNECT
        if awaitable is not None:
            assert await awaitable == DISCONNECT
        if send is not None:
            with pytest.raises(LocalProtocolError, match="after the response was complete"):
                await send(START)
        await client.send(b"56789", more=True)
        await client.answer("POST")
        assert bodies in ([request(b"0123456789")], [request(b"01234", True)])
        await client.send(POST + b"9876543210")
        await client.answer("POST")
        assert bodies[-1] == request(b"9876543210")

    play_steps(app, case)


def test_two_receives_at_once(play_steps: Play) -> None:
    messages: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        messages.extend(await asyncio.gather(receive(), receive(), receive()))
        await hello(send)

    async def case(client: Any) -> None:
        await client.send(POST, more=True)
        for data in (b"0123", b"456", b"789"):
            await client.settle()
            await client.send(data, more=True)
        await client.answer("POST")
        assert sorted(message["body"] for message in messages) == [b"0123", b"456", b"789"]
        assert [message["more_body"] for message in messages].count(False) == 1

    play_steps(app, case)


def test_two_receives_at_once_when_the_client_leaves(play: Play) -> None:
    messages: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        messages.extend(await asyncio.gather(receive(), receive()))

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.settle()
        await client.leave()
        await client.until(lambda: messages)
        assert messages == [DISCONNECT] * 2

    play(app, case)


# -- Cancelling ------------------------------------------------------------------------------------------------------


def test_a_receive_that_was_cancelled_takes_nothing_with_it(play_steps: Play) -> None:
    messages: list[Any] = []

    async def case(client: Any) -> None:
        waiting = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            task = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(receive(), 0)
            waiting.set()
            while not messages or messages[-1]["more_body"]:
                messages.append(await receive())
            await hello(send)

        client.app = app
        await client.send(POST, more=True)
        await waiting.wait()
        await client.send(b"0123456789")
        await client.answer("POST")
        assert messages == [request(b"0123456789")]

    play_steps(None, case)


def test_a_task_cancelled_in_receive_sees_it(play: Play) -> None:
    """A server that swallows the cancellation leaves an app hanging, with whatever it holds."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

        async def listen() -> None:
            try:
                await receive()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
            finally:
                seen.append("finally")

        task = asyncio.ensure_future(listen())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await hello(send)

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.answer()
        assert seen == ["cancelled", "finally"]

    play(app, case)


def test_cancelled_receives_are_not_kept(play_fake: Play) -> None:
    """An app that looks once a second whether its client is there may do so for days."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

        async def poll() -> None:
            task = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

        for _ in range(50):
            await poll()
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(500):
            await poll()
        gc.collect()
        assert len(gc.get_objects()) < before + 100
        await hello(send)

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).status == 200

    play_fake(app, case)


# -- What the awaitables are -----------------------------------------------------------------------------------------


def test_receive_and_send_make_coroutines(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for made in (receive(), send(START)):
            assert asyncio.iscoroutine(made)
            assert inspect.isawaitable(made)
            made.close()
        await send(BODY)

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).body == b"hello"

    play(app, case)


def test_tasks_of_receive_and_send(play: Play) -> None:
    messages = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        task = asyncio.create_task(receive(), name="receiving")
        assert "receiving" in repr(task)
        messages.append(await task)
        messages.append(await asyncio.wait_for(receive(), 10))
        await asyncio.gather(asyncio.create_task(send(STREAM)))
        await asyncio.wait_for(send(part(b"hel")), 10)
        await asyncio.wait([asyncio.ensure_future(send(part(b"l")))])
        await asyncio.shield(send({"type": "http.response.body", "body": b"o"}))

    async def case(client: Any) -> None:
        await client.send(POST + b"01234", more=True)
        await client.until(lambda: messages)
        await client.send(b"56789")
        assert (await client.answer("POST")).body == b"hello"

    play(app, case)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup and timeout are of Python 3.11")
def test_task_groups_and_timeouts_in_the_first_step(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert asyncio.current_task() is not None
        async with asyncio.timeout(10):
            assert await receive() == request(b"")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await receive()
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(receive())
            group.create_task(send(START))
            listening.cancel()
        await send(BODY)

    async def case(client: Any) -> None:
        for more in (True, False):
            await client.send(GET, more=more)
            assert (await client.answer()).body == b"hello"

    play(app, case)


def test_anyio_in_the_first_step(play: Play) -> None:
    anyio = pytest.importorskip("anyio")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert anyio.get_current_task().id
        async with anyio.create_task_group() as group:
            # What Starlette does round a streaming response.
            async def listen() -> None:
                message = await receive()
                while message["type"] != "http.disconnect":
                    message = await receive()

            group.start_soon(listen)
            await send(STREAM)
            await send(part(b"hel"))
            with anyio.move_on_after(0):
                await anyio.sleep(10)
            await send({"type": "http.response.body", "body": b"lo"})
        with anyio.fail_after(10):
            await receive()

    async def case(client: Any) -> None:
        for more in (True, False):
            await client.send(GET, more=more)
            assert (await client.answer()).body == b"hello"
        await client.until(lambda: not client.context.tasks)

    play(app, case)


def test_debug_mode(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        task = asyncio.create_task(receive())
        repr(task)
        task.get_stack()
        await task
        await hello(send)

    async def case(client: Any) -> None:
        client.wiring.loop.set_debug(True)
        client.wiring.loop.slow_callback_duration = 60.0
        await client.send(POST + b"0123456789")
        assert (await client.answer("POST")).body == b"hello"

    play_steps(app, case)


# -- The client leaves -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"0123", b"012345678"], ids=len)
def test_the_client_leaves_within_its_body(sent: bytes, play_steps: Play) -> None:
    messages = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not messages or messages[-1]["type"] != "http.disconnect":
            messages.append(await receive())

    async def case(client: Any) -> None:
        await client.send(POST + sent, more=True)
        await client.until(lambda: client.context.counters.requests)
        await client.settle()
        await client.leave()
        await client.until(lambda: messages and messages[-1] == DISCONNECT)
        assert messages[:-1] == ([request(sent, True)] if sent else [])

    play_steps(app, case)


@pytest.mark.parametrize("way", ["leave", "send_eof"])
def test_a_body_cut_short_is_never_whole(way: str, play_steps: Play) -> None:
    """Whether it breaks off or ends: what was read is not passed on as the whole body."""
    messages = []

    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            while not messages or messages[-1]["type"] != "http.disconnect":
                messages.append(await receive())

        client.app = app
        await client.send(POST + b"01234", more=True)
        await client.until(lambda: client.context.counters.requests)
        await getattr(client, way)()
        await client.until(lambda: not client.context.connections)
        go.set()
        await client.until(lambda: messages and messages[-1] == DISCONNECT)
        assert messages in ([request(b"01234", True), DISCONNECT], [DISCONNECT])

    play_steps(None, case)


def test_the_client_leaves_while_the_app_waits_in_receive(play: Play) -> None:
    outcome: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        outcome.append(await receive())
        for message in (STREAM, part(b"x"), {"type": "nonsense"}):
            with pytest.raises(ClientDisconnected) as raised:
                await send(message)
            outcome.append(raised.value)
        outcome.append(await receive())

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.settle()
        await client.leave()
        await client.until(lambda: len(outcome) == 5)
        assert outcome[0] == outcome[4] == DISCONNECT
        assert all(isinstance(error, OSError) for error in outcome[1:4])

    play(app, case)


@pytest.mark.parametrize("body", [b"", b"0123456789"], ids=["GET", "POST"])
def test_the_client_hangs_up_while_the_app_waits_in_receive(body: bytes, play: Play) -> None:
    """A client that closes its socket sends no more than one that closes one side; the app must not wait for ever."""
    messages: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while DISCONNECT not in messages:
            messages.append(await receive())

    async def case(client: Any) -> None:
        await client.send(POST + body if body else GET)
        await client.until(lambda: messages and not messages[-1]["more_body"])
        await client.hang_up()
        await client.until(lambda: DISCONNECT in messages)
        await client.until(lambda: not client.context.tasks)
        client.take_errors()

    play(app, case)


def test_the_client_leaves_an_app_that_does_not_look(play: Play) -> None:
    """The error of send ends the app, and that is nothing to log."""
    outcome: list[Any] = []

    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            try:
                await hello(send)
            except OSError as error:
                outcome.append(error)
                raise

        client.app = app
        await client.send(GET)
        await client.until(lambda: client.context.counters.requests)
        await client.leave()
        await client.until(lambda: not client.context.connections)
        go.set()
        await client.until(lambda: not client.context.tasks)
        assert isinstance(outcome[0], ClientDisconnected)
        assert client.context.counters.app_errors == 0

    play(None, case)


def test_the_client_leaves_within_a_stream(play: Play) -> None:
    outcome: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(STREAM)
        try:
            while True:
                await send(part(b"tick"))
                await asyncio.sleep(0)
        except OSError as error:
            outcome.append(error)
            raise

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.until(lambda: client.ended or b"tick" in client.received)
        await client.leave()
        await client.until(lambda: not client.context.tasks)
        assert isinstance(outcome[0], ClientDisconnected)

    play(app, case)


def test_an_app_that_fails_otherwise_once_its_client_is_gone_is_logged(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        raise ZeroDivisionError

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.settle()
        await client.leave()
        await client.until(lambda: client.context.counters.app_errors)
        (record,) = client.take_errors()
        assert record.exc_info[0] is ZeroDivisionError

    play(app, case)


def test_an_app_that_gives_up_quietly_once_its_client_is_gone(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.settle()
        await client.leave()
        await client.until(lambda: not client.context.tasks)

    play(app, case)


def test_the_client_leaves_behind_the_response(play: Play) -> None:
    """The app that still works behind its response is not disturbed."""
    done = []

    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await hello(send)
            await go.wait()
            done.append(await receive())

        client.app = app
        await client.send(GET)
        await client.answer()
        await client.leave()
        await client.until(lambda: not client.context.connections)
        go.set()
        await client.until(lambda: not client.context.tasks)
        assert done == [DISCONNECT]

    play(None, case)
