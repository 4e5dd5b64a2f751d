from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from esg.config import StartupError
from esg.lifespan import MOVES, Lifespan

App = Callable[[Any, Any, Any], Awaitable[None]]
VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "esg.error")
    return caplog


def run(app: App, mode: str = "auto", *, stop: bool = True) -> Lifespan:
    async def main() -> Lifespan:
        lifespan = Lifespan(app, mode)
        await lifespan.startup()
        if stop:
            await lifespan.shutdown()
        lifespan.cancel()
        return lifespan

    return asyncio.run(main())


def answering(*answers: dict[str, Any]) -> App:
    """An application that receives an event and sends an answer, time after time."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for answer in answers:
            await receive()
            await send(answer)

    return app


def at(log: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno == level]


STARTED = {"type": "lifespan.startup.complete"}
STOPPED = {"type": "lifespan.shutdown.complete"}


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_start_and_stop(mode: str, log: pytest.LogCaptureFixture) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append({**scope, "state": dict(scope["state"])})
        scope["state"]["db"] = "open"
        seen.append(await receive())
        await send(STARTED)
        seen.append(await receive())
        await send(STOPPED)

    lifespan = run(app, mode)
    assert seen == [
        {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}},
        {"type": "lifespan.startup"},
        {"type": "lifespan.shutdown"},
    ]
    assert lifespan.state == {"db": "open"}
    assert at(log, logging.INFO) == [
        "Waiting for application startup.",
        "Application startup complete.",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
    ]


def test_off_never_asks(log: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    assert run(app, "off").state == {}
    assert not log.records


async def http_only(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError("only http\nhere")


async def returns(scope: Any, receive: Any, send: Any) -> None:
    """Not for lifespan."""


async def takes_all_for_http(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200})


@pytest.mark.parametrize("app", [http_only, returns, takes_all_for_http])
def test_auto_goes_on_without(app: App, log: pytest.LogCaptureFixture) -> None:
    run(app)
    assert at(log, logging.INFO) == [
        "Waiting for application startup.",
        "ASGI 'lifespan' protocol appears unsupported.",
        "Application startup complete.",
    ]
    assert not at(log, logging.WARNING)


def test_auto_shows_a_startup_that_broke(log: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise ConnectionError("no database")

    run(app)
    assert at(log, logging.WARNING) == ["Exception in application startup; serving without lifespan"]
    assert "ConnectionError: no database" in log.text


@pytest.mark.parametrize(
    ("app", "message"),
    [
        (http_only, "Application startup failed: NotImplementedError: only http"),
        (returns, "Application startup failed: it returned from lifespan"),
    ],
)
def test_on_asks_for_more(app: App, message: str) -> None:
    with pytest.raises(StartupError) as caught:
        run(app, "on")
    assert str(caught.value) == message
    assert (caught.value.__cause__ is None) is (app is returns)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_startup_failed(mode: str) -> None:
    with pytest.raises(StartupError) as caught:
        run(answering({"type": "lifespan.startup.failed", "message": "no database"}), mode)
    assert str(caught.value) == "Application startup failed: no database"


def test_startup_failed_without_a_word() -> None:
    with pytest.raises(StartupError, match=r"^Application startup failed\.$"):
        run(answering({"type": "lifespan.startup.failed"}))


def test_startup_failed_with_a_traceback(log: pytest.LogCaptureFixture) -> None:
    message = "Traceback (most recent call last):\n  File ...\nKeyError: 'db'\n"
    with pytest.raises(StartupError, match="^Application startup failed: KeyError: 'db'$"):
        run(answering({"type": "lifespan.startup.failed", "message": message}))
    assert at(log, logging.ERROR) == [message.rstrip()]


@pytest.mark.parametrize(
    ("message", "line"),
    [("disk full", "Application shutdown failed: disk full"), (None, "Application shutdown failed.")],
)
def test_shutdown_failed(message: str | None, line: str, log: pytest.LogCaptureFixture) -> None:
    answer = {"type": "lifespan.shutdown.failed"} | ({"message": message} if message else {})
    run(answering(STARTED, answer))
    assert at(log, logging.ERROR) == [line]


def test_returning_is_a_shutdown_too(log: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(STARTED)
        await receive()

    run(app)
    assert at(log, logging.INFO)[-1] == "Application shutdown complete."


def test_raising_in_shutdown(log: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(STARTED)
        await receive()
        raise OSError("disk full")

    run(app)
    assert at(log, logging.ERROR) == [
        "The application's lifespan raised an exception",
        "Application shutdown failed.",
    ]
    assert "OSError: disk full" in log.text


def test_a_crash_after_startup_is_logged_and_ends_lifespan(log: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(STARTED)
        raise OSError("watcher died")

    async def main() -> None:
        lifespan = Lifespan(app, "auto")
        await lifespan.startup()
        task = lifespan._task
        assert task is not None
        await asyncio.wait([task])
        await lifespan.shutdown()

    asyncio.run(main())
    assert at(log, logging.ERROR) == ["The application's lifespan raised an exception"]
    assert "Waiting for application shutdown." not in log.text


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "lifespan.startup.done"}],
        [STOPPED],
        [{"type": "lifespan.shutdown.failed"}],
        [STARTED, STARTED],
        [STARTED, {"type": "lifespan.startup.failed"}],
        [STARTED, STOPPED],
    ],
)
def test_messages_out_of_place(messages: list[dict[str, Any]]) -> None:
    errors = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        *good, bad = messages
        for message in good:
            await send(message)
        try:
            await send(bad)
        except RuntimeError as error:
            errors.append(str(error))

    run(app, stop=False)
    (error,) = errors
    assert f"'{messages[-1]['type']}' is out of place" in error


def test_every_move_starts_where_something_is_awaited() -> None:
    assert {status for status, _ in MOVES} == {"starting", "stopping"}


def test_cancelled_while_starting() -> None:
    ended = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def main() -> None:
        lifespan = Lifespan(app, "auto")
        starting = asyncio.create_task(lifespan.startup())
        while lifespan._task is None:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        starting.cancel()
        lifespan.cancel()
        await asyncio.wait([lifespan._task, starting])

    asyncio.run(main())
    assert ended == [True]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a task cannot be given its context before 3.11")
def test_variables_set_at_startup_stay_in_its_context() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        VARIABLE.set("set at startup")
        await receive()
        await send(STARTED)

    lifespan = run(app)
    assert lifespan.context.run(VARIABLE.get) == "set at startup"
    assert VARIABLE.get() == "unset"
