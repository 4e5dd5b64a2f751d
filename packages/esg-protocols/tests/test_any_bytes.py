"""Any bytes in any pieces: only whole responses come out, the same however the bytes are cut, and nothing hangs.

Two judges read what comes out, h11 and :class:`esg_parser.ResponseParser`; what goes in is read by
:class:`esg_parser.RequestParser` as one piece, to know which requests are whole.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import h11
import pytest
from esg_parser import END, ParserError, RequestParser, ResponseParser
from esg_protocols.asgi import HTTPProtocol, ServerContext
from esg_protocols.settings import Settings
from esg_protocols.testing import FakeClock, FakeTransport

from .random_bytes import anything, cut, method_of_the_bad_one

hypothesis = pytest.importorskip("hypothesis")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tools.examples import examples  # noqa: E402

Judge = Callable[..., Any]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TURNS = 12
"""Turns of the loop in which whatever an app here does is done."""
LONGEST_WAIT = 100
"""Seconds in which every deadline of the default settings comes, one behind the other."""


# -- Apps ------------------------------------------------------------------------------------------------------------


class AppError(Exception):
    """What the apps raise on purpose."""


async def read(receive: Any) -> bytes | None:
    """The body; None if the client leaves before it is whole."""
    body, message = b"", {"more_body": True}
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body if message["type"] == "http.request" else None


async def respond(send: Any, *parts: bytes, length: bool = False, status: int = 200) -> None:
    headers = [(b"content-length", b"%d" % len(b"".join(parts)))] if length else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


async def echo(receive: Any, send: Any) -> bytes | None:
    body = await read(receive)
    if body is not None:
        await respond(send, body, length=True)
    return body


async def later(receive: Any, send: Any) -> bytes | None:
    await asyncio.sleep(0)
    return await echo(receive, send)


async def stream(receive: Any, send: Any) -> bytes | None:
    body = await read(receive)
    if body is not None:
        await respond(send, b"one", b"", body, b"two")
    return body


async def early(receive: Any, send: Any) -> None:
    await receive()
    await respond(send, b"early", length=True)


async def deaf(receive: Any, send: Any) -> None:
    await respond(send, b"deaf")


async def fails(receive: Any, send: Any) -> None:
    raise AppError


async def fails_late(receive: Any, send: Any) -> None:
    await read(receive)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"part", "more_body": True})
    raise AppError


READERS = [echo, later, stream]
OTHERS = [early, deaf, fails, fails_late]


# -- One connection --------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Outcome:
    """What came of some bytes.

    Attributes:
        written: what the client got.
        methods: of the requests that the app has seen.
        refused: the method of a request behind them that is bad.
        seen: what the app saw of each, and the body, which is None if it did not come whole.
        ended: whether the server had ended the connection when nothing more came.
        reset: whether it did so by a reset, which tells the client that something is missing.
    """

    written: bytes = b""
    methods: list[str] = dataclasses.field(default_factory=list)
    refused: str = "GET"
    seen: list[Any] = dataclasses.field(default_factory=list)
    ended: bool = False
    reset: bool = False


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Errors(logging.Handler):
    """What was raised where it is logged, by type."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: set[Any] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None:
            self.kinds.add(record.exc_info[0])


async def converse(app: Any, pieces: list[bytes], eof: bool) -> Outcome:
    """Send the pieces, each once there is nothing more to do for those before it."""
    outcome = Outcome(refused=method_of_the_bad_one(b"".join(pieces)))

    async def recorded(scope: Any, receive: Any, send: Any) -> None:
        fields = [scope[field] for field in ("http_version", "method", "raw_path", "query_string", "headers")]
        entry = [*fields, None]
        outcome.methods.append(scope["method"])
        outcome.seen.append(entry)
        if scope["method"] == "CONNECT":
            # Behind a 2xx there would be a tunnel, and no more responses (RFC 9110 section 9.3.6).
            await respond(send, b"no tunnels", length=True, status=405)
        else:
            entry[-1] = await app(receive, send)

    logger, errors = logging.Logger("esg.error"), Errors()
    logger.addHandler(errors)
    context = ServerContext(recorded, Settings(), loop=asyncio.get_running_loop(), error_logger=logger)
    clock = FakeClock(context)
    protocol = HTTPProtocol(context)
    transport = FakeTransport(protocol)
    for piece in pieces:
        transport.receive(piece)
        await turns()
    if eof:
        transport.receive_eof()
        await turns()
    outcome.ended = transport.closed or transport.eof_written
    outcome.reset = transport.aborted
    outcome.written = transport.take()
    # Closed, or waiting for something with an end to it.
    assert transport.closed or protocol.deadline > 0
    clock.advance(LONGEST_WAIT)
    await turns()
    assert transport.closed
    assert not context.tasks
    assert not context.connections
    assert errors.kinds <= {AppError}
    return outcome


def outcome_of(app: Any, pieces: list[bytes], eof: bool) -> Outcome:
    problems: list[Any] = []

    async def story() -> Outcome:
        asyncio.get_running_loop().set_exception_handler(lambda loop, problem: problems.append(problem))
        return await converse(app, pieces, eof)

    outcome = asyncio.run(story())
    assert not problems
    return outcome


# -- The judges ------------------------------------------------------------------------------------------------------


