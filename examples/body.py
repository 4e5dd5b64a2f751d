"""Reading a request body: it comes in as many messages as it takes, and goes back whole.

$ esg examples.body:app
$ curl --data 'some text' http://127.0.0.1:8000/

An application that wants no large body in memory would work on each part as it comes instead of joining them.
"""


async def read_body(receive):
    """All of a request's body."""
    parts = []
    more_body = True
    while more_body:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client left in the middle of its body")
        parts.append(message.get("body", b""))
        more_body = message.get("more_body", False)
    return b"".join(parts)


async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = await read_body(receive)
    headers = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
