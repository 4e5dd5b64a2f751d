"""Both tables, pair by pair, through a real connection; and the C numbers that stand for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

import pytest
from esg_protocols.errors import LocalProtocolError, RemoteProtocolError
from esg_protocols.http1 import READING, WRITING, HTTPConnection, ReadEvent, Reading, WriteEvent, Writing

SOURCE = Path(__file__).parents[1] / "src/esg_protocols/http1"
GET = b"GET / HTTP/1.1\r\nHost: example\r\n\r\n"
EXPECT = b"POST / HTTP/1.1\r\nHost: example\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: example\r\nContent-Length: 3\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: example\r\nTransfer-Encoding: chunked\r\n\r\n"
GARBAGE = b"\x00\r\n\r\n"

Step = Callable[[HTTPConnection], object]


def respond(connection: HTTPConnection) -> None:
    connection.send_response(200, [(b"content-length", b"0")])
    connection.send_body(b"")


def fail_quietly(connection: HTTPConnection, data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        connection.receive_data(data)


# -- Writing ---------------------------------------------------------------------------------------------------------


def writing_in(state: Writing, *, trailers: bool = False) -> HTTPConnection:
    connection = HTTPConnection()
    if state not in (Writing.IDLE, Writing.CLOSED):
        connection.receive_data(EXPECT)
    if state not in (Writing.IDLE, Writing.HEAD, Writing.CLOSED):
        connection.receive_data(b"abc")
        connection.send_response(200, [(b"content-length", b"0")], trailers=trailers or state is Writing.TRAILERS)
    if state is Writing.FILE:
        connection.begin_file(0, True)
    if state is Writing.TRAILERS:
        connection.send_body(b"")
    if state is Writing.DONE:
        connection.send_body(b"")
        if trailers:
            connection.send_trailers()
    if state is Writing.CLOSED:
        connection.close()
    assert connection.writing is state
    return connection


WRITE_STEPS: dict[WriteEvent, Step] = {
    WriteEvent.REQUEST: lambda c: c.receive_data(GET),
    WriteEvent.INFORMATIONAL: lambda c: c.send_early_hint([]),
    WriteEvent.RESPONSE: lambda c: c.send_response(200, [(b"content-length", b"0")]),
    WriteEvent.DATA: lambda c: c.send_body(b"", True),
    WriteEvent.FILE: lambda c: c.begin_file(0),
    WriteEvent.FILE_END: lambda c: c.end_file(),
    WriteEvent.BODY_END: lambda c: c.send_body(b""),
    WriteEvent.TRAILERS: lambda c: c.send_trailers(),
    WriteEvent.END: lambda c: c.send_body(b""),
    WriteEvent.REFUSAL: lambda c: c.send_refusal(400),
    WriteEvent.CLOSE: lambda c: c.close(),
    WriteEvent.NEXT: lambda c: c.next_exchange(),
}

# Pairs that the connection settles without asking the table: nothing happens.
QUIET_WRITES = {
    (Writing.CLOSED, WriteEvent.CLOSE),
    # Reading does not come to a next head before writing is idle again: the bytes are kept or belong to the body.
    (Writing.HEAD, WriteEvent.REQUEST),
    (Writing.BODY, WriteEvent.REQUEST),
    (Writing.FILE, WriteEvent.REQUEST),
    (Writing.TRAILERS, WriteEvent.REQUEST),
    (Writing.DONE, WriteEvent.REQUEST),
}


@pytest.mark.parametrize("event", WriteEvent, ids=lambda event: event.name)
@pytest.mark.parametrize("state", Writing, ids=lambda state: state.name)
def test_writing(state: Writing, event: WriteEvent) -> None:
    connection, step = writing_in(state, trailers=event is WriteEvent.BODY_END), WRITE_STEPS[event]
    if (state, event) in QUIET_WRITES:
        assert (state, event) not in WRITING
        step(connection)
        assert connection.writing is state
    elif (state, event) in WRITING:
        step(connection)
        assert connection.writing is WRITING[state, event]
    else:
        with pytest.raises(LocalProtocolError, match=f"when writing is {state.name}"):
            step(connection)
        assert connection.writing is state


# -- Reading ---------------------------------------------------------------------------------------------------------


def reading_in(state: Reading) -> HTTPConnection:
    connection = HTTPConnection()
    if state in (Reading.BODY, Reading.DONE):
        connection.receive_data(CHUNKED)
    if state is Reading.DONE:
        connection.receive_data(b"0\r\n\r\n")
        respond(connection)
    if state is Reading.CLOSED:
        connection.receive_data(GET)
        respond(connection)
        connection.next_exchange()
        connection.receive_eof()
    if state is Reading.FAILED:
        connection.receive_data(CHUNKED)
        respond(connection)
        fail_quietly(connection, b"what?")
    assert connection.reading is state
    return connection


READ_STEPS: dict[ReadEvent, Step] = {
    ReadEvent.HEAD: lambda c: c.receive_data(CHUNKED),
    ReadEvent.DATA: lambda c: c.receive_data(b"3\r\nabc\r\n"),
    ReadEvent.END: lambda c: c.receive_data(b"0\r\n\r\n"),
    ReadEvent.EOF: lambda c: c.receive_eof(),
    ReadEvent.ERROR: lambda c: fail_quietly(c, GARBAGE),
    ReadEvent.NEXT: lambda c: c.next_exchange(),
}

BYTES = [ReadEvent.HEAD, ReadEvent.DATA, ReadEvent.END, ReadEvent.ERROR]
# What comes behind a whole request is kept, whatever it is; after the last request it is thrown away.
QUIET_READS = {
    (state, event) for state in (Reading.DONE, Reading.CLOSED, Reading.FAILED) for event in (*BYTES, ReadEvent.EOF)
}

# What the parser never says there: these bytes mean something else, or are an error.
NOT_SAID = {
    (Reading.HEAD, ReadEvent.DATA),
    (Reading.HEAD, ReadEvent.END),
    (Reading.BODY, ReadEvent.HEAD),
}


@pytest.mark.parametrize("event", ReadEvent, ids=lambda event: event.name)
@pytest.mark.parametrize("state", Reading, ids=lambda state: state.name)
def test_reading(state: Reading, event: ReadEvent) -> None:
    connection, step = reading_in(state), READ_STEPS[event]
    if (state, event) in NOT_SAID:
        assert (state, event) not in READING
        with pytest.raises(RemoteProtocolError):
            step(connection)
        assert connection.reading is READING[state, ReadEvent.ERROR]
    elif (state, event) in QUIET_READS:
        assert (state, event) not in READING
        assert not (connection.receive_data(GARBAGE) if event is ReadEvent.ERROR else step(connection))
        assert connection.reading is state
    elif (state, event) in READING:
        step(connection)
        assert connection.reading is READING[state, event]
    else:
        before = connection.writing
        with pytest.raises(LocalProtocolError):
            step(connection)
        assert connection.reading is state
        assert connection.writing is before


def test_next_exchange_while_the_body_comes_changes_nothing() -> None:
    connection = HTTPConnection()
    connection.receive_data(POST)
    respond(connection)
    with pytest.raises(LocalProtocolError):
        connection.next_exchange()
    assert (connection.reading, connection.writing) == (Reading.BODY, Writing.DONE)
    connection.receive_data(b"abc")
    assert connection.next_exchange() == []
    assert (connection.reading, connection.writing) == (Reading.HEAD, Writing.IDLE)


def test_kept_bytes_come_with_the_next_exchange() -> None:
    connection = reading_in(Reading.DONE)
    assert connection.receive_data(GET[:10]) == []
    assert connection.receive_data(GET[10:]) == []
    head, _ = connection.next_exchange()
    assert head.path == "/"
    assert (connection.reading, connection.writing) == (Reading.DONE, Writing.HEAD)


def test_a_kept_end_comes_with_the_next_exchange() -> None:
    connection = reading_in(Reading.DONE)
    connection.receive_eof()
    assert connection.reading is Reading.DONE
    assert connection.next_exchange() == []
    assert connection.reading is Reading.CLOSED


# -- The tables themselves -------------------------------------------------------------------------------------------


def test_every_state_but_the_first_is_reached() -> None:
    assert set(READING.values()) == set(Reading)
    assert set(WRITING.values()) == set(Writing)


def test_the_last_states_are_left_by_nothing() -> None:
    assert not [pair for pair in READING if pair[0] in (Reading.CLOSED, Reading.FAILED)]
    assert not [pair for pair in WRITING if pair[0] is Writing.CLOSED]


def constants(file: str, prefix: str) -> dict[str, int]:
    found = re.findall(rf"^    {prefix}_(\w+) = (\d+)$", (SOURCE / file).read_text(), re.MULTILINE)
    return {name: int(number) for name, number in found if name != "EVENTS"}


@pytest.mark.parametrize(
    ("file", "prefix", "enum"),
    [
        ("connection.pxd", "READING", Reading),
        ("connection.pxd", "WRITING", Writing),
        ("connection.pyx", "READ", ReadEvent),
        ("connection.pyx", "WRITE", WriteEvent),
    ],
)
def test_the_c_numbers_are_those_of_the_enums(file: str, prefix: str, enum: type[IntEnum]) -> None:
    assert constants(file, prefix) == {member.name: member.value for member in enum}


def test_the_c_arrays_are_large_enough() -> None:
    text = (SOURCE / "connection.pyx").read_text()
    assert int(re.findall(r"^    STATES = (\d+)$", text, re.MULTILINE)[0]) == max(len(Reading), len(Writing))
    assert int(re.findall(r"^    READ_EVENTS = (\d+)$", text, re.MULTILINE)[0]) == len(ReadEvent)
    assert int(re.findall(r"^    WRITE_EVENTS = (\d+)$", text, re.MULTILINE)[0]) == len(WriteEvent)
