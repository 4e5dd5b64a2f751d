"""A response in parts: each is on its way to the client before the next is made.

$ esg examples.stream:app
$ curl --no-buffer http://127.0.0.1:8000/
"""

import asyncio

SECONDS_BETWEEN = 0.5


async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [[b"content-type", b"text/plain"]]})
    for word in (b"one\n", b"two\n", b"three\n"):
        await send({"type": "http.response.body", "body": word, "more_body": True})
        await asyncio.sleep(SECONDS_BETWEEN)
    await send({"type": "http.response.body"})
