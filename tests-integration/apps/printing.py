"""Prints the path that it is asked for."""


async def app(scope, receive, send):
    assert scope["type"] == "http"
    print("printed", scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})
