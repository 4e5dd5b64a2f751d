"""Adds a handler to the access log while it runs, when it is asked for /add."""

import logging
import sys


class Handler(logging.Handler):
    def emit(self, record):
        print("RECORD", record.method, record.path, record.status_code, file=sys.stderr, flush=True)


async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/add":
        logging.getLogger("esg.access").addHandler(Handler())
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})
