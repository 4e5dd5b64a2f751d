"""The WebSocket codecs side by side: ours against those on other libraries, CPU time of one message each way.

A round receives or sends a message of each size with each codec in turn, so that all of them see the same machine; the
ratio is to ours, as a median over rounds.

Run: python -m bench.micro.websocket
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from esg_protocols.settings import Settings
from esg_protocols.websocket import CODECS, load_codec
from esg_protocols.websocket.extensions import DeflateParameters

ROUNDS = 11
KEY = b"\x37\xfa\x21\x3d"
DEFLATE = DeflateParameters(server_max_window_bits=12, client_max_window_bits=12, client_is_limited=True)
TEXT = " ".join(f'{{"id": {i}, "name": "user {i * 7919 % 1000}", "ok": true}}' for i in range(40))[:1024]


def masked(first: int, payload: bytes) -> bytes:
    """A frame as a client sends it."""
    size = len(payload)
    if size < 126:
        header = bytes([first, 0x80 | size])
    elif size < 65536:
        header = bytes([first, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        header = bytes([first, 0x80 | 127]) + size.to_bytes(8, "big")
    mask = (KEY * (size // 4 + 1))[:size]
    return header + KEY + (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


def deflated(data: bytes) -> bytes:
    """The message as a first one, and as one that does not refer to those before it."""
    compressor = zlib.compressobj(wbits=-12)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def receiving(codec: Any, data: bytes) -> Callable[[], object]:
    receive = codec.receive_data
    return lambda: receive(data)


def sending(codec: Any, message: str | bytes) -> Callable[[], object]:
    send = codec.send_text if isinstance(message, str) else codec.send_bytes
    return lambda: send(message)


def cases(codec: Callable[..., Any]) -> Iterator[tuple[str, Callable[[], object], int]]:
    small, large = "x" * 64, bytes(range(256)) * 256
    yield "receive 64 B text", receiving(codec(), masked(0x81, small.encode())), 5000
    yield "receive 64 KiB binary", receiving(codec(), masked(0x82, large)), 200
    yield "receive 1 MiB text, ASCII", receiving(codec(), masked(0x81, b"a" * (1 << 20))), 10
    fragments = masked(0x02, b"x" * 16) + masked(0x00, b"x" * 16) * 1000 + masked(0x80, b"")
    yield "receive 1000 fragments of 16 B", receiving(codec(), fragments), 20
    frame = masked(0xC1, deflated(TEXT.encode()))
    yield "receive 1 KiB text, deflated", receiving(codec(deflate=DEFLATE), frame), 1000
    yield "send 64 B text", sending(codec(), small), 5000
    yield "send 64 KiB binary", sending(codec(), large), 200
    yield "send 1 KiB text, deflated", sending(codec(deflate=DEFLATE), TEXT), 500


def cpu_time(call: Callable[[], object], calls: int) -> float:
    start = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - start) / calls


def zlib_alone() -> None:
    """What of the deflated messages is zlib's own time: the same calls and nothing else."""
    compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -12, Settings().ws_deflate_memory_level)
    decompressor = zlib.decompressobj(-12)
    text, payload = TEXT.encode(), deflated(TEXT.encode()) + b"\x00\x00\xff\xff"
    inflate = median(cpu_time(lambda: decompressor.decompress(payload, 1 << 24), 1000) for _ in range(ROUNDS))
    deflate = median(
        cpu_time(lambda: (compressor.compress(text), compressor.flush(zlib.Z_SYNC_FLUSH)), 500) for _ in range(ROUNDS)
    )
    print(f"\nzlib alone on the 1 KiB text: inflate {inflate * 1e9:.0f} ns, deflate {deflate * 1e9:.0f} ns")


def main() -> None:
    names = list(CODECS)
    table = {name: list(cases(load_codec(name))) for name in names}
    print(f"{'ns per message':34}" + "".join(f"{name:>14}" for name in names) + f"{'ratios to ours':>20}")
    for row in zip(*table.values(), strict=True):
        rounds = [[cpu_time(call, calls) for _, call, calls in row] for _ in range(ROUNDS)]
        times = [median(column) * 1e9 for column in zip(*rounds, strict=True)]
        ratios = [median(one[at] / one[0] for one in rounds) for at in range(1, len(names))]
        print(
            f"{row[0][0]:34}"
            + "".join(f"{value:14.0f}" for value in times)
            + "      "
            + "".join(f"{ratio:8.1f}" for ratio in ratios)
        )
    zlib_alone()


if __name__ == "__main__":
    main()
