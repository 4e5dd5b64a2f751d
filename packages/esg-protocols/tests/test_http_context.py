"""What surrounds an app: context variables, its task, the access log and the counters."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

Play = Callable[..., None]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
BODY = {"type": "http.response.body", "body": b"hello"}

SERVERS = contextvars.ContextVar("SERVERS", default="unset")
APPS = contextvars.ContextVar("APPS", default="unset")


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(BODY)


# -- Context variables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("requests", [[GET] * 4, [GET * 4], [GET * 40]], ids=["serial", "pipelined", "many"])
def test_nothing_leaks_from_request_to_request(requests: list[bytes], wait: bool, play: Play) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(APPS.get())
        APPS.set("leaked")
        if wait:
            await asyncio.sleep(0)
        assert APPS.get() == "leaked"
        await hello(scope, receive, send)
        await receive()

    async def case(client: Any) -> None:
        for i, request in enumerate(requests, 1):
            await client.send(request, more=i < len(requests))
            await client.answers(["GET"] * request.count(b"GET"))
        await client.until(lambda: not client.context.tasks)
        assert set(seen) == {"unset"}
        assert APPS.get() == "unset"

    play(app, case)


def test_nothing_leaks_through_a_socket_that_was_stopped(play_steps: Play) -> None:
    """An app's step makes the socket read again; what is read then must not run in that app's context."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(APPS.get())
        APPS.set("leaked")
        await asyncio.sleep(0)
        more = True
        while more:
            more = (await receive())["more_body"]
            await asyncio.sleep(0)
        await hello(scope, receive, send)

    async def case(client: Any) -> None:
        size = 500_000
        for _ in range(3):
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(10):
                await client.send(b"x" * (size // 10))
                await client.settle()
            await client.answer("POST")
        await client.send(GET)
        await client.answer()
        assert seen == ["unset"] * 4

    play_steps(app, case, settings={"read_buffer_size": 1000})


def test_nothing_leaks_through_a_client_that_was_waited_for(play_socket: Play) -> None:
    """What starts once the client reads again must not run in the context of the app that waited for it."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(APPS.get())
        APPS.set("leaked")
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x" * 2_000_000})

    async def case(client: Any) -> None:
        for _ in range(3):
            client.stop_reading()
            await client.send(GET * 3)
            await client.until(lambda: client.protocol.transport.get_write_buffer_size())
            client.read_again()
            await client.answers(["GET"] * 3)
        assert seen == ["unset"] * 9

    play_socket(app, case)


def test_the_servers_context_is_seen(play: Play) -> None:
    """What is set where the ServerContext is made, as by a lifespan, is there for every request."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(SERVERS.get())
        SERVERS.set("changed by a request")
        await hello(scope, receive, send)

    async def case(client: Any) -> None:
        SERVERS.set("changed since")
        await client.send(GET * 2)
        await client.answers(["GET"] * 2)
        assert seen == ["set before"] * 2
        assert client.context.context[SERVERS] == "set before"

    token = SERVERS.set("set before")
    try:
        play(app, case)
    finally:
        SERVERS.reset(token)


def test_a_plain_callable_is_called_in_the_context_of_its_task(play: Play) -> None:
    seen = []

    class Reply:
        def __init__(self, *arguments: Any) -> None:
            seen.append(APPS.get())
            APPS.set("leaked")
            self.arguments = arguments

        def __await__(self) -> Any:
            assert APPS.get() == "leaked"
            return hello(*self.arguments).__await__()

    async def case(client: Any) -> None:
        await client.send(GET * 3)
        await client.answers(["GET"] * 3)
        assert seen == ["unset"] * 3

    play(Reply, case)


# -- Tasks -----------------------------------------------------------------------------------------------------------


def test_tasks_are_kept_while_they_run(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        go = asyncio.Event()
        tasks = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            tasks.append(asyncio.current_task())
            await hello(scope, receive, send)
            await go.wait()

        client.app = app
        await client.send(GET * 3)
        await client.answers(["GET"] * 3)
        await client.until(lambda: len(client.context.tasks) == 3)
        assert client.context.tasks == set(tasks)
        assert len(set(tasks)) == 3
        go.set()
        await client.until(lambda: not client.context.tasks)
        assert all(task.done() and not task.cancelled() for task in tasks)

    play_steps(None, case)


def test_an_app_that_need_not_wait_leaves_no_task(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(GET)
        await client.answer()
        await client.settle()
        assert not client.context.tasks

    play_steps(hello, case)


def test_work_behind_the_response_does_not_hold_up_the_next_request(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await hello(scope, receive, send)
            if scope["path"] == "/work":
                await go.wait()

        client.app = app
        await client.send(GET.replace(b"/ ", b"/work ") + GET)
        await client.answers(["GET"] * 2)
        go.set()
        await client.until(lambda: not client.context.tasks)

    play_steps(None, case)


# -- The access log --------------------------------------------------------------------------------------------------


def uvicorn_formats(record: logging.LogRecord) -> str:
    """How formatters made for uvicorn take the record apart."""
    client, method, path, version, status = record.args  # type: ignore[misc]
    assert isinstance(status, int)
    return f"{client} | {method} {path} HTTP/{version} | {status}"


def test_the_access_log(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = {**START, "status": 404 if scope["path"] == "/missing" else 200}
        await send(start)
        await send(BODY)

    async def case(client: Any) -> None:
        await client.send(GET, more=True)
        await client.answer()
        await client.send(POST.replace(b"/ ", b"/missing?a=b%20c&d ") + b"0123456789", more=True)
        await client.answer("POST")
        await client.send(b"HEAD /%41%0a%20b HTTP/1.0\r\n\r\n")
        await client.answer("HEAD")
        name = client.accesses[0].args[0]
        assert re.fullmatch(r"127\.0\.0\.1:\d+", name)
        assert [uvicorn_formats(record) for record in client.accesses] == [
            f"{name} | GET / HTTP/1.1 | 200",
            f"{name} | POST /missing?a=b%20c&d HTTP/1.1 | 404",
            f"{name} | HEAD /%41%0a%20b HTTP/1.0 | 200",
        ]
        record = client.accesses[0]
        assert record.levelno == logging.INFO
        assert record.getMessage() == f'{name} - "GET / HTTP/1.1" 200'

    play(app, case, access_log=True)


def test_no_access_log_unless_asked_for(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(GET)
        await client.answer()
        assert client.accesses == []

    play_fake(hello, case)


def test_a_logger_that_takes_no_info_is_left_alone(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        client.wiring.access_logger.setLevel(logging.WARNING)
        await client.send(GET)
        await client.answer()
        assert client.accesses == []

    play_fake(hello, case, access_log=True)


def test_failures_are_in_the_access_log(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/cut":
            await send({"type": "http.response.start", "status": 206})
        raise ZeroDivisionError

    async def case(client: Any) -> None:
        other = await client.another()
        await client.send(GET)
        assert (await client.answer()).status == 500
        await other.send(GET.replace(b"/ ", b"/cut "))
        await other.end()
        assert [record.args[4] for record in client.accesses] == [500, 206]
        client.take_errors()

    play_steps(app, case, access_log=True)


def test_a_stream_that_its_client_leaves_is_in_the_access_log(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/mute":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"tick", "more_body": True})
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        assert await receive() == {"type": "http.disconnect"}

    async def case(client: Any) -> None:
        mute = await client.another()
        await mute.send(GET.replace(b"/ ", b"/mute "))
        await mute.leave()
        await client.send(GET)
        await client.until(lambda: client.ended or b"tick" in client.received)
        await client.leave()
        await client.until(lambda: not client.context.tasks)
        assert [record.args[2:5:2] for record in client.accesses] == [("/", 200)]

    play(app, case, access_log=True)


def test_the_access_log_of_pipelined_requests_has_a_status_each(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/203":
            await asyncio.sleep(0)
        await send({**START, "status": int(scope["path"][1:])})
        await send(BODY)

    async def case(client: Any) -> None:
        numbers = [200, 201, 203, 404, 503]
        await client.send(b"".join(GET.replace(b"/ ", b"/%d " % number) for number in numbers))
        await client.answers(["GET"] * len(numbers))
        assert [record.args[4] for record in client.accesses] == numbers

    play(app, case, access_log=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda scope: scope.update(raw_path=None),
        lambda scope: scope.pop("raw_path"),
        lambda scope: scope.update(client=None),
        lambda scope: scope.clear(),
    ],
    ids=["no raw path", "raw path gone", "no client", "empty"],
)
def test_what_an_app_does_to_its_scope_does_not_break_the_access_log(change: Any, play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        change(scope)
        await hello(scope, receive, send)

    async def case(client: Any) -> None:
        for i in (1, 2):
            await client.send(GET)
            assert (await client.answer()).body == b"hello"
            assert len(client.accesses) == i
            assert client.accesses[-1].args[1:] == ("GET", "/", "1.1", 200)

    play_steps(app, case, access_log=True)


def test_the_client_that_a_proxy_speaks_for_is_logged(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["client"] = ("2001:db8::1", 0)
        await hello(scope, receive, send)

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.answer()
        assert client.accesses[0].args[0] == "2001:db8::1:0"

    play_steps(app, case, access_log=True)


def test_no_line_of_the_log_can_be_forged(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(b'GET /"%0d%0aforged"?%0a HTTP/1.1\r\nHost: a\r\n\r\n')
        answer = await client.answer()
        if answer.status == 200:
            assert client.accesses[0].args[2].isprintable()
        client.take_errors()

    play_steps(hello, case, access_log=True)


# -- Counters --------------------------------------------------------------------------------------------------------


def test_counters(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/fail":
            raise ZeroDivisionError
        await hello(scope, receive, send)

    async def case(client: Any) -> None:
        counters = client.context.counters

        def counted() -> tuple[int, ...]:
            return counters.connections, counters.requests, counters.protocol_errors, counters.app_errors

        assert counted() == (1, 0, 0, 0)
        await client.send(GET * 3)
        await client.answers(["GET"] * 3)
        assert counted() == (1, 3, 0, 0)
        failing, bad = await client.another(), await client.another()
        await failing.send(GET.replace(b"/ ", b"/fail "))
        await failing.end()
        assert counted() == (3, 4, 0, 1)
        await bad.send(b"nonsense\r\n\r\n")
        await bad.end()
        assert counted() == (3, 4, 1, 1)
        client.take_errors()

    play_steps(app, case)
