"""Bodies from files: the extensions pathsend and zerocopysend, by the system and by copying."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from esg_protocols.errors import ClientDisconnected, LocalProtocolError

Play = Callable[..., None]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"
MIB = 1024 * 1024
CONTENT = bytes(range(256)) * 40
LARGE = os.urandom(1000) * 3000
"""More than every buffer on the way holds."""


def start(*, length: int | None = None) -> dict[str, Any]:
    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def path_message(path: Path) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": str(path)}


def file_message(file: Any, **said: Any) -> dict[str, Any]:
    return {"type": "http.response.zerocopysend", "file": file, **said}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "small").write_bytes(CONTENT)
    return tmp_path / "small"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    (tmp_path / "large").write_bytes(LARGE)
    return tmp_path / "large"


def open_files() -> list[str]:
    """What this process holds of files and sockets; the loops' own descriptors are neither."""
    if not os.path.exists("/proc/self/fd"):
        return []
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{descriptor}").partition("[")[0])
    return sorted(name for name in found if name == "socket:" or name.endswith(("/small", "/large")))


class Sending:
    """An app that sends some messages, each as soon as the one before is taken."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = messages
        self.runs = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for message in self.messages:
            await send(message)
        self.runs += 1


@pytest.mark.parametrize("length", [len(CONTENT), None], ids=["length", "chunked"])
def test_a_path(length: int | None, small: Path, play: Play) -> None:
    before = open_files()
    app = Sending(start(length=length), path_message(small))

    async def case(client: Any) -> None:
        for _ in range(2):  # the connection goes on
            await client.send(GET, more=True)
            answer = await client.answer()
            assert answer.body == CONTENT
            assert (answer.header(b"transfer-encoding") == b"chunked") == (length is None)
        assert app.runs == 2

    play(app, case)
    assert open_files() == before


@pytest.mark.parametrize("length", [len(LARGE), None], ids=["length", "chunked"])
def test_a_large_file_and_a_client_that_reads_late(length: int | None, large: Path, play_socket: Play) -> None:
    app = Sending(start(length=length), path_message(large))

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET + GET)
        await client.settle()
        assert app.runs == 0  # send waits
        client.read_again()
        for answer in await client.answers(["GET", "GET"]):
            assert answer.body == LARGE
        await client.until(lambda: app.runs == 2)

    play_socket(app, case)


def test_a_client_that_reads_late_where_bytes_are_copied(large: Path, play_fake: Play) -> None:
    """A transport without a socket: a thread reads, and waits with the rest."""
    app = Sending(start(length=len(LARGE)), path_message(large))

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET)
        await client.settle()
        assert app.runs == 0
        assert len(client.transport.written) < MIB
        client.read_again()
        assert (await client.answer()).body == LARGE
        await client.until(lambda: app.runs)

    play_fake(app, case)


@pytest.mark.parametrize("request_bytes", [HEAD, OLD], ids=["HEAD", "1.0"])
def test_who_gets_no_chunks(request_bytes: bytes, small: Path, play: Play) -> None:
    app = Sending(start(), path_message(small))

    async def case(client: Any) -> None:
        await client.send(request_bytes)
        answer = await client.answer(request_bytes.split()[0].decode())
        assert answer.body == (CONTENT if request_bytes is OLD else b"")
        assert app.runs == 1

    play(app, case)


def test_an_empty_file(tmp_path: Path, play: Play) -> None:
    (tmp_path / "empty").touch()
    app = Sending(start(), path_message(tmp_path / "empty"))

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).body == b""

    play(app, case)


def test_parts_of_files_between_other_parts(small: Path, play: Play) -> None:
    """Offset and count, the file's own position, and ordinary bytes."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with small.open("rb") as file:
            await send(start())
            await send({"type": "http.response.body", "body": b"<", "more_body": True})
            await send(file_message(file, offset=10, count=5, more_body=True))
            assert file.tell() == 0
            assert file.read(3) == CONTENT[:3]
            await send(file_message(file, count=4, more_body=True))
            assert file.tell() == 7
            await send({"type": "http.response.body", "body": b"|", "more_body": True})
            await send(file_message(file, offset=len(CONTENT), more_body=True))
            await send(file_message(file, offset=len(CONTENT) - 2))

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).body == b"<" + CONTENT[10:15] + CONTENT[3:7] + b"|" + CONTENT[-2:]

    play(app, case)


@pytest.mark.parametrize("said", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_length_that_is_not_the_files(said: int, small: Path, play: Play) -> None:
    """The response is cut before a byte of the file, and the app learns why."""
    seen: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(length=said))
        try:
            await send(path_message(small))
        except LocalProtocolError as error:
            seen.append(error)

    async def case(client: Any) -> None:
        await client.send(GET)
        written = await client.end()
        assert not written.partition(b"\r\n\r\n")[2]
        assert len(seen) == 1
        assert "content-length" in str(seen[0])
        (record,) = client.take_errors()
        assert "cut short" in record.getMessage()

    play(app, case)


def test_a_file_that_shrinks(large: Path, play_socket: Play) -> None:
    before = open_files()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(length=len(LARGE)))
        await send(path_message(large))

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET)
        await client.settle()
        os.truncate(large, 1000)
        client.read_again()
        written = await client.end()
        assert len(written) < len(LARGE)
        messages = [record.getMessage() for record in client.take_errors()]
        assert "too early" in messages[0]

    play_socket(app, case)
    assert open_files() == before


