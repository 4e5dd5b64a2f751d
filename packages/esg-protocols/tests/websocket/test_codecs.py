"""Every codec, by the one face they have: whole, byte by byte, and with a tail behind."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from esg_protocols.errors import LocalProtocolError, RemoteProtocolError
from esg_protocols.websocket import Close, DeflateParameters, Ping, Pong

from .frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    KEY,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    Make,
    close,
    close_of,
    deflate,
    fragments,
    frame,
    header,
    read_frames,
    receive,
    refuse,
    whole,
)

Way = Callable[[bytes], list[bytes]]

DEFLATE = DeflateParameters()
LONG = "wörter über wörter, " * 5000

# -- Messages --------------------------------------------------------------------------------------------------------

MESSAGES: dict[str, Any] = {
    "empty text": (frame(TEXT), [""]),
    "empty binary": (frame(BINARY), [b""]),
    "text": (frame(TEXT, b"Hello"), ["Hello"]),
    "binary": (frame(BINARY, b"\x00\xff"), [b"\x00\xff"]),
    "one byte": (frame(BINARY, b"\xff") + frame(TEXT, b"a"), [b"\xff", "a"]),
    "two-, three- and four-byte characters": (frame(TEXT, "é€𝄞\x00\U0010ffff".encode()), ["é€𝄞\x00\U0010ffff"]),
    "125 bytes": (frame(BINARY, b"x" * 125), [b"x" * 125]),
    "126 bytes": (frame(BINARY, b"x" * 126), [b"x" * 126]),
    "65535 bytes": (frame(BINARY, b"x" * 65535), [b"x" * 65535]),
    "65536 bytes": (frame(BINARY, b"x" * 65536), [b"x" * 65536]),
    "long text": (frame(TEXT, LONG.encode()), [LONG]),
    "a key of zeros": (frame(TEXT, b"plain", key=bytes(4)), ["plain"]),
    "three messages": (frame(TEXT, b"a") + frame(BINARY, b"b") + frame(TEXT, b"c"), ["a", b"b", "c"]),
    "fragments": (fragments(TEXT, [b"Hel", b"lo", b" ", b"World"]), ["Hello World"]),
    "binary fragments": (
        fragments(BINARY, [b"\x00" * 9, b"\x01", b"\x02" * 300]),
        [b"\x00" * 9 + b"\x01" + b"\x02" * 300],
    ),
    "empty fragments": (fragments(TEXT, [b"", b"a", b"", b"", b"b", b""]), ["ab"]),
    "nothing but empty fragments": (fragments(BINARY, [b"", b"", b""]), [b""]),
    "characters cut by fragments": (fragments(TEXT, [bytes([byte]) for byte in "é€𝄞".encode()]), ["é€𝄞"]),
    "ping": (frame(PING, b"p"), [Ping(b"p")]),
    "empty ping": (frame(PING), [Ping(b"")]),
    "ping of 125 bytes": (frame(PING, b"p" * 125), [Ping(b"p" * 125)]),
    "pong": (frame(PONG, b"p"), [Pong(b"p")]),
    "between fragments": (
        fragments(TEXT, [b"a", "é".encode()[:1], "é".encode()[1:]], between=frame(PONG, b"x") + frame(PING, b"\xff")),
        [Pong(b"x"), Ping(b"\xff"), Pong(b"x"), Ping(b"\xff"), "aé"],
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_messages(case: str, make: Make, way: Way) -> None:
    data, events = MESSAGES[case]
    codec = make()
    assert receive(codec, way(data)) == events
    assert not codec.must_close


COMPRESSED: dict[str, Any] = {
    "text": (frame(TEXT, deflate(b"Hello"), bits=RSV1), ["Hello"]),
    "that of RFC 7692 section 7.2.3.1": (frame(TEXT, bytes.fromhex("f248cdc9c90700"), bits=RSV1), ["Hello"]),
    "with no compression (7.2.3.3)": (frame(TEXT, bytes.fromhex("000500faff48656c6c6f00"), bits=RSV1), ["Hello"]),
    "two blocks (7.2.3.5)": (
        frame(TEXT, bytes.fromhex("f248050000 00ffffcac9c90700".replace(" ", "")), bits=RSV1),
        ["Hello"],
    ),
    "in fragments": (fragments(TEXT, [b"\xf2\x48", b"\xcd", b"\xc9\xc9\x07\x00"], bits=RSV1), ["Hello"]),
    "empty": (frame(BINARY, b"\x00", bits=RSV1) + frame(TEXT, b"\x00", bits=RSV1), [b"", ""]),
    "long": (frame(TEXT, deflate(LONG.encode()), bits=RSV1), [LONG]),
    "of which one is not": (
        frame(TEXT, deflate(b"Hello"), bits=RSV1) + frame(TEXT, b"plain") + frame(BINARY, deflate(b"x"), bits=RSV1),
        ["Hello", "plain", b"x"],
    ),
    "with the context of the first (7.2.3.2)": (
        frame(TEXT, bytes.fromhex("f248cdc9c90700"), bits=RSV1) + frame(TEXT, bytes.fromhex("f200110000"), bits=RSV1),
        ["Hello", "Hello"],
    ),
}


@pytest.mark.parametrize("case", COMPRESSED)
def test_compressed_messages(case: str, make: Make, way: Way) -> None:
    data, events = COMPRESSED[case]
    assert receive(make(DEFLATE), way(data)) == events


def test_bytes_of_other_kinds(make: Make) -> None:
    codec = make()
    data = frame(TEXT, b"Hello")
    assert codec.receive_data(bytearray(data)) == codec.receive_data(memoryview(data)) == ["Hello"]
    assert codec.receive_data(b"") == []


# -- Failures --------------------------------------------------------------------------------------------------------

LARGE = {"ws_max_size": 1000}
FAILURES: dict[str, tuple[bytes, int]] = {
    "not masked": (header(FIN | TEXT, 3, masked=False) + b"abc", 1002),
    "not masked, later": (frame(TEXT, b"a", fin=False) + header(FIN | CONTINUATION, 3, masked=False) + b"abc", 1002),
    "reserved bit 1": (frame(TEXT, b"abc", bits=RSV1), 1002),
    "reserved bit 2": (frame(TEXT, b"abc", bits=RSV2), 1002),
    "reserved bit 3": (frame(TEXT, b"abc", bits=RSV3), 1002),
    "reserved bit of a ping": (frame(PING, b"abc", bits=RSV1), 1002),
    "reserved bit of a continuation": (fragments(TEXT, [b"a"]) + frame(TEXT, fin=False) + frame(0, bits=RSV1), 1002),
    "a ping in fragments": (frame(PING, b"abc", fin=False), 1002),
    "a close in fragments": (frame(CLOSE, fin=False), 1002),
    "a large ping": (frame(PING, b"p" * 126), 1002),
    "a large pong": (header(FIN | PONG, 65536), 1002),
    "a large close": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "a length in two bytes": (bytes([FIN | BINARY, 0xFE, 0, 125]) + KEY + b"x" * 125, 1002),
    "a length in eight bytes": (bytes([FIN | TEXT, 0xFF]) + (65535).to_bytes(8, "big") + KEY + b"x" * 65535, 1002),
    "a length of 2^63": (bytes([FIN | TEXT, 0xFF]) + (1 << 63).to_bytes(8, "big") + KEY, 1002),
    "a length of 2^64 - 1": (bytes([FIN | TEXT, 0xFF]) + b"\xff" * 8 + KEY, 1002),
    "a continuation of nothing": (frame(CONTINUATION, b"abc"), 1002),
    "a continuation behind a message": (fragments(TEXT, [b"a", b"b"]) + frame(CONTINUATION, b"c"), 1002),
    "a message in a message": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "a binary message in a message": (frame(TEXT, b"a", fin=False) + frame(BINARY, b"b", fin=False), 1002),
    "half a close code": (frame(CLOSE, b"\x03"), 1002),
    "a close reason that is not UTF-8": (close(1000, b"\xff"), 1007),
    "a text that is not UTF-8": (frame(TEXT, b"abc\xff"), 1007),
    "a text that ends in a character": (frame(TEXT, "é".encode()[:1]), 1007),
    "fragments that end in a character": (fragments(TEXT, [b"abc", "€".encode()[:2]]), 1007),
    "fragments with a bad byte between": (fragments(TEXT, [b"abc", "€".encode()[:2], b"abc"]), 1007),
    "a message that is too large": (frame(BINARY, b"x" * 1001), 1009),
    "fragments that are too large": (fragments(BINARY, [b"x" * 500, b"x" * 500, b"x"]), 1009),
    "a text that is too large": (frame(TEXT, b"x" * 1001), 1009),
}
for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
    FAILURES[f"opcode {opcode}"] = (frame(opcode, b"x"), 1002)

# What the other libraries see otherwise: another code where a frame is wrong in two ways, None where they accept it.
OTHERWISE: dict[tuple[str, str], int | None] = {
    ("websockets", "a large pong"): 1009,
    ("websockets", "a length in two bytes"): None,
    ("websockets", "a length in eight bytes"): 1009,
    ("websockets", "a length of 2^63"): 1009,
    ("websockets", "a length of 2^64 - 1"): 1009,
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures(case: str, name: str, make: Make, way: Way) -> None:
    data, code = FAILURES[case][0], OTHERWISE.get((name, case), FAILURES[case][1])
    codec = make(**LARGE)
    if code is None:
        assert len(receive(codec, way(frame(TEXT, b"before") + data))) == 2
        return
    events, status, _ = refuse(codec, way(frame(TEXT, b"before") + data))
    assert (events[0], status) == ("before", code)
    assert close_of(codec.data_to_send()) == status
    assert codec.must_close
    assert not codec.pending
    # What follows is ignored, also the end.
    assert codec.receive_data(frame(TEXT, b"after")) == codec.receive_eof() == []
    assert codec.data_to_send() == b""
    with pytest.raises(LocalProtocolError):
        codec.send_text("too late")


COMPRESSED_FAILURES: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "garbage": (frame(TEXT, b"\xff" * 10, bits=RSV1), (1002, 1007)),
    "a stored block with a wrong length": (frame(BINARY, b"\x00\x05\x00\x00\x00", bits=RSV1), (1002, 1007)),
    "a distance into nothing": (frame(TEXT, bytes.fromhex("f200110000"), bits=RSV1), (1002, 1007)),
    "a text that is not UTF-8": (frame(TEXT, deflate(b"abc\xff"), bits=RSV1), (1007,)),
    "a text that ends in a character": (frame(TEXT, deflate("é".encode()[:1]), bits=RSV1), (1007,)),
    "too large": (frame(BINARY, deflate(b"x" * 1001), bits=RSV1), (1009,)),
    "too large in fragments": (
        fragments(BINARY, [deflate(b"x" * 9999)[:5], deflate(b"x" * 9999)[5:]], bits=RSV1),
        (1009,),
    ),
    "too large, and nothing compressed": (frame(BINARY, b"x" * 1001), (1009,)),
    "reserved bit 2": (frame(TEXT, deflate(b"x"), bits=RSV1 | RSV2), (1002,)),
    "a compressed ping": (frame(PING, deflate(b"x"), bits=RSV1), (1002,)),
}


@pytest.mark.parametrize("case", COMPRESSED_FAILURES)
def test_compressed_failures(case: str, make: Make, way: Way) -> None:
    data, codes = COMPRESSED_FAILURES[case]
    codec = make(DEFLATE, **LARGE)
    events, status, _ = refuse(codec, way(frame(TEXT, b"before") + data))
    assert (events[0], status in codes) == ("before", True)
    assert close_of(codec.data_to_send()) == status


def test_the_largest_message_there_may_be(make: Make, way: Way) -> None:
    data = fragments(BINARY, [b"x" * 500, b"y" * 500]) + frame(BINARY, b"z" * 1000)
    assert receive(make(**LARGE), way(data)) == [b"x" * 500 + b"y" * 500, b"z" * 1000]
    data = frame(BINARY, deflate(b"x" * 1000), bits=RSV1)
    assert receive(make(DEFLATE, **LARGE), way(data)) == [b"x" * 1000]


# -- Close -----------------------------------------------------------------------------------------------------------

GOOD_CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
BAD_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", GOOD_CODES)
def test_close_codes(code: int, name: str, make: Make, way: Way) -> None:
    codec = make()
    if (name, code) == ("wsproto", 1014):
        assert refuse(codec, way(close(code)))[1] == 1002  # it was registered after the library's list
        return
    assert receive(codec, way(frame(TEXT, b"a") + close(code, "wärum"))) == ["a", Close(code, "wärum")]
    assert close_of(codec.data_to_send()) == code
    assert codec.must_close
    with pytest.raises(LocalProtocolError):
        codec.send_text("too late")
    assert codec.receive_data(frame(TEXT, b"after")) == codec.receive_eof() == []


@pytest.mark.parametrize("code", BAD_CODES)
def test_close_codes_that_must_not_be_sent(code: int, make: Make, way: Way) -> None:
    codec = make()
    assert refuse(codec, way(close(code)))[1] == 1002
    assert close_of(codec.data_to_send()) == 1002
    if code != 1005:
        with pytest.raises(LocalProtocolError):
            make().send_close(code)


def test_much_behind_a_close(make: Make) -> None:
    codec = make(DEFLATE)
    data = frame(BINARY, b"x" * 10_000)
    assert receive(codec, [data + close(1000) + data, data]) == [b"x" * 10_000, Close(1000, "")]
    assert codec.must_close


def test_a_close_without_a_code(make: Make, way: Way) -> None:
    codec = make()
    assert receive(codec, way(close(None))) == [Close(1005, "")]
    assert close_of(codec.data_to_send()) is None
    assert close_of(make().send_close(1005)) is None


def test_a_close_of_ours(make: Make, way: Way) -> None:
    codec = make()
    assert close_of(codec.send_close(4000, "r" * 123)) == 4000
    assert not codec.must_close
    # What was on its way still comes; pings are answered no more (RFC 6455 section 5.5.1).
    data = frame(TEXT, b"late") + frame(PING, b"p") + close(4000, "bye")
    assert receive(codec, way(data)) == ["late", Ping(b"p"), Close(4000, "bye")]
    assert codec.data_to_send() == b""
    assert codec.must_close


def test_a_failure_behind_a_close_of_ours(make: Make) -> None:
    codec = make()
    codec.send_close()
    assert refuse(codec, [frame(TEXT, b"\xff")])[1] == 1007
    assert codec.data_to_send() == b""
    assert codec.must_close


@pytest.mark.parametrize("data", [b"", frame(TEXT, b"a" * 100)[:50], frame(TEXT, b"a", fin=False)], ids=len)
def test_the_end_without_a_close(data: bytes, make: Make) -> None:
    codec = make()
    assert receive(codec, [data]) == []
    assert codec.receive_eof() == [Close(1006, "")]
    assert codec.receive_eof() == []
    assert codec.must_close
    assert codec.receive_data(frame(TEXT, b"after")) == []
    with pytest.raises(LocalProtocolError):
        codec.send_ping()


# -- Pings -----------------------------------------------------------------------------------------------------------


def test_a_ping_is_answered(make: Make, way: Way) -> None:
    codec = make()
    receive(codec, way(frame(PING, b"p" * 125)))
    assert list(read_frames(codec.data_to_send())) == [(FIN | PONG, b"p" * 125)]
    assert codec.data_to_send() == b""


@pytest.mark.parametrize("count", [2, 15, 16, 17, 18])
def test_some_pings_are_answered_each(count: int, make: Make, way: Way) -> None:
    codec = make()
    receive(codec, way(b"".join(frame(PING, b"%d" % number) for number in range(count))))
    answered = list(range(count)) if count <= 16 else [*range(15), count - 1]
    assert list(read_frames(codec.data_to_send())) == [(FIN | PONG, b"%d" % number) for number in answered]


def test_a_flood_of_pings_is_answered_with_few_pongs(make: Make) -> None:
    codec = make()
    flood = b"".join(frame(PING, b"%d" % number) for number in range(1000))
    assert receive(codec, [flood, flood]) == [Ping(b"%d" % number) for number in range(1000)] * 2
    answered = [payload for _, payload in read_frames(codec.data_to_send())]
    assert (len(answered), answered[-1]) == (16, b"999")


def test_a_pong_goes_before_a_close(make: Make) -> None:
    codec = make()
    receive(codec, [frame(PING, b"p") + close(1000)])
    assert list(read_frames(codec.data_to_send())) == [(FIN | PONG, b"p"), (FIN | CLOSE, b"\x03\xe8")]


def test_the_pong_before_a_failure(make: Make) -> None:
    codec = make()
    assert refuse(codec, [frame(PING, b"p") + frame(CONTINUATION)]) == ([Ping(b"p")], 1002, 0)
    assert [first for first, _ in read_frames(codec.data_to_send())] == [FIN | PONG, FIN | CLOSE]


# -- Sending ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 100_000])
def test_messages_of_ours(size: int, make: Make) -> None:
    codec = make()
    data, text = bytes(at & 0xFF for at in range(size)), "é" * (size // 2) + "a" * (size & 1)
    for kind in (bytes, bytearray, memoryview):
        assert list(read_frames(codec.send_bytes(kind(data)))) == [(FIN | BINARY, data)]
    assert list(read_frames(codec.send_text(text))) == [(FIN | TEXT, text.encode())]
    assert codec.data_to_send() == b""


def test_control_frames_of_ours(make: Make) -> None:
    codec = make()
    for payload in (b"", b"p" * 125):
        assert list(read_frames(codec.send_ping(payload))) == [(FIN | PING, payload)]
        assert list(read_frames(codec.send_pong(payload))) == [(FIN | PONG, payload)]
    assert list(read_frames(codec.send_ping() + codec.send_pong())) == [(FIN | PING, b""), (FIN | PONG, b"")]
    assert list(read_frames(codec.send_close())) == [(FIN | CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("send_text", (b"bytes",)),
        ("send_text", (None,)),
        ("send_text", ("\ud800",)),
        ("send_bytes", ("text",)),
        ("send_bytes", (None,)),
        ("send_ping", (b"p" * 126,)),
        ("send_ping", ("text",)),
        ("send_pong", (b"p" * 126,)),
        ("send_close", (999,)),
        ("send_close", (-1,)),
        ("send_close", (1 << 70,)),
        ("send_close", (None,)),
        ("send_close", ("1000",)),
        ("send_close", (1000, "é" * 62)),
        ("send_close", (1000, b"bytes")),
        ("send_close", (1000, "\ud800")),
        ("send_close", (1005, "a reason without a code")),
    ],
)
def test_what_must_not_go_on_the_wire(method: str, arguments: tuple[Any, ...], make: Make) -> None:
    codec = make()
    with pytest.raises(LocalProtocolError):
        getattr(codec, method)(*arguments)
    # Nothing has changed.
    assert list(read_frames(codec.send_text("a"))) == [(FIN | TEXT, b"a")]


@pytest.mark.parametrize(
    ("method", "argument"),
    [("send_text", "a"), ("send_bytes", b"a"), ("send_ping", b"a"), ("send_pong", b"a"), ("send_close", 1000)],
)
def test_nothing_follows_a_close(method: str, argument: Any, make: Make) -> None:
    codec = make()
    codec.send_close()
    with pytest.raises(LocalProtocolError):
        getattr(codec, method)(argument)


# -- A failure behind good messages ----------------------------------------------------------------------------------


def test_a_failure_waits_for_the_messages_before_it(make: Make) -> None:
    codec = make()
    assert codec.receive_data(frame(TEXT, b"a") + frame(PING, b"p") + frame(TEXT, b"\xff")) == ["a", Ping(b"p")]
    assert codec.pending
    assert not codec.must_close
    # What is before it may be answered.
    assert list(read_frames(codec.data_to_send() + codec.send_text("a"))) == [(FIN | PONG, b"p"), (FIN | TEXT, b"a")]
    with pytest.raises(RemoteProtocolError) as raised:
        codec.receive_data(frame(TEXT, b"b"))
    assert raised.value.status == 1007
    assert close_of(codec.data_to_send()) == 1007
    assert codec.must_close
    assert not codec.pending
    assert codec.receive_data(frame(TEXT, b"b")) == []


def test_the_end_comes_before_a_failure_that_nobody_asked_for(make: Make) -> None:
    codec = make()
    assert codec.receive_data(frame(TEXT, b"a") + frame(TEXT, b"\xff")) == ["a"]
    assert codec.receive_eof() == [Close(1006, "")]
    assert not codec.pending
    assert codec.receive_data(b"") == []


def test_a_failure_alone_does_not_wait(make: Make) -> None:
    codec = make()
    with pytest.raises(RemoteProtocolError):
        codec.receive_data(frame(TEXT, b"\xff"))
    assert not codec.pending


# -- Bombs -----------------------------------------------------------------------------------------------------------


def test_a_bomb_does_not_go_off(make: Make) -> None:
    data = frame(BINARY, deflate(bytes(100 << 20)), bits=RSV1)
    assert len(data) < 200_000
    codec = make(DEFLATE, ws_max_size=1 << 20)
    tracemalloc.start()
    try:
        assert refuse(codec, whole(data))[1] == 1009
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
