"""What WebSocket clients of the benchmarks send: the messages of a workload, as payloads and as frames."""

from __future__ import annotations

import json
import random
import zlib
from typing import NamedTuple

from .workloads import Talk

OFFER = "permessage-deflate; client_max_window_bits"
HANDSHAKE = (
    "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n"
)
SYNC = b"\x00\x00\xff\xff"
# Different messages one after the other: together more than a compressor remembers.
VARIETY = 32


class Sent(NamedTuple):
    """A message, and its payload on the wire."""

    plain: bytes
    payload: bytes


def messages(talk: Talk) -> list[Sent]:
    """JSON if they are text, and anything if not; each is compressed by itself, as the first of a connection."""
    chance = random.Random(talk.size)
    plain = []
    for _ in range(VARIETY if talk.deflate else 1):
        rows = json.dumps([_record(chance) for _ in range(talk.size // 60 + 1)]).encode()
        plain.append(rows[: talk.size] if talk.text else chance.randbytes(talk.size))
    return [Sent(each, _compressed(each) if talk.deflate else each) for each in plain]


def _record(chance: random.Random) -> dict[str, object]:
    words = chance.choices(("alpha", "beta", "gamma", "delta", "price", "volume"), k=3)
    return {"id": chance.randrange(10**6), "name": " ".join(words), "value": round(chance.random(), 6), "ok": True}


def _compressed(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-12)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(SYNC)


def framed(talk: Talk) -> bytes:
    """The first message as a frame, masked with nothing; of up to 64 KiB."""
    payload = messages(talk)[0].payload
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([0x80 | 0x40 * talk.deflate | (1 if talk.text else 2)]) + length + bytes(4) + payload


def is_whole_frame(data: bytes) -> bool:
    """Whether a frame from a server, of up to 64 KiB, is whole."""
    if len(data) < 4:
        return False
    size = data[1] + 2 if data[1] < 126 else int.from_bytes(data[2:4], "big") + 4
    return len(data) >= size
