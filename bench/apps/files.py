"""A file of 10 MiB, sent by the extension; nginx serves the same one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .hello import Message, Receive, Send, lifespan

SIZE = 10 * 1024 * 1024
FILE = Path(tempfile.gettempdir(), "esg-bench-10MiB")
if not FILE.exists() or FILE.stat().st_size != SIZE:
    whole = FILE.with_name(f"{FILE.name}-{os.getpid()}")  # another process may be here too
    whole.write_bytes(bytes(range(256)) * (SIZE // 256))
    whole.replace(FILE)
HEADERS = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % SIZE)]
EXTENSION = "http.response.pathsend"
MISSING = b"this server does not have the extension " + EXTENSION.encode()


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if EXTENSION not in scope.get("extensions", {}):
        return await refuse(send)
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": EXTENSION, "path": str(FILE)})


async def refuse(send: Send) -> None:
    """The probe shows what this answers, and nothing is measured."""
    headers = [(b"content-length", b"%d" % len(MISSING))]
    await send({"type": "http.response.start", "status": 501, "headers": headers})
    await send({"type": "http.response.body", "body": MISSING})
