"""Hello, world: the smallest application that answers.

$ esg examples.hello:app

It names no content-length, so ESG sends the body chunked; to HTTP/1.0, up to the end of the connection.
It refuses every scope but ``http``, lifespan too, and is served all the same.
"""


async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [[b"content-type", b"text/plain"]],
        }
    )
    await send({"type": "http.response.body", "body": b"Hello, world!"})
