"""The native codec alone: when it refuses, what it holds in memory meanwhile, and what it does with deflate."""

from __future__ import annotations

import itertools
import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from esg_protocols.errors import RemoteProtocolError
from esg_protocols.settings import Settings
from esg_protocols.websocket import Close, DeflateParameters, Ping
from esg_protocols.websocket.codecs.native import NativeCodec
from esg_protocols.websocket.deflate import find_isal
from esg_protocols.websocket.frames import is_close_code

from .frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    KEY,
    PING,
    RSV1,
    SYNC,
    TEXT,
    bytewise,
    close,
    deflate,
    fragments,
    frame,
    header,
    mask,
    read_frames,
    receive,
    refuse,
)

MIB = 1 << 20


def make(parameters: DeflateParameters | None = None, **settings: Any) -> NativeCodec:
    return NativeCodec(Settings(**settings), deflate=parameters)


def peak_of(work: Callable[[], object]) -> int:
    """The most memory in bytes that was held at once beyond what was there before."""
    work()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


# -- As soon as it can be seen ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [
        b"\x83\x80",
        b"\x91\x80",
        b"\xa1\x80",
        b"\xc1\x80",
        b"\x81\x05",
        b"\x89\xfe",
        b"\x09\x80",
        b"\xc9\x80",
        b"\x80\x80",
    ],
    ids=bytes.hex,
)
def test_a_bad_header_is_refused_before_it_is_whole(start: bytes) -> None:
    _, status, at = refuse(make(), bytewise(start + KEY + bytes(300)))
    assert status == 1002
    # What the state has to do with is seen at the end of the header, what is never right before that.
    assert at == (5 if start == b"\x80\x80" or start == b"\xc1\x80" else 1)


@pytest.mark.parametrize("size", [1001, 65535, 65536, 1 << 32, 1 << 62, (1 << 63) - 1])
def test_a_large_message_is_refused_before_its_payload(size: int) -> None:
    data = header(FIN | BINARY, size) + KEY
    assert refuse(make(ws_max_size=1000), bytewise(data)) == ([], 1009, len(data) - 1)
    first = frame(BINARY, b"x" * 500, fin=False)
    data = header(CONTINUATION, size) + KEY
    codec = make(ws_max_size=1000)
    assert codec.receive_data(first) == []
    assert refuse(codec, bytewise(data)) == ([], 1009, len(data) - 1)


@pytest.mark.parametrize("size", [1 << 40, 1 << 61])
def test_a_size_that_is_only_said_takes_no_memory(size: int) -> None:
    data = header(FIN | BINARY, size) + KEY + bytes(1000)
    assert peak_of(lambda: make(ws_max_size=1 << 62).receive_data(data)) < 10_000


# All that some character begins with; those that differ in nothing but their last byte stand for one another.
CHARACTERS = [*range(0x800), *range(0x800, 0xD800, 64), *range(0xE000, 0x110000, 64)]
BEGINNINGS = {text[:size] for text in (chr(code).encode() for code in CHARACTERS) for size in range(len(text))}


def first_bad(text: bytes) -> int | None:
    """The first byte with which the text cannot become UTF-8 any more."""
    start = 0
    for at in range(len(text)):
        if text[start : at + 1] not in BEGINNINGS:
            try:
                text[start : at + 1].decode()
            except UnicodeDecodeError:
                return at
            start = at + 1
    return None


EDGES = bytes.fromhex("00 41 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 ff")
SEQUENCES = [
    *map(bytes, itertools.product(EDGES, EDGES, EDGES)),
    *(
        bytes((a, b, c, d))
        for a, b, c, d in itertools.product(EDGES[19:], EDGES[2:10], EDGES[2:10], b"\x41\x80\xbf\xc0")
    ),
]


@pytest.mark.parametrize("cut", [1, 2], ids=["one frame", "fragments"])
def test_text_is_refused_at_its_first_bad_byte(cut: int) -> None:
    for text in SEQUENCES:
        bad = first_bad(text)
        if cut == 1:
            head, rest = header(FIN | TEXT, len(text) + 50) + KEY, b""
        else:
            head, rest = frame(TEXT, text[:1], fin=False), text[:1]
        if cut == 2 and bad == 0:
            continue
        codec = make()
        assert codec.receive_data(head) == []
        if cut == 2:
            codec.receive_data(header(FIN | CONTINUATION, len(text) + 50) + KEY)
        masked = mask(text[len(rest) :])
        if bad is None:
            assert receive(codec, bytewise(masked)) == []
        else:
            assert refuse(codec, bytewise(masked)) == ([], 1007, bad - len(rest)), text


