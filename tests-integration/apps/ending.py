"""The application of test_shutdown: it says where it is, one line each."""

import asyncio

met = asyncio.Event()


def say(what):
    print(f"app: {what}", flush=True)


async def lifespan(receive, send):
    await receive()
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


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["path"] == "/hello":
        await answer(send, b"hello")
    elif scope["path"] == "/meet":
        body = await read_body(receive)
        met.set()
        await answer(send, body)
    elif scope["path"] == "/behind":
        await answer(send, b"done")
        await met.wait()
        say("behind")
    else:
        say("entered")
        body = await read_body(receive)
        await answer(send, body)
        say("answered")
