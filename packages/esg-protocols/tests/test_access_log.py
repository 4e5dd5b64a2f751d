"""Lines of the access log: formats, what is escaped, how they are written, and when records are made instead."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from esg_protocols.asgi.access import AccessLog
from esg_protocols.asgi.line_format import LineFormat
from esg_protocols.asgi.lines import LineWriter

Play = Callable[..., None]

REQUEST = (
    b"POST /a%20b?c=%22&d HTTP/1.1\r\nHost: a\r\nReferer: http://r/\r\nUser-Agent: test\r\nX-Two: 1\r\nX-Two: 2\r\n"
    b"Authorization: Basic bmFtZTpzZWNyZXQ=\r\nContent-Length: 0\r\n\r\n"
)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send(
        {"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"5"), (b"X-Out", b"yes")]}
    )
    await send({"type": "http.response.body", "body": b"hel", "more_body": True})
    await send({"type": "http.response.body", "body": b"lo"})


class Lines:
    """A handler's stream, in a file."""

    def __init__(self, path: Path) -> None:
        self.stream = path.open("a")
        self.path = path
        self.troubles: list[str] = []

    def read(self) -> list[str]:
        return self.path.read_text().splitlines()


@pytest.fixture
def lines(tmp_path: Path) -> Any:
    lines = Lines(tmp_path / "log")
    yield lines
    lines.stream.close()


def lined(lines: Lines, text: str, json: bool = False, **options: Any) -> Callable[..., Any]:
    """What makes the access log of a context, which must have a loop already."""
    logger = logging.Logger("esg.access")

    def make() -> AccessLog:
        writer = LineWriter(lines, asyncio.get_running_loop(), lines.troubles.append)  # type: ignore[arg-type]
        lines.writer = writer  # type: ignore[attr-defined]
        return AccessLog(logger, writer=writer, line_format=LineFormat(text, json=json), **options)

    return make


