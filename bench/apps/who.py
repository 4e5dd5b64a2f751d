"""Says which process answers, and takes its time with some requests."""

from __future__ import annotations

import asyncio
import os

from .hello import Message, Receive, Send, lifespan


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["path"] == "/slow":
        await asyncio.sleep(0.05)
    body = b"%-8d" % os.getpid()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
