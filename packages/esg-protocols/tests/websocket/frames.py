"""What the WebSocket tests share: frames as a client sends them, frames as a client reads them, the ways to read."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

from esg_protocols.errors import RemoteProtocolError
from esg_protocols.websocket import Codec

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
KEY = b"\x37\xfa\x21\x3d"  # that of RFC 6455 section 5.7
SYNC = b"\x00\x00\xff\xff"


def mask(data: bytes, key: bytes = KEY) -> bytes:
    return bytes(byte ^ key[at & 3] for at, byte in enumerate(data))


def header(first: int, size: int, *, masked: bool = True) -> bytes:
    """A header without its key, the length in the fewest bytes."""
    bit = 0x80 * masked
    if size < 126:
        return bytes([first, bit | size])
    if size < 65536:
        return bytes([first, bit | 126]) + size.to_bytes(2, "big")
    return bytes([first, bit | 127]) + size.to_bytes(8, "big")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, bits: int = 0, key: bytes = KEY) -> bytes:
    """A frame from a client."""
    return header(FIN * fin | bits | opcode, len(payload)) + key + mask(payload, key)


def close(code: int | None, reason: str | bytes = b"") -> bytes:
    text = reason.encode() if isinstance(reason, str) else reason
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + text)


def fragments(opcode: int, parts: list[bytes], *, bits: int = 0, between: bytes = b"") -> bytes:
    """A message in as many frames as there are parts, with something between them."""
    last = len(parts) - 1
    frames = [
        frame(CONTINUATION if at else opcode, part, fin=at == last, bits=0 if at else bits)
        for at, part in enumerate(parts)
    ]
    return between.join(frames)


def deflate(data: bytes, bits: int = 15) -> bytes:
    """A payload that refers to no message before it."""
    compressor = zlib.compressobj(wbits=-bits)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(SYNC)


def read_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The first bytes and payloads of frames from a server, which must be whole, unmasked and minimal."""
    while data:
        first, size, at = data[0], data[1], 2
        if size in (126, 127):
            at = 4 if size == 126 else 10
            size = int.from_bytes(data[2:at], "big")
        assert data[:at] == header(first, size, masked=False)
        assert len(data) >= at + size
        yield first, data[at : at + size]
        data = data[at + size :]


def close_of(data: bytes) -> int | None:
    """The code of the close frame that is all there is; None if that has no code."""
    [(first, payload)] = read_frames(data)
    assert first == FIN | CLOSE
    payload[2:].decode()
    return int.from_bytes(payload[:2], "big") if payload else None


# -- Talking to a codec ----------------------------------------------------------------------------------------------

Make = Callable[..., Codec]


def drain(codec: Codec, data: bytes, events: list[Any]) -> None:
    """Give the codec data as a server does, and ask for what is pending."""
    events += codec.receive_data(data)
    while codec.pending:
        events += codec.receive_data(b"")


def whole(data: bytes) -> list[bytes]:
    return [data]


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def with_tail(data: bytes) -> list[bytes]:
    """The beginning of another frame behind it, in the same read."""
    return [data + frame(BINARY, b"tail" * 50)[:-3]]


WAYS = [whole, bytewise, with_tail]


def receive(codec: Codec, pieces: list[bytes]) -> list[Any]:
    events: list[Any] = []
    for piece in pieces:
        drain(codec, piece, events)
    return events


def refuse(codec: Codec, pieces: list[bytes]) -> tuple[list[Any], int, int]:
    """The events before a failure, its code, and in which piece it came."""
    events: list[Any] = []
    for at, piece in enumerate(pieces):
        try:
            drain(codec, piece, events)
        except RemoteProtocolError as error:
            return events, error.status, at
    raise AssertionError(f"nothing was wrong with it: {events}")


def outcome(codec: Codec, pieces: list[bytes]) -> tuple[list[Any], int, list[tuple[int, bytes]]]:
    """Everything there is to see of a codec that is given these pieces and then the end.

    But for its pongs: how many there are hangs on how pings come together.
    """
    events: list[Any] = []
    status = 0
    for piece in pieces:
        try:
            drain(codec, piece, events)
        except RemoteProtocolError as error:
            status = error.status
    said = [frame for frame in read_frames(codec.data_to_send()) if frame[0] != FIN | PONG]
    return events + codec.receive_eof(), status, said
