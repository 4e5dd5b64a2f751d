"""Sends a message on each of many WebSockets, and the next when it has come back; prints how many there were.

What is sent has been compressed before, and of what comes back the size is looked at, so that the client is not what is
measured. With ``--probe`` a few messages of one connection are looked at whole.

Run: python -m bench.load.websocket_client URL --size 64
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import zlib
from collections.abc import Iterator
from itertools import cycle, islice

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from .messages import UNAVAILABLE
from .wire import OFFER, SYNC, Sent, messages
from .workloads import Talk

PROBED = 5
COMPRESSION_PAYS = 0.8  # a compressed message is smaller than this share of the plain one


class Talker(WSListener):
    """One connection. ``sent`` is what it says next, without end."""

    def __init__(self, sent: Iterator[Sent], kind: WSMsgType, deflate: bool) -> None:
        self.sent, self.kind, self.deflate = sent, kind, deflate
        self.answers = 0
        self.bytes = 0
        self.over = asyncio.get_running_loop().create_future()
        self.is_ending = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def say(self) -> None:
        self.current = next(self.sent)
        self.transport.send(self.kind, self.current.payload, True, self.deflate)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != self.kind:
            if frame.msg_type != WSMsgType.PING and not self.is_ending:
                self.fail(f"a frame of the type {frame.msg_type}")
            return
        if why := self.objection(frame):
            self.fail(why)
            return
        self.answers += 1
        self.bytes += frame.payload_size
        if not self.is_ending:
            self.say()

    def objection(self, frame: WSFrame) -> str:
        """Why this is no right answer, as far as its header tells."""
        if not frame.fin:
            return "a message in fragments"
        if frame.rsv1 != self.deflate:
            return "an answer that is compressed" if frame.rsv1 else "an answer that is not compressed"
        size = len(self.current.plain)
        if (
            self.deflate
            and frame.payload_size > COMPRESSION_PAYS * size
            or not self.deflate
            and frame.payload_size != size
        ):
            return f"an answer of {frame.payload_size} bytes to one of {size}"
        return ""

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if not self.is_ending:
            self.fail("the server closed the connection")
        elif not self.over.done():
            self.over.set_result(None)

    def fail(self, why: str) -> None:
        if not self.over.done():
            self.over.set_exception(RuntimeError(why))
        self.is_ending = True


class Prober(Talker):
    """Looks at every answer whole, and ends after some."""

    def __init__(self, sent: Iterator[Sent], kind: WSMsgType, deflate: bool) -> None:
        super().__init__(sent, kind, deflate)
        self.context = zlib.decompressobj(-15)

    def objection(self, frame: WSFrame) -> str:
        data = frame.get_payload_as_bytes()
        found = self.context.decompress(data + SYNC) if frame.rsv1 else data
        if found != self.current.plain:
            return f"{found[:100]!r} and not {self.current.plain[:100]!r}"
        if self.answers + 1 == PROBED:
            self.is_ending = True
            self.transport.send_close()
        return super().objection(frame)


async def connect(url: str, talker: Talker, deflate: bool) -> Talker:
    # Its own TCP transports would be others than those of the servers on uvloop.
    await ws_connect(
        lambda: talker, url, extra_headers={"Sec-WebSocket-Extensions": OFFER} if deflate else {}, use_aiofastnet=False
    )
    return talker


async def talk(options: argparse.Namespace) -> dict[str, float]:
    said = messages(Talk(options.size, options.text, options.deflate))
    kind = WSMsgType.TEXT if options.text else WSMsgType.BINARY
    count, kind_of_talker = (1, Prober) if options.probe else (options.connections, Talker)
    talkers = []
    for number in range(count):
        sent = islice(cycle(said), number % len(said), None)
        talkers.append(await connect(options.url, kind_of_talker(sent, kind, options.deflate), options.deflate))
    began = time.perf_counter()
    for talker in talkers:
        talker.say()
    done, _ = await asyncio.wait(
        [talker.over for talker in talkers], timeout=options.seconds, return_when="FIRST_COMPLETED"
    )
    passed = time.perf_counter() - began
    answers = sum(talker.answers for talker in talkers)
    for one in done:
        one.result()
    for talker in talkers:
        talker.is_ending = True
        talker.transport.disconnect()
    if not answers or options.probe and answers != PROBED:
        raise RuntimeError(f"{answers} answers")
    return {"messages": answers, "rate": answers / passed, "bytes": sum(talker.bytes for talker in talkers)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.load.websocket_client")
    parser.add_argument("url")
    parser.add_argument("--size", type=int, required=True, help="bytes of a message")
    parser.add_argument("--text", action="store_true")
    parser.add_argument("--deflate", action="store_true", help="compress, and want the answers compressed")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--probe", action="store_true", help="look at a few answers instead")
    options = parser.parse_args()
    try:
        print(json.dumps(uvloop.run(talk(options))))
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return UNAVAILABLE if isinstance(error, ConnectionRefusedError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
