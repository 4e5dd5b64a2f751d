"""What other libraries make of the same bytes, and where they may differ from our codec."""

from __future__ import annotations

import zlib
from typing import Any

from esg_protocols.settings import Settings
from esg_protocols.websocket import DeflateParameters, Ping, Pong, load_codec
from esg_protocols.websocket.codecs.native import NativeCodec

from .frames import CLOSE, FIN, RSV1, SYNC, mask, outcome

LENIENT: dict[str, tuple[str, ...]] = {
    # It takes lengths as they come.
    "websockets": ("not in the fewest bytes", "a control frame of more than 125 bytes"),
    "wsproto": (),
}
"""Reasons for which we refuse, and a library does not."""


def compare(raw: bytes, agreed: DeflateParameters | None, settings: Settings) -> None:
    """AssertionError if a library takes what we refuse, or refuses what we take, or reads something else."""
    raw, payloads = whole_messages(raw)
    if agreed and ends_stream(payloads, agreed):
        return  # one library has nothing but empty messages then, the other forgets what they refer to
    ours = outcome(NativeCodec(settings, deflate=agreed), [raw])
    for name in LENIENT:
        theirs = outcome(load_codec(name)(settings, deflate=agreed), [raw])
        known = agree(ours, theirs) or found_elsewhere(ours, theirs) or explain(name, ours)
        assert known, f"{name} differs: {theirs} instead of {ours}"


def whole_messages(raw: bytes) -> tuple[bytes, list[bytes]]:
    """Without the message in which the input ends, and a close frame in one; and the payloads of those compressed.

    Each codec may look at the one as early as it likes; ``websockets`` takes the other for an error.
    """
    at = whole = 0
    is_open = is_compressed = False
    payloads: list[bytes] = []
    while at + 2 <= len(raw):
        first, size, start = raw[at], raw[at + 1] & 0x7F, at + 2
        if size > 125:
            more = 2 if size == 126 else 8
            size, start = int.from_bytes(raw[start : start + more], "big"), start + more
        at_payload = start + (4 if raw[at + 1] & 0x80 else 0)
        end = at_payload + size
        opcode = first & 0x0F
        if end > len(raw) or opcode == CLOSE and is_open:
            break
        if opcode < CLOSE:
            is_compressed = is_compressed if is_open else first & RSV1 != 0
            if is_compressed:
                payload = mask(raw[at_payload:end], raw[start:at_payload] or bytes(4))
                payloads[len(payloads) - is_open :] = [payloads[-1] + payload if is_open else payload]
            is_open = not first & FIN
        at = end
        if not is_open:
            whole = at
    return raw[:whole], payloads


def ends_stream(payloads: list[bytes], agreed: DeflateParameters) -> bool:
    """Whether the sender ends its deflate stream with a message (RFC 7692 section 7.2.3.4)."""
    context = zlib.decompressobj(-max(9, agreed.client_max_window_bits))
    try:
        for payload in payloads:
            context.decompress(payload + SYNC)
            if context.eof:
                return True
            if agreed.client_no_context_takeover:
                context = zlib.decompressobj(-max(9, agreed.client_max_window_bits))
    except zlib.error:
        pass
    return False


def agree(ours: Any, theirs: Any) -> bool:
    """The same events, and both refuse or neither; not always with the same code."""
    return bool(ours[0] == theirs[0] and bool(ours[1]) == bool(theirs[1]))


def found_elsewhere(ours: Any, theirs: Any) -> bool:
    """Whether both refuse, with nothing but control frames between the places where they do.

    Compressed data may wait in a codec until there is enough of it, or the message is whole, before it is decompressed.
    """
    fewer, more = sorted((ours[0], theirs[0]), key=len)
    between = more[len(fewer) :]
    both = bool(ours[1] and theirs[1]) and more[: len(fewer)] == fewer
    return both and all(isinstance(event, (Ping, Pong)) for event in between)


def explain(name: str, ours: Any) -> bool:
    """Whether it is a known difference."""
    _, status, said = ours
    return bool(status) and any(reason in said[-1][1][2:].decode() for reason in LENIENT[name])
