"""The application of test_tls: what it is told of TLS, bodies of any size both ways, files, and WebSockets."""

import asyncio
import hashlib
import json
import os

PATTERN = bytes(range(256)) * 256

sent = 0


async def answer(send, body, status=200):
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def scope_of(scope, receive, send):
    told = {name: scope[name] for name in ("scheme", "http_version")}
    await answer(send, json.dumps({**told, "tls": scope["extensions"].get("tls")}).encode())


async def upload(scope, receive, send):
    """How much came, and its digest."""
    print("app: upload", flush=True)
    size, digest, more_body = 0, hashlib.sha256(), True
    while more_body:
        message = await receive()
        if message["type"] == "http.disconnect":
            print("app: the client left", flush=True)
            return
        size += len(message["body"])
        digest.update(message["body"])
        more_body = message["more_body"]
    await answer(send, json.dumps([size, digest.hexdigest()]).encode())


async def download(scope, receive, send):
    """As many bytes as the query says; how many of the last such response were taken, ``/sent`` tells."""
    global sent
    sent = 0
    left = int(scope["query_string"])
    headers = [(b"content-length", b"%d" % left)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    more_body = True
    while more_body:
        part = PATTERN[:left]
        left -= len(part)
        more_body = left > 0
        await send({"type": "http.response.body", "body": part, "more_body": more_body})
        sent += len(part)


async def sent_of(scope, receive, send):
    await answer(send, b"%d" % sent)


async def path(scope, receive, send):
    headers = [(b"content-length", b"%d" % os.path.getsize(__file__))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.pathsend", "path": __file__})


async def file(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    with open(__file__, "rb") as opened:
        await send({"type": "http.response.zerocopysend", "file": opened})


async def refuse(scope, receive, send):
    """An answer to an upload that nobody reads."""
    await answer(send, b"too much", 413)


async def wait(scope, receive, send):
    """Until the client leaves."""
    print("app: waiting", flush=True)
    while (await receive())["type"] != "http.disconnect":
        pass
    print("app: the client left", flush=True)


async def slow(scope, receive, send):
    print("app: slow", flush=True)
    await asyncio.sleep(1)
    await answer(send, b"slow")


async def websocket(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": f"{scope['scheme']} {'tls' in scope['extensions']}"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    print(f"app: websocket ended with {message['code']}", flush=True)


PATHS = {
    "/scope": scope_of,
    "/upload": upload,
    "/download": download,
    "/sent": sent_of,
    "/path": path,
    "/file": file,
    "/refuse": refuse,
    "/wait": wait,
    "/slow": slow,
}


async def app(scope, receive, send):
    if scope["type"] == "http":
        await PATHS[scope["path"]](scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