@pytest.mark.parametrize(
    ("message", "error", "says"),
    [
        ({"type": "http.response.pathsend", "path": "relative"}, LocalProtocolError, "absolute path, not 'relative'"),
        ({"type": "http.response.pathsend"}, LocalProtocolError, "not None"),
        ({"type": "http.response.pathsend", "path": "/no/such/file"}, FileNotFoundError, "/no/such/file"),
        ({"type": "http.response.pathsend", "path": "/"}, LocalProtocolError, "'/' is not a regular file"),
        ({"type": "http.response.zerocopysend"}, LocalProtocolError, "not None"),
        ({"type": "http.response.zerocopysend", "file": 0}, LocalProtocolError, "not 0"),
        ({"offset": -1}, LocalProtocolError, "offset must be from 0 to 10240, which is where the file ends, not -1"),
        ({"offset": 10241}, LocalProtocolError, "not 10241"),
        ({"offset": "1"}, LocalProtocolError, "not '1'"),
        ({"offset": 10240, "count": 1}, LocalProtocolError, "count must be from 0 to 0"),
    ],
)
def test_messages_that_say_nothing_useful(
    message: dict[str, Any], error: type[Exception], says: str, small: Path, play_steps: Play
) -> None:
    """The app gets its error, and can still send a body."""
    before = open_files()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        with small.open("rb") as file, pytest.raises(error) as raised:
            await send(message if "type" in message else file_message(file, **message))
        assert says in str(raised.value)
        await send({"type": "http.response.body", "body": b"sorry"})

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).body == b"sorry"

    play_steps(app, case)
    assert open_files() == before


def test_a_fifo_stops_nobody(tmp_path: Path, play_steps: Play) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        with pytest.raises(LocalProtocolError, match="not a regular file"):
            await send(path_message(tmp_path / "fifo"))
        await send({"type": "http.response.body"})

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).status == 200

    play_steps(app, case)


def test_the_order_of_messages(small: Path, play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(LocalProtocolError, match="sent where 'http.response.start' is due"):
            await send(path_message(small))
        await send(start())
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        with pytest.raises(LocalProtocolError, match="'http.response.pathsend' must be all of the body"):
            await send(path_message(small))
        await send({"type": "http.response.body", "body": b"y"})

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).body == b"xy"

    play_steps(app, case)


def test_nothing_else_while_a_file_is_on_its_way(large: Path, play_socket: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        sending = asyncio.ensure_future(send(path_message(large)))
        await asyncio.sleep(0)
        with pytest.raises(LocalProtocolError, match="sent where the end of a file is due"):
            await send({"type": "http.response.body", "body": b"x"})
        blocked.set()
        await sending

    blocked = asyncio.Event()

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET)
        await client.until(blocked.is_set)
        client.read_again()
        assert (await client.answer()).body == LARGE

    play_socket(app, case)


# -- Ends --------------------------------------------------------------------------------------------------------------


class Blocked:
    """An app in the middle of a file that its client does not take."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: BaseException | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        try:
            await send(path_message(self.path))
        except BaseException as error:
            self.error = error
            raise

    async def reach(self, client: Any) -> None:
        client.stop_reading()
        await client.send(GET)
        await client.until(lambda: client.context.tasks)
        await client.settle()
        assert self.error is None


def test_the_client_leaves(large: Path, play_steps: Play) -> None:
    before = open_files()
    app = Blocked(large)

    async def case(client: Any) -> None:
        await app.reach(client)
        await client.leave()
        await client.until(lambda: not client.context.tasks)
        assert isinstance(app.error, ClientDisconnected)

    play_steps(app, case)
    assert open_files() == before


def test_the_app_is_cancelled(large: Path, play_steps: Play) -> None:
    """The response is cut: nothing more of the file goes out."""
    before = open_files()
    app = Blocked(large)

    async def case(client: Any) -> None:
        await app.reach(client)
        (task,) = client.context.tasks
        task.cancel()
        await client.until(lambda: not client.context.tasks)
        assert isinstance(app.error, asyncio.CancelledError)
        client.read_again()
        assert len(await client.end()) < len(LARGE)
        client.take_errors()

    play_steps(app, case)
    assert open_files() == before


def test_a_client_that_never_reads(large: Path, play_socket: Play) -> None:
    """The write timeout counts what the system still has to send; a client that takes some gets more time."""
    app = Blocked(large)

    async def case(client: Any) -> None:
        await app.reach(client)
        client.clock.advance(29)
        assert client.context.counters.write_timeouts == 0
        client.clock.advance(3)
        assert client.context.counters.write_timeouts == 1
        await client.until(lambda: not client.context.tasks)
        assert isinstance(app.error, ClientDisconnected)
        (record,) = client.take_errors()
        assert "timeout_write" in record.getMessage()

    play_socket(app, case, settings={"timeout_write": 30})


def test_a_stop_that_is_out_of_time(large: Path, play_socket: Play) -> None:
    app = Blocked(large)

    async def case(client: Any) -> None:
        await app.reach(client)
        client.protocol.end_exchange()
        await client.until(lambda: not client.context.tasks)
        assert isinstance(app.error, ClientDisconnected)
        client.read_again()
        assert len(await client.end()) < len(LARGE)

    play_socket(app, case)


def test_a_message_whose_awaitable_is_thrown_away(large: Path, play_socket: Play) -> None:
    before = open_files()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        send(path_message(large)).close()

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET)
        await client.until(client.wiring.errors.__len__)
        client.read_again()
        assert len(await client.end()) < len(LARGE)
        assert "before its response was complete" in client.take_errors()[0].getMessage()

    play_socket(app, case)
    assert open_files() == before
