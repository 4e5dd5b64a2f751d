"""The handler over plain lists of bytes: what a test needs, a fuzzer, or a capture that is played back.

$ python -m examples.transports.lists
"""

from __future__ import annotations

from collections.abc import Iterable

from esg_protocols.settings import Settings

from examples.transports.conversation import Conversation
from examples.transports.handler import SETTINGS, Handler, handle


def serve(reads: Iterable[bytes], handle: Handler, settings: Settings) -> tuple[list[bytes], bool]:
    """What is written in answer to these reads, ``b""`` for the end of the input; and whether it is over then."""
    conversation = Conversation(handle, settings)
    writes: list[bytes] = []
    for data in reads:
        if conversation.is_over:
            break
        writes += filter(None, conversation.receive(data))
    return writes, conversation.is_over


if __name__ == "__main__":
    for part in serve([b"GET /count HTTP/1.1\r\nHo", b"st: example.com\r\n\r\n", b""], handle, SETTINGS)[0]:
        print(part)
