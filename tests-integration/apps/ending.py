"""The application of test_shutdown: it says where it is, one line each."""

import asyncio
import contextlib
import os

met = asyncio.Event()


def say(what):
    print(f"app: {what}", flush=True)


async def lifespan(receive, send):
    await receive()
    if os.environ.get("STUCK_SHUTDOWN"):
        await send({"type": "lifespan.startup.complete"})
        await asyncio.Event().wait()
    say("startup")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    say("shutdown")
    await send({"type": "lifespan.shutdown.complete"})


async def read_body(receive):
    parts, more_body = [], True
    while more_body:
        message = await receive()
        parts.append(message.get("body", b""))
        more_body = message.get("more_body", False)
    return b"".join(parts)


async def answer(send, body):
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def told(receive, name):
    """Read the request and wait for the end of the client."""
    say(f"{name} entered")
    while (await receive())["type"] != "http.disconnect":
        pass
    say(f"{name} told")


async def events(receive, send):
    """A stream that ends when its client does, and not before."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    say("events entered")
    try:
        while True:
            await send({"type": "http.response.body", "body": b"data: tick\n\n", "more_body": True})
            await asyncio.sleep(0.01)
    except OSError:
        say("events told")
        raise


async def flood(receive, send):
    """More than any client takes, as fast as it does."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000000000000")]})
    say("flood entered")
    try:
        while True:
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
    except OSError:
        say("flood told")
        raise


async def poll(receive, send):
    await told(receive, "poll")


async def upload(receive, send):
    await told(receive, "upload")


async def busy(receive, send):
    """Told that its client has left, it goes on with something that is not for the client."""
    await told(receive, "busy")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        say("busy cancelled")
        raise


async def stuck(receive, send):
    """It listens to nobody, and to the first cancellation neither."""
    say("stuck entered")
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    say("stuck cancelled")
    await asyncio.Event().wait()


STAYING = {
    "/events": events,
    "/flood": flood,
    "/poll": poll,
    "/upload": upload,
    "/busy": busy,
    "/stuck": stuck,
}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["path"] == "/hello":
        await answer(send, b"hello")
    elif scope["path"] == "/slow":
        say("begun")
        await asyncio.sleep(0.001)
        await answer(send, b"slow")
    elif scope["path"] == "/meet":
        body = await read_body(receive)
        met.set()
        await answer(send, body)
    elif scope["path"] == "/behind":
        await answer(send, b"done")
        await met.wait()
        say("behind")
    elif scope["path"] in STAYING:
        await STAYING[scope["path"]](receive, send)
    else:
        say("entered")
        body = await read_body(receive)
        await answer(send, body)
        say("answered")
