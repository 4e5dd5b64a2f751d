"""The application of test_listening and test_proxy_protocol: it says what the scope has of the connection."""

import json
import os
import time

from esg.systemd import Notifier


async def app(scope, receive, send):
    told = {key: scope[key] for key in ("client", "server", "scheme")}
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": json.dumps(told)})
        return
    assert scope["type"] == "http"
    if scope["path"] == "/body":
        while (await receive())["more_body"]:
            pass
    if scope["path"] == "/block":
        Notifier(os.environ["NOTIFY_SOCKET"]).status("blocking")
        while True:
            time.sleep(1)
    body = b"" if scope["path"] == "/nothing" else json.dumps(told).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
