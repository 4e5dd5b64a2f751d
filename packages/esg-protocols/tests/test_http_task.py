"""The task that an app runs in: its turns, its cancellation, its errors, and what others see of it."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable
from typing import Any

import pytest
from esg_protocols.asgi import HTTPProtocol, ServerContext
from esg_protocols.errors import ClientDisconnected
from esg_protocols.settings import Settings
from esg_protocols.testing import FakeTransport

Play = Callable[..., None]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
STREAM = {"type": "http.response.start", "status": 200}
BODY = {"type": "http.response.body", "body": b"hello"}


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(BODY)


# -- Turns -----------------------------------------------------------------------------------------------------------


def test_an_app_that_only_sends_lets_others_have_their_turn(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/stream":
            return await hello(scope, receive, send)
        await send(STREAM)
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
        except OSError:
            pass

    async def case(client: Any) -> None:
        await client.send(GET.replace(b"/ ", b"/stream "))
        other = await client.another()
        await other.send(GET)
        assert (await other.answer()).body == b"hello"
        await client.leave()
        await client.until(lambda: not client.context.tasks)

    play_steps(app, case)


def test_a_send_that_takes_a_turn_is_a_coroutine_as_any(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(STREAM)
        for i in range(64):
            made = send({"type": "http.response.body", "body": b"%x" % (i % 16), "more_body": True})
            assert asyncio.iscoroutine(made)
            await [made, asyncio.ensure_future, asyncio.shield][i % 3](made) if i % 3 else await made
        await send({"type": "http.response.body"})

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).body == b"0123456789abcdef" * 4

    play_steps(app, case)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are of Python 3.12")
def test_the_first_step_needs_no_turn_of_the_loop(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        client.transport.receive(GET)
        assert not client.context.tasks
        await asyncio.sleep(0)
        assert client.transport.take().endswith(b"\r\n\r\nhello")

    play_fake(hello, case)


# -- Cancelling ------------------------------------------------------------------------------------------------------


def test_an_app_that_is_cancelled_may_clean_up(play_steps: Play) -> None:
    steps: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            await receive()
        except asyncio.CancelledError:
            steps.append("cancelled")
            await asyncio.sleep(0)
            steps.append("cleaned up")
            raise

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.until(lambda: client.context.tasks)
        await client.settle()
        (task,) = client.context.tasks
        task.cancel()
        assert (await client.answer()).status == 500
        assert task.cancelled()
        assert steps == ["cancelled", "cleaned up"]
        assert not client.context.tasks
        client.take_errors()

    play_steps(app, case)


def test_an_app_may_answer_when_it_is_cancelled(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            await receive()
        except asyncio.CancelledError:
            await hello(scope, receive, send)

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.until(lambda: client.context.tasks)
        await client.settle()
        (task,) = client.context.tasks
        task.cancel()
        assert (await client.answer()).body == b"hello"
        await client.until(task.done)
        assert not client.context.tasks
        await client.nothing_more()

    play_steps(app, case)


def test_an_app_that_is_cancelled_before_its_first_step(play_steps: Play) -> None:
    """Without eager tasks there is a moment for it."""

    async def case(client: Any) -> None:
        client.app = hello
        await client.send(GET)
        while not client.context.counters.requests:
            await asyncio.sleep(0)
        for task in list(client.context.tasks):
            task.cancel()
        assert (await client.answer()).status in (200, 500)
        await client.until(lambda: not client.context.tasks)
        client.take_errors()

    play_steps(None, case)


def test_the_client_leaves_before_the_first_step_of_the_app(play_fake: Play) -> None:
    """Without eager tasks there is a moment for that too; the app is called with what it may call all the same."""
    messages: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        messages.append(await receive())
        messages.append(await receive())
        with pytest.raises(ClientDisconnected):
            await send(START)
        messages.append("end")

    async def case(client: Any) -> None:
        client.transport.receive(GET)
        client.transport.lose()
        await client.until(lambda: not client.context.tasks)
        assert messages == [
            {"type": "http.request", "body": b"", "more_body": False},
            {"type": "http.disconnect"},
            "end",
        ]

    play_fake(app, case)


# -- Errors ----------------------------------------------------------------------------------------------------------


def its_own(error: BaseException) -> BaseException:
    try:
        raise ValueError("in place of it") from error
    except ValueError as own:
        return own


def in_another(error: BaseException) -> BaseException:
    try:
        try:
            raise error
        except OSError:
            raise ValueError("meanwhile")  # noqa: B904
    except ValueError as own:
        return own


def grouped(error: BaseException) -> BaseException:
    return ExceptionGroup("tasks", [its_own(error), error])  # type: ignore[name-defined]  # noqa: F821


GROUPS = pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are of Python 3.11")


@pytest.mark.parametrize(
    "make",
    [lambda error: error, its_own, in_another, pytest.param(grouped, marks=GROUPS)],
    ids=lambda make: make.__name__,
)
def test_what_comes_of_a_client_that_left_is_no_error(make: Any, play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        try:
            await send(START)
        except ClientDisconnected as error:
            gone = error
        raise make(gone)

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.until(lambda: client.context.tasks)
        await client.settle()
        await client.leave()
        await client.until(lambda: not client.context.tasks)
        assert client.context.counters.app_errors == 0

    play_steps(app, case)


@GROUPS
def test_what_goes_wrong_besides_is_one(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        errors = [ClientDisconnected("gone"), ZeroDivisionError()]
        raise BaseExceptionGroup("tasks", errors)  # type: ignore[name-defined]  # noqa: F821

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.until(lambda: client.context.tasks)
        await client.settle()
        await client.leave()
        await client.until(lambda: not client.context.tasks)
        assert client.context.counters.app_errors == 1
        client.take_errors()

    play_steps(app, case)


@pytest.mark.parametrize("error", [StopIteration(5), StopAsyncIteration()], ids=repr)
@pytest.mark.parametrize("kind", ["call", "step", "later"])
def test_errors_that_mean_something_to_coroutines(kind: str, error: BaseException, play_steps: Play) -> None:
    async def later(scope: Any, receive: Any, send: Any) -> None:
        if kind == "later":
            await asyncio.sleep(0)
        raise error

    def call(scope: Any, receive: Any, send: Any) -> Any:
        raise error

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).status == 500
        await client.until(lambda: not client.context.tasks)
        assert len(client.take_errors()) == 1

    play_steps(call if kind == "call" else later, case)


@pytest.mark.parametrize("wait", [False, True], ids=["at once", "later"])
def test_an_error_that_is_no_exception(wait: bool, play_steps: Play) -> None:
    """It is the app's affair as any other: answered, logged once, and not thrown at the loop."""

    class Trouble(BaseException):
        pass

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if wait:
            await asyncio.sleep(0)
        raise Trouble

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).status == 500
        await client.until(lambda: not client.context.tasks)
        (record,) = client.take_errors()
        assert record.exc_info[0] is Trouble

    play_steps(app, case)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("wait", [False, True], ids=["at once", "later"])