@pytest.mark.parametrize("at", range(40))
def test_a_bad_byte_at_every_place(at: int) -> None:
    """Also where words of 8 bytes are looked at together."""
    for text in (b"a" * 40, "é".encode() * 20, b"a" + "€".encode() * 13):
        bad = text[:at] + b"\xff" + text[at:]
        assert refuse(make(), [frame(TEXT, bad)])[1] == 1007
        data = frame(TEXT, bad + b"a" * 100)
        assert refuse(make(), [data[:50], data[50:]])[1:] == (1007, 0 if 6 + at < 50 else 1)


# -- Floods ----------------------------------------------------------------------------------------------------------


def test_a_million_empty_fragments_hold_nothing() -> None:
    flood = frame(CONTINUATION, fin=False) * 1_000_000

    def work() -> None:
        codec = make()
        codec.receive_data(frame(TEXT, b"a", fin=False))
        assert codec.receive_data(flood) == []
        assert codec.receive_data(frame(CONTINUATION, b"b")) == ["ab"]

    assert peak_of(work) < 10_000


def test_a_flood_of_fragments_is_kept_in_one_buffer() -> None:
    one = frame(CONTINUATION, b"x", fin=False)

    def work() -> None:
        codec = make()
        codec.receive_data(frame(BINARY, fin=False))
        for _ in range(100):
            codec.receive_data(one * 1000)
        assert codec.receive_data(frame(CONTINUATION)) == [b"x" * 100_000]

    assert peak_of(work) < 100_000 * 3 + 20_000


def test_a_message_is_not_copied_when_it_is_whole() -> None:
    payload = frame(BINARY, bytes(4 * MIB))

    def work() -> None:
        codec, view = make(), memoryview(payload)
        events: list[Any] = []
        for at in range(0, len(payload), 65536):
            events += codec.receive_data(view[at : at + 65536])
        assert [len(event) for event in events] == [4 * MIB]

    assert peak_of(work) < 4 * MIB + 20_000


def test_the_numbers_of_allocations_do_not_grow_with_the_cuts() -> None:
    codec = make()
    data = frame(TEXT, b"a" * 100, fin=False)
    blocks = sys.getallocatedblocks()
    for _ in range(1000):
        for at in range(len(data)):
            assert not codec.receive_data(data[at : at + 1])
        data = frame(CONTINUATION, b"a" * 100, fin=False)
    assert sys.getallocatedblocks() - blocks < 50


# -- Deflate ---------------------------------------------------------------------------------------------------------

BOTH = [False, True]


def compressed(*messages: bytes) -> bytes:
    return b"".join(frame(BINARY, deflate(message), bits=RSV1) for message in messages)


def test_small_input_that_becomes_much_comes_in_parts() -> None:
    codec = make(DeflateParameters(), ws_max_size=MIB)
    data = compressed(*[bytes(MIB)] * 3) + frame(TEXT, b"last")
    assert len(data) < 5000
    assert [len(event) for event in codec.receive_data(data)] == [MIB]
    assert codec.pending
    assert [len(event) for event in codec.receive_data(b"")] == [MIB]
    # What is read before it has been asked for waits behind it.
    assert [len(event) for event in codec.receive_data(frame(TEXT, b"more"))] == [MIB]
    assert codec.pending
    assert codec.receive_data(memoryview(b"")) == ["last", "more"]
    assert not codec.pending


def test_small_messages_come_together_up_to_a_size() -> None:
    codec = make(DeflateParameters(), ws_max_size=1000)
    events = codec.receive_data(compressed(*[bytes(1000)] * 3000))
    assert len(events) == 1049  # the first MiB
    while codec.pending:
        events += codec.receive_data(b"")
    assert events == [bytes(1000)] * 3000


def test_the_end_of_what_waits() -> None:
    codec = make(DeflateParameters(), ws_max_size=MIB)
    codec.receive_data(compressed(bytes(MIB), b"lost"))
    assert codec.pending
    assert codec.receive_eof() == [Close(1006, "")]
    assert not codec.pending
    assert codec.receive_data(b"") == []


def test_a_failure_in_what_waits() -> None:
    codec = make(DeflateParameters(), ws_max_size=MIB)
    codec.receive_data(compressed(bytes(MIB)) + frame(CONTINUATION))
    assert codec.pending
    with pytest.raises(RemoteProtocolError):
        codec.receive_data(b"")


