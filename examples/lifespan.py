"""Starting and stopping with the server, and state that every request sees.

$ esg --lifespan on examples.lifespan:app
"""

import itertools


async def lifespan(scope, receive, send):
    """Set things up, wait for the server's end, put things away."""
    await receive()  # lifespan.startup
    scope["state"]["visits"] = itertools.count(1)
    print("open", flush=True)
    await send({"type": "lifespan.startup.complete"})
    await receive()  # lifespan.shutdown
    print("closed", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    assert scope["type"] == "http"
    text = f"visit {next(scope['state']['visits'])}"
    await send({"type": "http.response.start", "status": 200, "headers": [[b"content-type", b"text/plain"]]})
    await send({"type": "http.response.body", "body": text.encode()})
