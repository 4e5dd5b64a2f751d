"""Whose request it is, as the application is told: client, server, scheme, Host; over HTTP and over WebSockets."""

import json


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    told = {
        "client": scope["client"],
        "server": scope["server"],
        "scheme": scope["scheme"],
        "hosts": [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"],
        "fields": [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]],
    }
    text = json.dumps(told)
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": text})
        return
    if scope["path"] == "/read":
        await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": text.encode()})