def test_what_is_behind_a_close_does_not_wait() -> None:
    codec = make(DeflateParameters(), ws_max_size=MIB)
    assert codec.receive_data(close(1000) + compressed(b"lost")) == [Close(1000, "")]
    assert not codec.pending


def test_a_compressed_message_may_be_larger_than_it_becomes_but_not_much() -> None:
    stored = zlib.compressobj(0, wbits=-15)
    payload = (stored.compress(bytes(1000)) + stored.flush(zlib.Z_SYNC_FLUSH)).removesuffix(SYNC)
    assert len(payload) > 1000
    codec = make(DeflateParameters(), ws_max_size=1000)
    assert codec.receive_data(frame(BINARY, payload, bits=RSV1)) == [bytes(1000)]
    assert refuse(codec, [header(FIN | RSV1 | BINARY, 3000) + KEY])[1] == 1009
    codec = make(DeflateParameters(), ws_max_size=1000)
    flood = frame(BINARY, b"\x00\x00\x00\xff\xff", bits=RSV1, fin=False)
    flood += frame(CONTINUATION, b"\x00\x00\x00\xff\xff" * 20, fin=False) * 100
    assert refuse(codec, [flood])[1] == 1009


def test_only_the_first_fragment_says_that_a_message_is_compressed() -> None:
    """RFC 7692 section 6.1."""
    codec, payload = make(DeflateParameters()), deflate(b"abc")
    assert codec.receive_data(frame(TEXT, payload[:2], bits=RSV1, fin=False)) == []
    assert refuse(codec, [frame(CONTINUATION, payload[2:], bits=RSV1)])[1] == 1002


@pytest.mark.parametrize("forget", BOTH)
def test_a_sender_may_end_its_stream_with_each_message(forget: bool) -> None:
    """RFC 7692 section 7.2.3.4; what is referred to next is this message, unless contexts are not taken over."""
    hello = frame(TEXT, bytes.fromhex("f348cdc9c9070000"), bits=RSV1)
    codec = make(DeflateParameters(client_no_context_takeover=forget))
    assert receive(codec, [hello, hello]) == ["Hello", "Hello"]
    again = frame(TEXT, bytes.fromhex("f200110000"), bits=RSV1)
    if forget:
        assert refuse(codec, [again])[1] == 1002
    else:
        assert codec.receive_data(again) == ["Hello"]


@pytest.mark.parametrize("behind", [b"", b"\x01", b"\x00\x00", b"\x03\x00" * 1000])
def test_nothing_may_come_behind_the_end_of_a_stream(behind: bytes) -> None:
    codec = make(DeflateParameters())
    assert refuse(codec, [frame(TEXT, bytes.fromhex("f348cdc9c90700") + behind, bits=RSV1)])[1] == 1002


def test_a_large_window_at_the_end_of_a_stream() -> None:
    final = zlib.compressobj(wbits=-9)
    payload = final.compress(bytes(range(256)) * 10) + final.flush() + b"\x00"
    codec = make(DeflateParameters(client_max_window_bits=8))
    assert codec.receive_data(frame(BINARY, payload, bits=RSV1)) == [bytes(range(256)) * 10]
    next_one = zlib.compressobj(wbits=-9, zdict=bytes(range(256)) * 2)
    payload = next_one.compress(bytes(range(256))) + next_one.flush(zlib.Z_SYNC_FLUSH)
    assert codec.receive_data(frame(BINARY, payload.removesuffix(SYNC), bits=RSV1)) == [bytes(range(256))]


