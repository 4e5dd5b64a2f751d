"""The application of test_websockets: what it does is in the path, what it needs for that in the query.

It says where it is, one line each, and how each WebSocket ended.
"""

import asyncio
import collections
import contextlib
from urllib.parse import parse_qsl, unquote

gates = collections.defaultdict(asyncio.Event)


def say(what):
    print(f"app: {what}", flush=True)


def query_of(scope):
    return dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))


async def accept(receive, send, **more):
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", **more})


async def echo_all(receive, send):
    while (message := await receive())["type"] == "websocket.receive":
        with contextlib.suppress(OSError):  # the client has gone, and how receive tells
            await send({**message, "type": "websocket.send"})
    say(f"disconnect {message['code']} {message['reason']}")


async def echo(scope, receive, send):
    await accept(receive, send)
    await echo_all(receive, send)


async def extra(scope, receive, send):
    """Accept with the headers and the subprotocol that the query names."""
    query = query_of(scope)
    subprotocol = query.pop("subprotocol", None)
    headers = [(name.encode(), value.encode()) for name, value in query.items()]
    await accept(receive, send, subprotocol=subprotocol, headers=headers)
    await send({"type": "websocket.send", "text": ",".join(scope["subprotocols"])})
    await echo_all(receive, send)


async def deny(scope, receive, send):
    await receive()
    await send({"type": "websocket.close"})


async def respond(scope, receive, send):
    """Deny with a response of its own, in two parts."""
    await receive()
    headers = [(b"content-type", b"text/plain"), (b"x-why", b"no ticket")]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"no ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"entry"})


async def early(scope, receive, send):
    """Return before the handshake is answered."""


async def close(scope, receive, send):
    """Close with the code and the reason of the query, and say what the client answers."""
    query = query_of(scope)
    await accept(receive, send)
    await send({"type": "websocket.close", "code": int(query["code"]), "reason": unquote(query["reason"])})
    message = await receive()
    say(f"answered {message['code']}")


async def turn_away(scope, receive, send):
    """Close once the gate is open, without having received anything."""
    await accept(receive, send)
    await gates[query_of(scope).get("gate", "c")].wait()
    await send({"type": "websocket.close"})


async def fail(scope, receive, send):
    await accept(receive, send)
    await receive()
    raise RuntimeError("on purpose")


async def leave(scope, receive, send):
    await accept(receive, send)


async def deaf(scope, receive, send):
    """Receive nothing until the gate is open; then count what came."""
    await accept(receive, send)
    say("deaf")
    await gates[query_of(scope)["gate"]].wait()
    count = 0
    while (await receive())["type"] == "websocket.receive":
        count += 1
    say(f"received {count}")


async def give(scope, receive, send):
    """Send 200 MiB, as far as the client takes them, and say how far that was."""
    await accept(receive, send)
    sent = 0
    say("giving")
    try:
        for _ in range(3200):
            await send({"type": "websocket.send", "bytes": bytes(65536)})
            sent += 65536
    except OSError as error:
        say(f"gave {sent} {type(error).__name__}")
        raise
    await send({"type": "websocket.close"})


async def slow(scope, receive, send):
    """Do not answer the handshake before the gate is open."""
    await receive()
    say("asked")
    await gates[query_of(scope)["gate"]].wait()
    await send({"type": "websocket.accept"})
    await echo_all(receive, send)


PATHS = {
    "/": echo,
    "/extra": extra,
    "/deny": deny,
    "/respond": respond,
    "/early": early,
    "/close": close,
    "/turn-away": turn_away,
    "/fail": fail,
    "/leave": leave,
    "/deaf": deaf,
    "/give": give,
    "/slow": slow,
}


async def lifespan(receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    say("shutdown")
    await send({"type": "lifespan.shutdown.complete"})


async def answer(scope, receive, send):
    """Over HTTP: open a gate once the body is here, or tell the kind of scope."""
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/open":
        gates[query_of(scope)["gate"]].set()
    body = scope["type"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "http":
        await answer(scope, receive, send)
    else:
        await PATHS[scope["path"]](scope, receive, send)
