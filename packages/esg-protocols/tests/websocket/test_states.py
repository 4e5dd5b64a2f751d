"""Both tables, pair by pair, through a real codec; and the C numbers that stand for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

import pytest
from esg_protocols.errors import LocalProtocolError, RemoteProtocolError
from esg_protocols.websocket.codecs.native import NativeCodec
from esg_protocols.websocket.states import READING, WRITING, ReadEvent, Reading, WriteEvent, Writing

from .frames import CONTINUATION, PING, TEXT, close, frame

SOURCE = Path(__file__).parents[2] / "src/esg_protocols/websocket/codecs"


def fail(codec: NativeCodec) -> None:
    with pytest.raises(RemoteProtocolError):
        codec.receive_data(b"\xff\xff")


READ_STEPS: dict[ReadEvent, Callable[[NativeCodec], object]] = {
    ReadEvent.WHOLE: lambda codec: codec.receive_data(frame(TEXT, b"a")),
    ReadEvent.FIRST: lambda codec: codec.receive_data(frame(TEXT, b"a", fin=False)),
    ReadEvent.MIDDLE: lambda codec: codec.receive_data(frame(CONTINUATION, b"a", fin=False)),
    ReadEvent.LAST: lambda codec: codec.receive_data(frame(CONTINUATION, b"a")),
    ReadEvent.CONTROL: lambda codec: codec.receive_data(frame(PING, b"a")),
    ReadEvent.CLOSE: lambda codec: codec.receive_data(close(1000)),
    ReadEvent.EOF: lambda codec: codec.receive_eof(),
    ReadEvent.ERROR: fail,
}


def reading_in(state: Reading) -> NativeCodec:
    codec = NativeCodec()
    if state is Reading.FRAGMENT:
        READ_STEPS[ReadEvent.FIRST](codec)
    if state is Reading.CLOSED:
        READ_STEPS[ReadEvent.CLOSE](codec)
    if state is Reading.FAILED:
        fail(codec)
    assert codec.reading is state
    return codec


@pytest.mark.parametrize("event", ReadEvent, ids=lambda event: event.name)
@pytest.mark.parametrize("state", Reading, ids=lambda state: state.name)
def test_reading(state: Reading, event: ReadEvent) -> None:
    codec = reading_in(state)
    if (state, event) in READING:
        READ_STEPS[event](codec)
        assert codec.reading is READING[state, event]
    elif state in (Reading.CLOSED, Reading.FAILED):
        assert codec.receive_data(b"\xff\xff") == codec.receive_eof() == []
        assert codec.reading is state
    else:
        with pytest.raises(RemoteProtocolError):
            READ_STEPS[event](codec)
        assert codec.reading is READING[state, ReadEvent.ERROR]


WRITE_STEPS: dict[WriteEvent, Callable[[NativeCodec], object]] = {
    WriteEvent.MESSAGE: lambda codec: codec.send_text("a"),
    WriteEvent.CONTROL: lambda codec: codec.send_ping(b"a"),
    WriteEvent.CLOSE: lambda codec: codec.send_close(1000),
}


@pytest.mark.parametrize("event", WriteEvent, ids=lambda event: event.name)
@pytest.mark.parametrize("state", Writing, ids=lambda state: state.name)
def test_writing(state: Writing, event: WriteEvent) -> None:
    codec = NativeCodec()
    if state is Writing.CLOSED:
        codec.send_close()
    if (state, event) in WRITING:
        WRITE_STEPS[event](codec)
        assert codec.writing is WRITING[state, event]
    else:
        with pytest.raises(LocalProtocolError, match=f"^{event.name} must not be sent when writing is {state.name}$"):
            WRITE_STEPS[event](codec)
        assert codec.writing is state


@pytest.mark.parametrize("event", [ReadEvent.CLOSE, ReadEvent.EOF, ReadEvent.ERROR], ids=lambda event: event.name)
def test_what_ends_reading_ends_writing(event: ReadEvent) -> None:
    codec = NativeCodec()
    READ_STEPS[event](codec)
    assert codec.writing is Writing.CLOSED
    assert codec.must_close


def test_every_state_is_reached_and_the_last_are_left_by_nothing() -> None:
    assert set(READING.values()) == set(Reading)
    assert set(WRITING.values()) == set(Writing)
    assert not [pair for pair in READING if pair[0] in (Reading.CLOSED, Reading.FAILED)]
    assert not [pair for pair in WRITING if pair[0] is Writing.CLOSED]


def constants(file: str, prefix: str) -> dict[str, int]:
    found = re.findall(rf"^    {prefix}_(\w+) = (\d+)$", (SOURCE / file).read_text(), re.MULTILINE)
    return {name: int(number) for name, number in found if name not in ("EVENTS", "STATES")}


@pytest.mark.parametrize(
    ("file", "prefix", "enum"),
    [
        ("native.pxd", "READING", Reading),
        ("native.pxd", "WRITING", Writing),
        ("native.pyx", "READ", ReadEvent),
        ("native.pyx", "WRITE", WriteEvent),
    ],
)
def test_the_c_numbers_are_those_of_the_enums(file: str, prefix: str, enum: type[IntEnum]) -> None:
    assert constants(file, prefix) == {member.name: member.value for member in enum}


def test_the_c_arrays_are_large_enough() -> None:
    text = (SOURCE / "native.pyx").read_text()
    sizes = dict(re.findall(r"^    (\w+_(?:STATES|EVENTS)) = (\d+)$", text, re.MULTILINE))
    assert sizes == {
        "READ_STATES": str(len(Reading)),
        "READ_EVENTS": str(len(ReadEvent)),
        "WRITE_STATES": str(len(Writing)),
        "WRITE_EVENTS": str(len(WriteEvent)),
    }