SLICE, PIECE = 1 << 16, 1 << 18  # of payloads and of messages, as deflate.pyx has them


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 5 * PIECE - 7])
@pytest.mark.parametrize("kind", ["nothing", "anything", "both"])
@pytest.mark.parametrize("final", BOTH)
def test_large_messages_come_out_whole(size: int, kind: str, final: bool) -> None:
    chance = random.Random(size)
    data = {
        "nothing": bytes,
        "anything": chance.randbytes,
        "both": lambda size: bytes(size // 2) + chance.randbytes(size),
    }
    message = data[kind](size)[:size]
    compressor = zlib.compressobj(wbits=-15)
    end = zlib.Z_FINISH if final else zlib.Z_SYNC_FLUSH
    payload = compressor.compress(message) + compressor.flush(end)
    large = frame(BINARY, payload + b"\x00" if final else payload.removesuffix(SYNC), bits=RSV1)
    refers_back = zlib.compressobj(wbits=-15, zdict=message[-100:])
    payload = refers_back.compress(message[-90:]) + refers_back.flush(zlib.Z_SYNC_FLUSH)
    codec = make(DeflateParameters(), ws_max_size=size)
    events = receive(codec, [large, frame(BINARY, payload.removesuffix(SYNC), bits=RSV1)])
    assert events == [message, message[-90:]]
    assert refuse(make(DeflateParameters(), ws_max_size=size - 1), [large]) == ([], 1009, 0)


@pytest.mark.parametrize("cut", range(-6, 7))
def test_the_end_of_a_stream_anywhere_in_a_slice(cut: int) -> None:
    """What comes behind it is in the same slice of the payload, in the next one, or in both."""
    stored = zlib.compressobj(0, wbits=-15)
    probe = zlib.compressobj(0, wbits=-15)
    overhead = len(probe.compress(bytes(SLICE)) + probe.flush()) - SLICE
    message = bytes(SLICE - overhead + cut)
    payload = stored.compress(message) + stored.flush()
    assert abs(len(payload) - SLICE) <= 12
    codec = make(DeflateParameters())
    assert codec.receive_data(frame(BINARY, payload + b"\x00", bits=RSV1)) == [message]
    assert refuse(make(DeflateParameters()), [frame(BINARY, payload + b"\x00" * 2, bits=RSV1)])[1] == 1002
    assert refuse(make(DeflateParameters()), [frame(BINARY, payload + bytes(SLICE), bits=RSV1)])[1] == 1002


def test_what_is_broken_behind_a_slice_is_refused() -> None:
    payload = bytearray(deflate(random.Random(1).randbytes(3 * SLICE)))
    assert len(payload) > 3 * SLICE
    payload += b"\x07"  # a block of a kind that there is not
    assert refuse(make(DeflateParameters()), [frame(BINARY, bytes(payload), bits=RSV1)])[1] == 1002


def test_a_large_message_is_held_once() -> None:
    data = compressed(bytes(16 * MIB))
    assert peak_of(lambda: make(DeflateParameters(), ws_max_size=16 * MIB).receive_data(data)) < 18 * MIB


def test_a_bomb_takes_no_more_than_the_largest_message() -> None:
    data = compressed(bytes(100 * MIB))

    def work() -> None:
        with pytest.raises(RemoteProtocolError):
            make(DeflateParameters(), ws_max_size=16 * MIB).receive_data(data)

    assert peak_of(work) < 18 * MIB


@pytest.fixture(params=["zlib", "isal"])
def library(request: Any) -> str:
    if request.param == "isal":
        pytest.importorskip("isal", reason="isal is not installed: compressing with it is NOT TESTED")
    return str(request.param)


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("forget", BOTH)
def test_messages_refer_to_no_more_than_is_agreed_on(library: str, bits: int, forget: bool) -> None:
    chance, said = random.Random(bits), b""
    agreed = DeflateParameters(server_max_window_bits=bits, server_no_context_takeover=forget)
    codec, inflate = make(agreed, ws_deflate_library=library), zlib.decompressobj(-bits)
    for _ in range(40):
        before = said[-chance.randrange(1, 40_000) :][: chance.randrange(1, 5000)]
        message = chance.choice([chance.randbytes(chance.randrange(256, 9000)), b"x" * 70_000, before.ljust(256)])
        said = (said + message)[-100_000:]
        [(_, payload)] = read_frames(codec.send_bytes(message))
        if forget:
            inflate = zlib.decompressobj(-bits)
        # In small pieces: within one call zlib takes what refers back further.
        found, rest = b"", payload + SYNC
        while piece := inflate.decompress(rest, 100):
            found, rest = found + piece, inflate.unconsumed_tail
        assert found == message


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    find_isal.cache_clear()
    [(_, payload)] = read_frames(make(DeflateParameters()).send_bytes(b"a" * 1000))
    expected = zlib.compressobj(wbits=-15, memLevel=Settings().ws_deflate_memory_level)
    assert payload == (expected.compress(b"a" * 1000) + expected.flush(zlib.Z_SYNC_FLUSH)).removesuffix(SYNC)
    with pytest.raises(ImportError):
        make(DeflateParameters(), ws_deflate_library="isal")
    find_isal.cache_clear()


@pytest.mark.parametrize("size", [0, 1, 255, 256, 10_000])
@pytest.mark.parametrize("least", [0, 256])
def test_what_is_compressed(library: str, least: int, size: int) -> None:
    codec = make(DeflateParameters(), ws_deflate_min_size=least, ws_deflate_library=library)
    inflate = zlib.decompressobj(wbits=-15)
    for message in (b"a" * size, "a" * size, bytearray(b"b" * size)):
        data = codec.send_text(message) if isinstance(message, str) else codec.send_bytes(message)
        [(first, payload)] = read_frames(data)
        expected = message.encode() if isinstance(message, str) else bytes(message)
        assert first & 0x0F == (TEXT if isinstance(message, str) else BINARY)
        assert bool(first & RSV1) is (size >= max(1, least))
        assert (inflate.decompress(payload + SYNC) if first & RSV1 else payload) == expected


def kept_after(work: Callable[[], object]) -> int:
    """The memory in bytes that work has left behind."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("forget", BOTH)
def test_contexts_are_released_between_messages_if_they_are_not_taken_over(forget: bool) -> None:
    text, data = "ab" * 500, frame(TEXT, deflate(b"ab" * 500), bits=RSV1)
    sender = make(DeflateParameters(server_no_context_takeover=forget))
    sent = kept_after(lambda: sender.send_text(text))
    receiver = make(DeflateParameters(client_no_context_takeover=forget))
    received = kept_after(lambda: receiver.receive_data(data))
    if forget:
        assert max(sent, received) < 3000
    else:
        assert sent > 20_000
        assert received > 7000


@pytest.mark.parametrize("bits", range(9, 16))
def test_the_window_is_what_was_agreed_on(bits: int) -> None:
    """What repeats at a distance is found within the window, and not beyond it."""
    codec = make(DeflateParameters(server_max_window_bits=bits))
    generator, inflate, sizes = random.Random(bits), zlib.decompressobj(wbits=-bits), []
    for distance in ((1 << bits) - 300, (1 << bits) + 1):
        noise = generator.randbytes(100)
        message = noise + bytes(distance - 100) + noise
        [(_, payload)] = read_frames(codec.send_bytes(message))
        assert inflate.decompress(payload + SYNC) == message
        sizes.append(len(payload))
    assert sizes[1] - sizes[0] > 60


# -- Other -----------------------------------------------------------------------------------------------------------


def test_what_is_not_bytes_changes_nothing() -> None:
    codec = make()
    data = frame(TEXT, b"Hello")
    codec.receive_data(data[:5])
    for wrong in ("text", None, 5):
        with pytest.raises(TypeError):
            codec.receive_data(wrong)  # type: ignore[arg-type]
    assert codec.receive_data(data[5:]) == ["Hello"]


def test_the_defaults() -> None:
    codec = NativeCodec()
    assert refuse(codec, [header(FIN | BINARY, 16 * MIB + 1) + KEY])[1] == 1009
    assert not codec.pending


@pytest.mark.parametrize("offset", range(9))
@pytest.mark.parametrize("size", [0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 64, 65])
def test_the_mask_at_every_offset(size: int, offset: int) -> None:
    key, payload = b"\x01\x80\x7f\xfe", bytes(byte * 37 & 0xFF for byte in range(size + offset))
    data = frame(BINARY, payload, key=key)
    cut = 6 + offset
    codec = make()
    assert receive(codec, [data[:cut], data[cut:]]) == [payload]


def test_a_reason_is_cut_to_what_a_close_frame_holds() -> None:
    codec = make(ws_max_size=1)
    refuse(codec, [frame(BINARY, b"xx")])
    [(first, payload)] = read_frames(codec.data_to_send())
    assert (first, payload[:2]) == (FIN | CLOSE, (1009).to_bytes(2, "big"))
    assert b"1 bytes" in payload


def test_close_codes() -> None:
    good = [code for code in range(-1, 70000) if is_close_code(code)]
    assert good == [*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)]


def test_a_close_between_fragments() -> None:
    codec = make()
    assert receive(codec, [frame(TEXT, b"lost", fin=False) + close(1000)]) == [Close(1000, "")]
    assert codec.must_close


def test_control_frames_within_a_compressed_message() -> None:
    payload = deflate(b"Hello" * 100)
    data = fragments(TEXT, [payload[:3], payload[3:5], payload[5:]], bits=RSV1, between=frame(PING, b"p"))
    codec = make(DeflateParameters())
    assert receive(codec, bytewise(data)) == [Ping(b"p"), Ping(b"p"), "Hello" * 100]