def test_errors_that_end_the_program_do(wait: bool, error: BaseException) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if wait:
            await asyncio.sleep(0)
        raise error

    async def story() -> None:
        import logging

        logger = logging.Logger("esg.error")
        logger.addHandler(logging.NullHandler())
        context = ServerContext(app, Settings(), loop=asyncio.get_running_loop(), error_logger=logger)
        FakeTransport(HTTPProtocol(context)).receive(GET)
        await asyncio.sleep(1)

    with pytest.raises(type(error)):
        asyncio.run(story())


# -- Looking at tasks ------------------------------------------------------------------------------------------------


def test_a_task_can_be_looked_at(play_steps: Play) -> None:
    async def an_app_by_this_name(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()

    async def case(client: Any) -> None:
        client.app = an_app_by_this_name
        await client.send(GET)
        await client.until(lambda: client.context.tasks)
        await client.settle()
        (task,) = client.context.tasks
        assert task in asyncio.all_tasks()
        assert "Task" in repr(task)
        assert [frame.f_code.co_name for frame in task.get_stack()]
        text = io.StringIO()
        task.print_stack(file=text)
        assert __file__ in text.getvalue() or "conftest" in text.getvalue()
        assert asyncio.iscoroutine(task.get_coro())
        await client.leave()
        await client.until(task.done)

    play_steps(None, case)


def test_anyio_can_look_at_tasks(play_steps: Play) -> None:
    anyio = pytest.importorskip("anyio")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert anyio.get_current_task() in anyio.get_running_tasks()
        await anyio.to_thread.run_sync(lambda: None)
        with anyio.CancelScope() as scope_of_ours:
            scope_of_ours.cancel()
            await anyio.sleep(10)
        assert scope_of_ours.cancelled_caught
        await hello(scope, receive, send)

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).body == b"hello"

    play_steps(app, case)
