"""Files, trailers and early hints: what a server offers in ``scope["extensions"]``, and what to do where it does not.

    esg examples.files:app

then ``curl -v http://127.0.0.1:8000/`` for this file, ``curl -H "TE: trailers" --raw http://127.0.0.1:8000/sum`` for a
body with its checksum behind it, and ``curl -v http://127.0.0.1:8000/page`` for a hint that comes before the page.
"""

import hashlib
import os

PLAIN = (b"content-type", b"text/plain; charset=utf-8")


async def send_file(scope, send, path):
    size = os.path.getsize(path)
    headers = [PLAIN, (b"content-length", b"%d" % size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if "http.response.pathsend" in scope["extensions"]:
        # The system copies the file into the socket: not a byte of it passes through Python.
        await send({"type": "http.response.pathsend", "path": path})
        return
    with open(path, "rb") as file:
        while data := file.read(65536):
            await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body"})


async def send_with_checksum(send, parts):
    """The checksum is known when the body is out: it goes behind it, to clients that asked with ``TE: trailers``."""
    headers = [PLAIN, (b"trailer", b"x-sha256")]
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})
    await send({"type": "http.response.trailers", "headers": [(b"x-sha256", digest.hexdigest().encode())]})


async def send_page(send):
    # The browser fetches the style while the page is still being made.
    await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload; as=style"]})
    page = b"<link rel=stylesheet href=/style.css><p>Hello"
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(page))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": page})


async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/sum":
        await send_with_checksum(send, [b"Hello, ", b"world!\n"])
    elif scope["path"] == "/page":
        await send_page(send)
    else:
        await send_file(scope, send, os.path.abspath(__file__))