def line_of(play: Play, lines: Lines, text: str, request: bytes = REQUEST, app: Any = hello, json: bool = False) -> str:
    async def case(client: Any) -> None:
        await client.send(request)
        await client.answer("POST")
        lines.writer.close()  # type: ignore[attr-defined]

    play(app, case, access_log=lined(lines, text, json))
    (line,) = lines.read()
    return line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%(h)s %(l)s %(u)s", r"127\.0\.0\.1 - name"),
        ("%(client_addr)s", r"127\.0\.0\.1:\d+"),
        ('"%(r)s" %(s)s %(b)s %(B)d', r'"POST /a%20b\?c=%22&d HTTP/1\.1" 404 5 5'),
        ("%(request_line)s|%(status_code)s|%(st)s", r"POST /a%20b\?c=%22&d HTTP/1\.1\|404 Not Found\|Not Found"),
        ("%(m)s %(U)s %(q)s %(H)s %(S)s %(Uq)s", r"POST /a%20b c=%22&d HTTP/1\.1 http /a%20b\?c=%22&d"),
        ("%(method)s %(path)s %(query_string)s %(http_version)s", r"POST /a%20b c=%22&d 1\.1"),
        ("%(f)s %(a)s %({X-Two}i)s %({none}i)s", r"http://r/ test 1, 2 -"),
        ("%({x-out}o)s %({Content-Length}o)s", r"yes 5"),
        ("%(T)s %(M)s %(D)s %(L)s %(duration)s", r"0 \d+ \d+ 0\.\d{6} 0\.\d{6}"),
        ("%(p)s %(process)s", rf"<{os.getpid()}> {os.getpid()}"),
        ("%(t)s", r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"),
        ("%(asctime)s", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"),
        ("%(levelprefix)s %(levelname)s %(name)s 100%%", r"INFO:     INFO esg\.access 100%"),
        ("%(message)s", r'127\.0\.0\.1:\d+ - "POST /a%20b\?c=%22&d HTTP/1\.1" 404'),
        ("%(request_id)s", "-"),
    ],
)
def test_atoms(text: str, expected: str, play_fake: Play, lines: Lines) -> None:
    assert re.fullmatch(expected, line_of(play_fake, lines, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%(durration)s", "there is nothing called %(durration)s; did you mean %(duration)s?"),
        ("%(Q)s", "there is nothing called %(Q)s; did you mean %(q)s?"),
        ("%({x}e)s", "there is nothing called %({x}e)s; an ASGI server has no environ"),
        ("%({x})s", "there is nothing called %({x})s; a field of the request is written %({name}i)s"),
        ("%(zzzzzzzz)s", "there is nothing called %(zzzzzzzz)s; there are h, client_addr, "),
        ("%(h)5s", "'%(h)5s' is not written as %(name)s"),
        ("100%", "'%' is not written as %(name)s"),
        ("%(h)s\n", "a line has no control characters"),
    ],
)
def test_what_is_no_atom(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        LineFormat(text)


def test_lines_cannot_be_forged(play_fake: Play, lines: Lines) -> None:
    """What a parser lets through, and what an application may make of its scope."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["client"] = ("\n1\x85\u2028", 0)
        await hello(scope, receive, send)

    request = REQUEST.replace(b"/a%20b", b'/"\\').replace(b": test", b': a"b\\c\t\xc2\x85\xff')
    line = line_of(play_fake, lines, '%(client_addr)s "%(r)s" "%(a)s"', request, app)
    assert line == r'\x0a1\x85\u2028:0 "POST /%22%5C?c=%22&d HTTP/1.1" "a\x22b\x5cc\x09\xc2\x85\xff"'.replace(
        r"\u2028", r"\x5cu2028"
    )


def test_json(play_fake: Play, lines: Lines) -> None:
    request = REQUEST.replace(b"/a%20b", b'/"\\')
    fields = json.loads(line_of(play_fake, lines, "%(message)s", request, json=True))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields.pop("time"))
    name = fields.pop("client_addr")
    assert 0 <= fields.pop("duration") < 60
    assert fields == {
        "level": "INFO",
        "logger": "esg.access",
        "message": f'{name} - "POST /%22%5C?c=%22&d HTTP/1.1" 404',
        "pid": os.getpid(),
        "method": "POST",
        "path": '/"\\',
        "query_string": "c=%22&d",
        "http_version": "1.1",
        "scheme": "http",
        "status_code": 404,
        "response_bytes": 5,
        "request_id": None,
    }


def test_records_cannot_be_forged(play_fake: Play) -> None:
    """Whatever formatter they meet: uvicorn's, for one, writes the arguments as they are."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["client"] = ("\n1\x9b", 0)
        await hello(scope, receive, send)

    async def case(client: Any) -> None:
        await client.send(REQUEST.replace(b"/a%20b", b'/"\\'))
        await client.answer("POST")
        assert client.accesses[0].args == (r"\n1\x9b:0", "POST", "/%22%5C?c=%22&d", "1.1", 404)

    play_fake(app, case, access_log=True)


# -- Records


def test_a_record_says_it_all(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(REQUEST)
        await client.answer("POST")
        (record,) = client.accesses
        assert record.client_addr == record.args[0]
        assert (record.method, record.path, record.query_string) == ("POST", "/a%20b", "c=%22&d")
        assert (record.http_version, record.scheme, record.status_code) == ("1.1", "http", 404)
        assert (record.response_bytes, record.request_id) == (5, None)
        assert 0 < record.duration < 60

    play(hello, case, access_log=True)


def test_the_message_of_a_record_and_its_arguments(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(REQUEST)
        await client.answer("POST")
        (record,) = client.accesses
        assert record.getMessage() == "100% POST yes"
        assert record.args[1:] == ("POST", "/a%20b?c=%22&d", "1.1", 404)

    play_fake(hello, case, access_log=lambda logger: AccessLog(logger, LineFormat("100%% %(m)s %({x-out}o)s")))


def test_attributes_of_a_record_factory_stay(play_fake: Play) -> None:
    factory = logging.getLogRecordFactory()

    def marked(*args: Any, **options: Any) -> logging.LogRecord:
        record = factory(*args, **options)
        record.request_id = "mine"
        return record

    async def case(client: Any) -> None:
        logging.setLogRecordFactory(marked)
        try:
            await client.send(REQUEST)
            await client.answer("POST")
        finally:
            logging.setLogRecordFactory(factory)
        assert client.accesses[0].request_id == "mine"

    play_fake(hello, case, access_log=True)


def test_records_as_soon_as_something_has_changed(play_fake: Play, lines: Lines) -> None:
    watched: dict[str, Any] = {"level": 20}
    handlers: list[Any] = ["only"]
    as_it_was = [(watched, "level", 20), (handlers, 1, "only")]
    records: list[logging.LogRecord] = []

    def make(logger: logging.Logger) -> AccessLog:
        access_log: AccessLog = lined(lines, "%(m)s", as_it_was=as_it_was)()
        access_log.logger.addFilter(lambda record: records.append(record) is not None)  # type: ignore[func-returns-value]
        return access_log

    async def case(client: Any) -> None:
        async def get() -> tuple[int, int]:
            await client.send(REQUEST, more=True)
            await client.answer("POST")
            lines.writer.flush()  # type: ignore[attr-defined]
            return len(lines.read()), len(records)

        assert await get() == (1, 0)
        handlers.append("another")
        assert await get() == (1, 1)
        handlers.pop()
        assert await get() == (2, 1)
        watched["level"] = 30
        assert await get() == (2, 2)
        assert records[-1].duration > 0  # type: ignore[attr-defined]

    play_fake(hello, case, access_log=make)


# -- Writing


def test_a_line_after_a_while_is_written_in_the_same_turn_and_more_together(play_fake: Play, lines: Lines) -> None:
    async def case(client: Any) -> None:
        await client.send(REQUEST, more=True)
        await client.answer("POST")
        await asyncio.sleep(0)
        assert len(lines.read()) == 1
        await client.send(REQUEST, more=True)
        await client.answer("POST")
        await asyncio.sleep(0)
        assert len(lines.read()) == 1
        lines.writer.flush()  # type: ignore[attr-defined]
        assert len(lines.read()) == 2

    play_fake(hello, case, access_log=lined(lines, "%(m)s"))


def test_a_reader_that_is_behind_is_not_waited_for(play_fake: Play, tmp_path: Path) -> None:
    """And it is told how many lines were lost, once it reads again."""
    reader, pipe = os.pipe()
    with open(pipe, "w") as stream, open(reader, "rb", buffering=0) as output:
        lines: Any = type("Handler", (), {"stream": stream, "troubles": []})()
        long = REQUEST.replace(b"/a%20b", b"/" + b"x" * 8000)

        async def case(client: Any) -> None:
            for _ in range(200):
                await client.send(long, more=True)
                await client.answer("POST")
            lines.writer.flush()
            assert lines.troubles == []
            lost = lines.writer.lost
            assert lost > 0
            taken = b""
            while taken.count(b"\n") < 200 - lost:
                taken += output.read(65536)
                lines.writer.flush()
            assert {len(line) for line in taken.splitlines()} == {8001}
            assert lines.troubles == [f"{lost} lines of the access log were lost, as they could not be written"]

        play_fake(hello, case, access_log=lined(lines, "%(U)s"))


def test_a_write_that_fails_is_told_once_and_tried_again(play_fake: Play, lines: Lines) -> None:
    async def case(client: Any) -> None:
        good = lines.stream
        with open("/dev/full", "w") as lines.stream:
            for _ in range(2):
                await client.send(REQUEST, more=True)
                await client.answer("POST")
                lines.writer.flush()  # type: ignore[attr-defined]
        lines.stream = good
        why = "[Errno 28] No space left on device"
        assert lines.troubles == [f"The access log cannot be written: {why}; lines are kept for a while, then lost"]
        lines.writer.flush()  # type: ignore[attr-defined]
        assert len(lines.read()) == 2

    play_fake(hello, case, access_log=lined(lines, "%(m)s"))


def test_a_fork_does_not_write_what_is_its_parents(play_fake: Play, lines: Lines) -> None:
    async def case(client: Any) -> None:
        for _ in range(2):
            await client.send(REQUEST, more=True)
            await client.answer("POST")
        before = lines.read()
        child = os.fork()
        if not child:
            lines.writer.close()  # type: ignore[attr-defined]
            os._exit(0)
        assert os.waitpid(child, 0) == (child, 0)
        assert lines.read() == before
        lines.writer.flush()  # type: ignore[attr-defined]
        assert len(lines.read()) == 2

    play_fake(hello, case, access_log=lined(lines, "%(m)s"))


# -- Request ids


@pytest.mark.parametrize(
    ("trusted", "fields", "kept"),
    [
        (True, b"X-Request-Id: abc-1.2\r\n", True),
        (False, b"X-Request-Id: abc-1.2\r\n", False),
        (True, b"", False),
        (True, b"X-Request-Id: a b\r\n", False),
        (True, b'X-Request-Id: a"b\r\n', False),
        (True, b"X-Request-Id: " + b"a" * 129 + b"\r\n", False),
        (True, b"X-Request-Id: abc\r\nX-Request-Id: def\r\n", False),
    ],
)
def test_request_ids(trusted: bool, fields: bytes, kept: bool, play_steps: Play) -> None:
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.append(scope["state"]["request_id"])
        await hello(scope, receive, send)

    async def case(client: Any) -> None:
        for _ in range(2):
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n", more=True)
            answer = await client.answer()
            assert answer.header(b"x-request-id") == told[-1].encode()
            assert client.accesses[-1].request_id == told[-1]
        assert re.fullmatch("[0-9a-f]{32}" if not kept else re.escape("abc-1.2"), told[0])
        assert (told[0] == told[1]) is kept

    play_steps(
        app,
        case,
        access_log=True,
        settings={"request_id_header": "X-Request-Id"},
        forwarded=lambda peer, server: (lambda scope: None) if trusted else None,
    )


def test_an_id_that_the_application_has_spoiled_is_left_out(play_fake: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["request_id"] = "a\r\nb: c"
        await hello(scope, receive, send)

    async def case(client: Any) -> None:
        await client.send(REQUEST)
        assert (await client.answer("POST")).header(b"x-request-id") is None

    play_fake(app, case, settings={"request_id_header": "x-request-id"})


def test_a_field_that_the_application_has_written_stays(play_fake: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = iter([[b"X-Request-ID", b"own"], (b"content-length", b"0")])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    async def case(client: Any) -> None:
        await client.send(REQUEST)
        assert (await client.answer("POST")).header(b"x-request-id") == b"own"

    play_fake(app, case, settings={"request_id_header": "x-request-id"})
