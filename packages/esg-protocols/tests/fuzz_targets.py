"""What is fuzzed: functions from any bytes to nothing, or to an AssertionError.

The first bytes of an input choose the limits, what is agreed on, and where the reads are cut; the others are what a
client sends: frames, or the payloads of compressed messages.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from esg_protocols.settings import Settings
from esg_protocols.websocket import DeflateParameters
from esg_protocols.websocket.codecs.native import NativeCodec

from .websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    SYNC,
    TEXT,
    close,
    deflate,
    fragments,
    frame,
    header,
    outcome,
)
from .websocket.peers import compare

LONGEST = 512
# One byte each for the limits, what is agreed on, the way of cutting and what comes ahead; two for each of two cuts.
CHOICES = 8
PLAIN = bytes(CHOICES)
NO_KEY = bytes(4)  # with it a payload stands in the input as it is
PIECES = (1, 2, 3, 7)
STRETCH = 16
# The libraries cost more than all else, so only one of so many inputs is compared with them, whatever it looks like.
COMPARED = 16

SMALL = Settings(ws_max_size=300)
AGREED = (
    None,
    DeflateParameters(),
    DeflateParameters(client_no_context_takeover=True),
    DeflateParameters(client_max_window_bits=9),
)


def frames(data: bytes) -> None:
    """Any bytes behind a handshake: what comes of them does not hang on the cuts, and the libraries see it alike."""
    choices, raw = data[:CHOICES].ljust(CHOICES, b"\0"), data[CHOICES:]
    agreed = AGREED[choices[1] % len(AGREED)]
    whole = outcome(NativeCodec(SMALL, deflate=agreed), [raw])
    pieces = cut(choices, raw)
    assert outcome(NativeCodec(SMALL, deflate=agreed), pieces) == whole, f"the cut makes a difference: {pieces}"
    if zlib.crc32(raw) % COMPARED == 0:
        compare(raw, agreed, SMALL)


def cut(choices: bytes, raw: bytes) -> list[bytes]:
    """One way of cutting: into three parts anywhere, or with a stretch of small pieces instead of the one between."""
    first, last = cuts(choices, len(raw))
    if not choices[2] & 4:
        return [raw[:first], raw[first:last], raw[last:]]
    size = PIECES[choices[2] % len(PIECES)]
    last = min(len(raw), first + STRETCH * size)
    return [raw[:first], *(raw[i : min(i + size, last)] for i in range(first, last, size)), raw[last:]]


def cuts(choices: bytes, size: int) -> tuple[int, int]:
    first, last = sorted(int.from_bytes(choices[i : i + 2], "big") % (size + 1) for i in (4, 6))
    return first, last


# -- The inflater ----------------------------------------------------------------------------------------------------

SLICE, PIECE = 1 << 16, 1 << 18  # of payloads and of messages, as deflate.pyx has them


def ahead(data: bytes, level: int) -> bytes:
    """Blocks before those of the input, so that it comes where the inflater goes from one step to the next."""
    compressor = zlib.compressobj(level, wbits=-15)
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)


INFLATED = (*AGREED[1:], DeflateParameters(client_max_window_bits=8, client_no_context_takeover=True))
AHEAD = (
    ahead(bytes(SLICE - 40), 0),
    ahead(bytes(SLICE - 16), 0),
    ahead(bytes(PIECE - 4), 9),
    ahead(bytes(PIECE), 9),
)
LIMITS = tuple(Settings(ws_max_size=size) for size in (300, SLICE, PIECE, 2 * PIECE))


def inflate(data: bytes) -> None:
    """Any payloads of three compressed messages: they become what zlib makes of them in one call, or are refused."""
    choices, raw = data[:CHOICES].ljust(CHOICES, b"\0"), data[CHOICES:]
    agreed = INFLATED[choices[1] % len(INFLATED)]
    # What refers back beyond a smaller window may be found out or not, by how much is made in one call.
    limits = LIMITS[choices[0] % (len(LIMITS) if agreed.client_max_window_bits == 15 else 1)]
    first, last = cuts(choices, len(raw))
    payloads = [raw[:first], raw[first:last], raw[last:]]
    if zlib.crc32(raw) % COMPARED == 0:  # it costs more than all else
        payloads[0] = AHEAD[choices[3] % len(AHEAD)] + payloads[0]
    sent = b"".join(header(0x80 | RSV1 | BINARY, len(payload)) + NO_KEY + payload for payload in payloads)
    messages, statuses = inflated_of(payloads, agreed, limits.ws_max_size)
    for pieces in ([sent], cut(choices, sent)):
        events, found, _ = outcome(NativeCodec(limits, deflate=agreed), pieces)
        assert (events[:-1] if not found else events) == messages and found in statuses


def inflated_of(payloads: list[bytes], agreed: DeflateParameters, most: int) -> tuple[list[bytes], tuple[int, ...]]:
    """The messages before one that is refused, and the close codes it may have; 0 if none is."""
    messages: list[bytes] = []
    window = b""
    context = None
    for payload in payloads:
        if len(payload) > most + (most >> 8) + 1024:
            return messages, (1009,)
        context = context or zlib.decompressobj(-max(9, agreed.client_max_window_bits), window)
        again = context.copy()
        try:
            message = context.decompress(payload + SYNC, most + 1)
        except zlib.error:
            return messages, (1002, 1009) if made_before_an_error(again, payload) > most else (1002,)
        if len(message) > most:
            return messages, (1009,)
        if context.eof and context.unused_data != b"\x00" + SYNC:
            return messages, (1002,)
        if context.eof or agreed.client_no_context_takeover:
            context, window = None, b"" if agreed.client_no_context_takeover else message[-32768:]
        messages.append(message)
    return messages, (0,)


def made_before_an_error(context: Any, payload: bytes) -> int:
    """Bytes of a message that cannot be decompressed. Of one that is too large as well, either may be found first."""
    at = made = 0
    size = 1 << 12
    while at < len(payload):
        before = context.copy()
        try:
            made += len(context.decompress(payload[at : at + size]))
            at += size
        except zlib.error:
            if size == 1:
                break
            context, size = before, 1
    return made


TARGETS: dict[str, Callable[[bytes], None]] = {"frames": frames, "inflate": inflate}


# -- Where inputs come from ------------------------------------------------------------------------------------------

SPOKEN = (
    frame(TEXT, "é€𝄞 and so on".encode(), key=NO_KEY),
    frame(BINARY, b"\xff" * 130, key=NO_KEY),
    frame(TEXT, b"a" * 40),
    frame(PING, b"p", key=NO_KEY),
    frame(PONG, b"", key=NO_KEY),
    frame(TEXT, b"a", fin=False, key=NO_KEY),
    frame(CONTINUATION, b"b", fin=False, key=NO_KEY),
    frame(CONTINUATION, b"c", key=NO_KEY),
    fragments(TEXT, ["é€".encode()[:1], "é€".encode()[1:3], "é€".encode()[3:]], between=frame(PING, b"between")),
    frame(TEXT, deflate(b"ab" * 100), bits=RSV1, key=NO_KEY),
    frame(BINARY, deflate(b"x" * 290), bits=RSV1, key=NO_KEY),
    fragments(TEXT, [deflate(b"ab" * 100)[:3], deflate(b"ab" * 100)[3:]], bits=RSV1),
    close(1000, "bye"),
    close(None),
    frame(CLOSE, b"\x03\xe8\xff", key=NO_KEY),
    header(0x82, 70000) + NO_KEY,
    header(0x82, 1 << 62) + NO_KEY,
)
MARKS = (b"\x81\x80", b"\x82\xfe", b"\x80\x80", b"\xc1\x80", b"\x88\x82", b"\x89\x80", NO_KEY, SYNC, b"\x03\xe8")
PAYLOADS = (
    deflate(b"Hello" * 20),
    deflate(bytes(range(256))),
    deflate(b"a" * 299),
    deflate(b"ab" * 100, 9),
    bytes.fromhex("f348cdc9c9070000"),  # RFC 7692 section 7.2.3.4
    bytes.fromhex("f200110000"),  # section 7.2.3.2
    bytes.fromhex("000500faff48656c6c6f00"),  # section 7.2.3.3
    deflate(bytes(range(256)) * 600),
)


def seeds(target: str) -> list[bytes]:
    if target == "inflate":
        return [PLAIN, *(settings + payload for payload in PAYLOADS for settings in (PLAIN, b"\3\0\0\2" + bytes(4)))]
    together = b"".join(SPOKEN[:6]), b"".join(SPOKEN[5:9]), b"".join(SPOKEN[:3] + SPOKEN[9:13])
    return [PLAIN, *(choices + data for data in (*SPOKEN, *together) for choices in (PLAIN, b"\0\1" + PLAIN[2:]))]


def words() -> set[bytes]:
    return set(MARKS) | {data[:16] for data in (*SPOKEN, *PAYLOADS)}


def tell(target: str, data: bytes) -> str:
    return f"choices: {data[:CHOICES]!r}\nread: {data[CHOICES:]!r}"


def inputs(target: str, chance: random.Random) -> Iterator[bytes]:
    """Seeds with bytes changed, without end."""
    parts = PAYLOADS if target == "inflate" else SPOKEN
    while True:
        data = b"".join(chance.choices(parts, k=chance.randint(1, 4)))
        for _ in range(chance.randint(0, 3)):
            data = changed(chance, data)
        yield chance.randbytes(CHOICES) + data


def changed(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    new = chance.choice([b"", chance.choice(MARKS), chance.randbytes(1), data[at : at + chance.randrange(30)]])
    return data[:at] + new + data[at + chance.choice([0, 0, 1, len(new), chance.randrange(20)]) :]
