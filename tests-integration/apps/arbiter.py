"""The application of test_gunicorn: it says which process answers, waits, blocks, streams and talks."""

import asyncio
import os
import time

from esg_gunicorn import ESGWorker


class SmallBodies(ESGWorker):
    CONFIG = {"limit_request_body": 10}


async def answer(send, body, status=200):
    headers = [(b"content-length", b"%d" % len(body)), (b"x-app", b"yes")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    try:
        while True:
            await send({"type": "http.response.body", "body": b"tick\n", "more_body": True})
            await asyncio.sleep(0.05)
    except OSError:
        print("app: stream told", flush=True)
        raise


async def lifespan(receive, send):
    await receive()
    if os.environ.get("APP_FAILS"):
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        return
    await asyncio.sleep(float(os.environ.get("APP_STARTS_IN", 0)))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("app: shutdown", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def websocket(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
    print(f"app: websocket closed with {message['code']}", flush=True)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    elif scope["path"] == "/sleep":
        print("app: sleeps", flush=True)
        await asyncio.sleep(float(scope["query_string"]))
        await answer(send, b"slept")
    elif scope["path"] == "/block":
        print("app: blocks", flush=True)
        time.sleep(float(scope["query_string"]))
        await answer(send, b"blocked")
    elif scope["path"] == "/stream":
        await stream(send)
    elif scope["path"] == "/missing":
        await answer(send, b"no", 404)
    elif scope["path"] == "/environment":
        await answer(send, os.environ.get(scope["query_string"].decode(), "").encode())
    elif scope["path"] == "/client":
        await answer(send, f"{scope['scheme']} {scope['client'] and scope['client'][0]}".encode())
    else:
        await answer(send, b"%d" % os.getpid())
