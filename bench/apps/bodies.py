"""Bodies: read as they come, sent back, sent in pieces, and sent as one."""

from __future__ import annotations

from .hello import Message, Receive, Send, lifespan

KIB = 1024
PIECE = b"x" * KIB
LARGE = b"x" * 1024 * KIB
PLAIN = (b"content-type", b"text/plain")
OF_A_LARGE_ONE = [PLAIN, (b"content-length", b"%d" % len(LARGE))]
OF_PIECES = [PLAIN]


async def count(scope: Message, receive: Receive, send: Send) -> None:
    """Answers with the size of what it read, message by message."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message["body"])
        more = message["more_body"]
    await answer(send, b"%d" % size)


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message["body"])
        more = message["more_body"]
    await answer(send, b"".join(parts))


async def chunks(scope: Message, receive: Receive, send: Send) -> None:
    """64 messages of 1 KiB, whose number the head does not tell."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    await send({"type": "http.response.start", "status": 200, "headers": OF_PIECES})
    for _ in range(64):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body"})


async def large(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    await send({"type": "http.response.start", "status": 200, "headers": OF_A_LARGE_ONE})
    await send({"type": "http.response.body", "body": LARGE})


async def answer(send: Send, body: bytes) -> None:
    headers = [PLAIN, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
