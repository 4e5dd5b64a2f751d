"""How a server ends: what is in work is finished, what is idle is closed, the application comes last."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import Any

import pytest

GRACE = 2
"""Seconds a stop may take in tests that see what is in work ended; apps are told when half of them are over."""
AFTERWARDS = 5
"""Seconds it may take besides: one for tasks that were cancelled, and whatever a busy machine needs."""


def start(serve: Any, loop: str, *options: str, **more: Any) -> Any:
    return serve("ending:app", "--loop", loop, "--lifespan", "on", *options, test_app=True, **more)


def told(server: Any) -> list[str]:
    """What the application said."""
    return [line.removeprefix("app: ") for line in server.lines if line.startswith("app: ")]


def begin_upload(wire: Any, server: Any) -> None:
    """A request that the application is at until the test sends the rest of its body."""
    wire.request("/", "POST", headers=("Content-Length: 8",))
    wire.send(b"half")
    server.wait_for("app: entered")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_a_request_in_work_is_finished(serve: Any, loop: str, number: int, status: int) -> None:
    server = start(serve, loop)
    with server.connect() as idle, server.connect() as fresh, server.connect() as busy:
        idle.request("/hello")
        assert idle.answer().body == b"hello"
        begin_upload(busy, server)
        server.signal(number)
        assert idle.is_over()
        assert fresh.is_over()
        server.wait_for("Waiting for connections to close.")
        assert "shutdown" not in told(server)
        busy.send(b"half")
        answer = busy.answer()
        assert (answer.status, answer.body) == (200, b"halfhalf")
        assert busy.is_over()
    assert server.wait() == status
    assert told(server) == ["startup", "entered", "answered", "shutdown"]


def test_new_connections_are_refused_meanwhile(serve: Any, loop: str) -> None:
    server = start(serve, loop)
    with server.connect() as busy:
        begin_upload(busy, server)
        server.signal(signal.SIGTERM)
        server.wait_for("Waiting for connections to close.")
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        busy.send(b"half")
        assert busy.answer()["connection"] == "close"
    assert server.wait() == -signal.SIGTERM


def test_half_a_head_is_idle(serve: Any, loop: str) -> None:
    server = start(serve, loop)
    with server.connect() as wire:
        wire.request("/hello")
        wire.answer()
        wire.send(b"GET / HTTP/1.1\r\nHost: ")
        server.signal(signal.SIGTERM)
        assert wire.is_over()
    assert server.wait() == -signal.SIGTERM


def test_a_pipelined_request_behind_the_last_one(serve: Any, loop: str) -> None:
    """The request in work is the last: the answer says so, and the one behind it is not begun."""
    server = start(serve, loop)
    with server.connect() as busy:
        begin_upload(busy, server)
        server.signal(signal.SIGTERM)
        server.wait_for("Waiting for connections to close.")
        busy.send(b"half" + b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert busy.answer()["connection"] == "close"
        assert busy.is_over()
    assert server.wait() == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_forces(serve: Any, loop: str, number: int) -> None:
    server = start(serve, loop)
    with server.connect() as busy:
        begin_upload(busy, server)
        server.signal(number)
        server.wait_for("(CTRL+C to force quit)")
        server.signal(number)
        assert server.wait() == {signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: 0}[number]
        assert busy.is_over()
    # Nothing is waited for any more, the application's own end included.
    assert "shutdown" not in told(server)


def test_ctrl_c(serve: Any, loop: str) -> None:
    server = start(serve, loop)
    assert server.get("/hello").body == b"hello"
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert server.lines[-1].startswith("INFO:     Finished server process [")
    assert told(server) == ["startup", "shutdown"]


def test_work_behind_the_response_is_finished(serve: Any, loop: str) -> None:
    """The client has its answer and has left; the application is still at it."""
    server = start(serve, loop)
    with server.connect() as meeting:
        meeting.request("/meet", "POST", headers=("Content-Length: 1",))
        assert server.get("/behind").body == b"done"
        server.signal(signal.SIGTERM)
        server.wait_for("Waiting for")
        meeting.send(b"x")
        assert meeting.answer().body == b"x"
    assert server.wait() == -signal.SIGTERM
    assert told(server) == ["startup", "behind", "shutdown"]


# -- Who does not end by itself

STAYS = {
    # What a client sends, and what its app says from the signal on.
    "idle": (b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", []),
    "head": (b"GET /hello HTTP/1.1\r\nHost: ", []),
    "upload": (b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf", ["upload told"]),
    "poll": (b"GET /poll HTTP/1.1\r\nHost: a\r\n\r\n", ["poll told"]),
    "events": (b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n", ["events told"]),
    "flood": (b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n", ["flood told"]),
    "busy": (b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n", ["busy told", "busy cancelled"]),
    "stuck": (b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n", ["stuck cancelled"]),
}


def come_to_stay(wire: Any, server: Any, kind: str) -> None:
    request, says = STAYS[kind]
    wire.send(request)
    if kind == "idle":
        assert wire.answer().body == b"hello"
    elif says:
        server.wait_for(f"app: {kind} entered")
    else:
        assert server.get("/hello").status == 200  # It came behind, so what came before was read.


def see_it_ended(wire: Any, kind: str) -> None:
    """What is idle is closed; what is in work is answered, or cut short where its answer has begun."""
    if kind in ("events", "flood"):
        assert not wire.answer().complete
    elif kind not in ("idle", "head"):
        answer = wire.answer()
        assert (answer.status, answer["connection"]) == (503, "close")
    assert wire.is_over()


@pytest.mark.parametrize("kinds", [*([kind] for kind in STAYS), list(STAYS)], ids=[*STAYS, "all"])
def test_a_stop_ends_in_time(serve: Any, loop: str, kinds: list[str]) -> None:
    server = start(serve, loop, f"--timeout-graceful-shutdown={GRACE}", faults=True)
    with contextlib.ExitStack() as stack:
        wires = [(stack.enter_context(server.connect()), kind) for kind in kinds]
        for wire, kind in wires:
            come_to_stay(wire, server, kind)
        entered = len(told(server))
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        # What is idle is closed at once; some clients do not read before they are made to.
        for wire, kind in wires:
            if kind != "flood":
                see_it_ended(wire, kind)
        assert server.wait() == -signal.SIGTERM
        for wire, kind in wires:
            if kind == "flood":
                see_it_ended(wire, kind)
    assert time.monotonic() - began < GRACE + AFTERWARDS
    said = told(server)[entered:]
    # The application's own end is the last thing it hears of; all are told before any is cancelled.
    assert said[-1] == "shutdown"
    assert sorted(said[:-1]) == sorted(line for kind in kinds for line in STAYS[kind][1])
    assert sorted(said[:-1], key=lambda line: line.endswith("cancelled")) == said[:-1]
    assert not [line for line in server.lines if line.startswith("Traceback")]


def test_a_stop_that_waits_for_nobody(serve: Any, loop: str) -> None:
    """0 is not at all, as in uvicorn; the application puts its things in order all the same."""
    server = start(serve, loop, "--timeout-graceful-shutdown=0", faults=True)
    with server.connect() as poll, server.connect() as events:
        come_to_stay(poll, server, "poll")
        come_to_stay(events, server, "events")
        server.signal(signal.SIGTERM)
        see_it_ended(poll, "poll")
        see_it_ended(events, "events")
        assert server.wait() == -signal.SIGTERM
    assert told(server)[-1] == "shutdown"


def test_a_stop_ends_in_time_though_the_applications_own_end_does_not(serve: Any, loop: str) -> None:
    options = f"--timeout-graceful-shutdown={GRACE}"
    server = start(serve, loop, options, faults=True, env={"STUCK_SHUTDOWN": "1"})
    server.signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM


def test_a_second_signal_forces_whoever_stays(serve: Any, loop: str) -> None:
    """The time for a stop is not waited for; who would not hear of being cancelled is cancelled again."""
    server = start(serve, loop)
    with contextlib.ExitStack() as stack:
        wires = [(stack.enter_context(server.connect()), kind) for kind in STAYS]
        for wire, kind in wires:
            come_to_stay(wire, server, kind)
        server.signal(signal.SIGTERM)
        server.wait_for("(CTRL+C to force quit)")
        server.signal(signal.SIGTERM)
        assert server.wait() == -signal.SIGTERM
        for wire, _ in wires:
            wire.rest()
    assert "shutdown" not in told(server)
    assert "stuck cancelled" in told(server)


# -- A server that stops after so many requests, for whoever starts it again


class Asker(threading.Thread):
    """A client that asks and asks, until nobody listens any more.

    Args:
        keep: whether it uses a connection for as long as it may, or one for each request.
    """

    def __init__(self, server: Any, keep: bool) -> None:
        super().__init__()
        self.server, self.keep = server, keep
        self.answered = 0
        self.cut: list[bytes] = []
        self.start()

    def run(self) -> None:
        with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):  # reset where it is just being closed
            while True:
                with self.server.connect() as wire:
                    while self.ask(wire):
                        pass

    def ask(self, wire: Any) -> bool:
        """One request; whether the connection is good for another."""
        try:
            wire.request("/slow", close=not self.keep)
        except ConnectionError:
            return False
        head = wire.until(b"\r\n\r\n")
        if not head:
            return False  # closed before it was answered at all: the request did not begin, or it would be missed below
        body = wire.exactly(4)
        if head.startswith(b"HTTP/1.1 200 OK\r\n") and body == b"slow":
            self.answered += 1
        else:
            self.cut.append(head + body)
        return b"connection: close\r\n" not in head


def test_no_request_is_lost_to_limit_max_requests(serve: Any, loop: str) -> None:
    """Every request that begins is answered, and answered whole, while others keep coming."""
    # asyncio may hold a connection that it accepted and did not hand over yet; it says so where warnings are errors.
    env = {"PYTHONWARNINGS": "error,ignore::ResourceWarning"}
    server = start(serve, loop, "--limit-max-requests=200", "--no-access-log", env=env)
    askers = [Asker(server, keep) for keep in [False, True] * 4]
    for asker in askers:
        asker.join(20)
    assert server.wait() == 0
    assert [asker.cut for asker in askers] == [[]] * len(askers)
    assert 200 <= told(server).count("begun") == sum(asker.answered for asker in askers) < 300
    assert told(server)[-1] == "shutdown"