def h11_answers(outcome: Outcome, judge: Judge, incomplete: Any) -> tuple[list[Any], bytes]:
    """The whole responses as h11 reads them, a refusal behind the last request among them; and what is left."""
    answers, rest = [], outcome.written
    for method in [*outcome.methods, outcome.refused]:
        try:
            (answer,), rest = judge(rest, [method], eof=outcome.ended and not outcome.reset)
        except (incomplete, h11.RemoteProtocolError):
            break
        answers.append(answer)
    return answers, rest


def esg_answers(outcome: Outcome, count: int) -> list[Any]:
    """So many responses as ESG's own parser reads them."""
    parser, data, found = ResponseParser(), outcome.written, []
    methods = [*outcome.methods, outcome.refused]
    while len(found) < count:
        parser.method = methods[len(found)]
        events: list[Any] = list(parser.feed(data))
        data = b""
        if events[-1] is not END:
            events += parser.close()
        assert events[-1] is END
        head, body = events[0], b"".join(event for event in events if isinstance(event, bytes))
        if head.status >= 200:
            found.append((head.status, head.headers, body))
    return found


def check_answers(outcome: Outcome, app: Any, judge: Judge, incomplete: Any) -> list[Any]:
    """One whole response to each request in turn, then at most a refusal; the last one says whether it is the last."""
    answers, rest = h11_answers(outcome, judge, incomplete)
    assert esg_answers(outcome, len(answers)) == [(a.status, a.headers, a.body) for a in answers]
    for answer in answers[:-1]:
        assert answer.header(b"connection") != b"close"
    if len(answers) > len(outcome.methods):
        assert answers[-1].status >= 400
        assert answers[-1].header(b"connection") == b"close"
    if answers and answers[-1].header(b"connection") == b"close":
        assert outcome.ended
    if app is fails_late and rest not in (b"", CONTINUE):
        # The response that it left in the middle is not whole, and nothing comes behind it.
        assert outcome.ended
        assert rest.count(b"HTTP/1.1 ") - rest.count(CONTINUE) == 1
    else:
        assert rest in (b"", CONTINUE)
    return answers


# -- What went in ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Whole:
    """A request, as the parser reads it."""

    head: Any
    body: bytes

    @property
    def fields(self) -> list[Any]:
        """Those that an app's record begins with."""
        head = self.head
        return [head.http_version, head.method, head.raw_path, head.query_string]


def requests_in(data: bytes) -> tuple[list[Whole], bool]:
    """The whole requests in these bytes, and whether nothing behind them is bad."""
    parser, found = RequestParser(), []
    try:
        events: list[Any] = list(parser.feed(data))
        while events and events[-1] is END:
            head, body = events[0], b"".join(event for event in events if isinstance(event, bytes))
            found.append(Whole(head, body))
            events = list(parser.feed(b""))
    except ParserError:
        return found, False
    return found, True


def without_continue(written: bytes) -> bytes:
    """It is said or not, as the body is there already or not (RFC 9110 section 10.1.1)."""
    return written.replace(CONTINUE, b"")


@st.composite
def cuts(draw: Any) -> tuple[bytes, list[list[bytes]]]:
    """Bytes, and ways to cut them: not at all, anywhere, everywhere."""
    data: bytes = draw(anything)
    return data, [[data], draw(cut(data)), [data[i : i + 1] for i in range(len(data))]]


@examples(500)
@given(cuts=cuts(), eof=st.booleans(), app=st.sampled_from(READERS))
def test_apps_that_read(cuts: Any, eof: bool, app: Any, judge: Judge, incomplete: Any) -> None:
    """Every cut gives the same bytes and the same whole requests: those that the parser finds, up to the last one."""
    data, all_pieces = cuts
    outcomes = [outcome_of(app, pieces, eof) for pieces in all_pieces]
    requests, _ = requests_in(data)
    for outcome in outcomes:
        answers = check_answers(outcome, app, judge, incomplete)
        assert without_continue(outcome.written) == without_continue(outcomes[0].written)
        assert outcome.ended == outcomes[0].ended
        whole = [entry for entry in outcome.seen if entry[-1] is not None]
        assert whole == [entry for entry in outcomes[0].seen if entry[-1] is not None]
        assert [[*e[:4], e[-1]] for e in whole] == [[*r.fields, r.body] for r in requests[: len(whole)]]
        if len(whole) < len(requests):
            assert answers[len(whole) - 1].header(b"connection") == b"close"


@examples(500)
@given(cuts=cuts(), eof=st.booleans(), app=st.sampled_from(OTHERS))
def test_apps_that_do_not_read(cuts: Any, eof: bool, app: Any, judge: Judge, incomplete: Any) -> None:
    """As above, as far as an answer cannot depend on what has come by then.

    It does where a client waits to be told to send its body (whether it was sent all the same decides whether the
    connection can go on), and where a body turns out to be bad behind its head (the app may have begun, or not).
    """
    data, all_pieces = cuts
    outcomes = [outcome_of(app, pieces, eof) for pieces in all_pieces]
    requests, good = requests_in(data)
    expecting = [number for number, request in enumerate(requests) if request.head.expect_continue]
    settled = expecting[0] if expecting else len(requests)
    first = check_answers(outcomes[0], app, judge, incomplete)
    for outcome in outcomes:
        answers = check_answers(outcome, app, judge, incomplete)
        assert answers[:settled] == first[:settled]
        assert outcome.seen[:settled] == outcomes[0].seen[:settled]
        assert [e[:4] for e in outcome.seen[:settled]] == [r.fields for r in requests[: len(outcome.seen)][:settled]]
        # The last request of all may expect something too, and not be whole.
        if good and b"expect" not in data.lower():
            assert outcome.written == outcomes[0].written
