"""The application of test_judges and test_smuggling: it notes what it sees, and answers as it is asked to.

``X-Plan`` is the answer as JSON: its status, fields, the sizes of the pieces of its body, whether its length is told,
and whether it begins before the request's body is read. ``/seen`` gives the notes since it was asked last, and takes
them away. Bytes stand there as latin-1. A request that a proxy has numbered gets the number back in ``X-App-Id``.
"""

import json

PATTERN = bytes(range(251)) * 2000
PLAN = {"status": 200, "headers": [], "pieces": [2], "length": True, "first": False}

notes = []


def text(pairs):
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in pairs]


def note(scope):
    """Keep what is known with the head; the body comes when it is whole."""
    notes.append(
        {
            "connection": scope["client"][1],
            "http_version": scope["http_version"],
            "method": scope["method"],
            "path": scope["path"],
            "raw_path": scope["raw_path"].decode("latin-1"),
            "query_string": scope["query_string"].decode("latin-1"),
            "headers": text(scope["headers"]),
            "body": None,
        }
    )
    return notes[-1]


async def read(receive, kept):
    body, message = b"", {"more_body": True}
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    if message["type"] == "http.request":
        kept["body"] = body.decode("latin-1")


async def respond(send, status, headers, parts):
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


async def mirror(scope, receive, send):
    kept = note(scope)
    plan = PLAN
    headers = []
    for name, value in scope["headers"]:
        if name == b"x-plan":
            plan = json.loads(value)
        elif name == b"x-front-id":
            headers.append((b"x-app-id", value))
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in plan["headers"]]
    parts, start = [], 0
    for size in plan["pieces"]:
        parts.append(PATTERN[start : start + size])
        start += size
    if plan["length"]:
        headers.append((b"content-length", b"%d" % start))
    if not plan["first"]:
        await read(receive, kept)
        if kept["body"] is not None:
            await respond(send, plan["status"], headers, parts)
        return
    await send({"type": "http.response.start", "status": plan["status"], "headers": headers})
    if parts:
        await send({"type": "http.response.body", "body": parts[0], "more_body": True})
    await read(receive, kept)
    for part in parts[1:]:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


async def seen(send):
    body = json.dumps(notes).encode()
    notes.clear()
    await respond(send, 200, [(b"content-length", b"%d" % len(body))], [body])


async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/seen":
        await seen(send)
    elif scope["method"] == "CONNECT":
        # Behind a 2xx a proxy would no longer look at what it passes on (RFC 9110 section 9.3.6).
        note(scope)
        await respond(send, 405, [(b"content-length", b"0")], [])
    else:
        await mirror(scope, receive, send)
