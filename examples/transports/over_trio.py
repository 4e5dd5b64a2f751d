"""The handler over trio's streams, with a task for each client.

$ pip install trio
$ python -m examples.transports.over_trio
$ curl --data 'some text' http://127.0.0.1:8000/echo

The handler never waits, so it may run between two reads; one that does would have to be async, or to go into a thread.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from functools import partial
from math import inf

import trio
from esg_protocols.settings import Settings

from examples.transports.conversation import LINGER_SECONDS, Conversation, date_line
from examples.transports.handler import SETTINGS, Handler, handle


async def serve(stream: trio.abc.HalfCloseableStream, handle: Handler, settings: Settings) -> None:
    """Talk to one client until one of the two sides has had enough, and close."""
    async with stream:
        try:
            whole = await talk(stream, Conversation(handle, settings, date=date_line), settings.timeout_write or inf)
            if whole:
                await linger(stream)
            else:
                reset(stream)
        except (trio.BrokenResourceError, trio.TooSlowError):  # the client has gone, or does not take what is written
            reset(stream)


async def talk(stream: trio.abc.HalfCloseableStream, conversation: Conversation, write_timeout: float) -> bool:
    """Read and write until the conversation is over; whether all that was begun is written."""
    while not conversation.is_over:
        data = await read(stream, conversation.deadline(trio.current_time()))
        for part in conversation.time_out() if data is None else conversation.receive(data):
            with trio.fail_after(write_timeout):
                await stream.send_all(part)
    return not conversation.cut_short


async def read(stream: trio.abc.ReceiveStream, until: float) -> bytes | None:
    """What comes next, empty at the end; None if nothing does in time."""
    with trio.move_on_at(until):
        return bytes(await stream.receive_some())
    return None


async def linger(stream: trio.abc.HalfCloseableStream) -> None:
    """Close our side and hear the client out.

    A socket closed while bytes lie unread is reset, and the reset may overtake the last answer (RFC 9112 section 9.6).
    """
    await stream.send_eof()
    until = trio.current_time() + LINGER_SECONDS
    while await read(stream, until):
        pass


def reset(stream: trio.abc.Stream) -> None:
    """Let closing be an error to the client: what it got must not look whole."""
    if isinstance(stream, trio.SocketStream):
        with contextlib.suppress(OSError):
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def main() -> None:
    listeners = await trio.open_tcp_listeners(int(os.environ.get("PORT", "8000")), host="127.0.0.1")
    print("running on http://{}:{}".format(*listeners[0].socket.getsockname()), flush=True)
    await trio.serve_listeners(partial(serve, handle=handle, settings=SETTINGS), listeners)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        trio.run(main)
