"""The clock: one tick a second, the date, and who is told."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

import pytest
from esg_protocols.asgi import Clock, HTTPProtocol, ServerContext
from esg_protocols.asgi.clock import INTERVAL, http_date
from esg_protocols.settings import Settings
from esg_protocols.testing import FakeTransport

InLoop = Callable[[Coroutine[Any, Any, None]], None]


async def app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("never called")


class Timers:
    """A loop as far as a clock needs one; its time is set by hand."""

    def __init__(self) -> None:
        self.now = 50.0
        self.armed: list[tuple[float, Callable[[], None]]] = []
        self.cancelled = 0
        self.problems: list[dict[str, Any]] = []

    def call_exception_handler(self, problem: dict[str, Any]) -> None:
        self.problems.append(problem)

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        self.armed.append((self.now + delay, callback))
        timers = self

        class Handle:
            def cancel(self) -> None:
                timers.cancelled += 1

        return Handle()

    def advance(self) -> None:
        ((self.now, callback),) = self.armed
        self.armed.clear()
        callback()


@pytest.fixture
def timers() -> Timers:
    return Timers()


def make(timers: Timers, **settings: Any) -> tuple[ServerContext, Clock]:
    context = ServerContext(app, Settings(**settings), loop=timers)
    return context, Clock(context)


def test_it_ticks_at_once_and_then_every_second(timers: Timers) -> None:
    context, clock = make(timers)
    clock.start()
    assert context.now == 50.0
    for i in range(1, 5):
        timers.advance()
        assert context.now == 50.0 + i * INTERVAL
    assert INTERVAL == 1.0


def test_it_stops(timers: Timers) -> None:
    _, clock = make(timers)
    clock.stop()
    clock.start()
    clock.stop()
    clock.stop()
    assert timers.cancelled == 1


def test_the_date_line(timers: Timers) -> None:
    context, clock = make(timers)
    assert context.date_line == b""
    clock.tick()
    assert context.date_line.startswith(b"date: ")
    assert context.date_line.endswith(b" GMT\r\n")
    date = context.date_line[6:-2].decode()
    assert len(date) == len("Sun, 06 Nov 1994 08:49:37 GMT")
    assert parsedate_to_datetime(date).utcoffset().total_seconds() == 0  # type: ignore[union-attr]


def test_dates_of_two_years() -> None:
    for seconds in range(1_700_000_000, 1_763_000_000, 40_009):
        assert http_date(time.gmtime(seconds)) == formatdate(seconds, usegmt=True)


def test_no_date_line_unless_it_is_wanted(timers: Timers) -> None:
    context, clock = make(timers, date_header=False)
    clock.tick()
    assert context.date_line == b""
    assert context.now == 50.0


def test_every_connection_is_told_once(timers: Timers) -> None:
    """Also when the first one, on its deadline, takes others out of the set."""
    context, clock = make(timers)
    transports = [FakeTransport(HTTPProtocol(context)) for _ in range(10)]
    for transport in transports:
        transport.protocol.deadline = 60.0
    clock.tick()
    assert len(context.connections) == 10
    timers.now = 60.0
    clock.tick()
    assert not context.connections
    assert all(transport.closed for transport in transports)


class Failing(HTTPProtocol):
    def tick(self) -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize("number", range(3))
def test_a_connection_whose_tick_fails_keeps_the_others_not_from_theirs(number: int, timers: Timers) -> None:
    """Whichever it is in the order of the set: each of three in turn."""
    context, clock = make(timers)
    transports = [FakeTransport((Failing if i == number else HTTPProtocol)(context)) for i in range(3)]
    for transport in transports:
        transport.protocol.deadline = 60.0
    timers.now = 60.0
    clock.tick()
    assert [transport.closed for transport in transports] == [i != number for i in range(3)]
    (problem,) = timers.problems
    assert isinstance(problem["exception"], ZeroDivisionError)
    assert problem["protocol"] is transports[number].protocol


def test_a_tick_that_fails_is_not_the_last(timers: Timers, monkeypatch: pytest.MonkeyPatch) -> None:
    context, clock = make(timers)

    def fail() -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(clock, "date", fail)
    with pytest.raises(ZeroDivisionError):
        clock.start()
    monkeypatch.undo()
    timers.advance()
    assert context.now == 50.0 + INTERVAL


def test_deadlines_are_numbers(timers: Timers) -> None:
    context, clock = make(timers)
    transport = FakeTransport(HTTPProtocol(context))
    transport.protocol.deadline = 51.0
    timers.now = 50.99
    clock.tick()
    assert not transport.closed
    timers.now = 51.0
    clock.tick()
    assert transport.closed
    assert transport.protocol.deadline == 0


def test_on_a_real_loop(in_loop: InLoop) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        context = ServerContext(app, Settings(), loop=loop)
        clock = Clock(context)
        clock.start()
        assert abs(context.now - loop.time()) < 1
        clock.stop()
        del clock, context
        gc.collect()

    in_loop(story())
