"""A program that serves itself, from the root of the checkout or from anywhere else.

$ python examples/run.py
"""

import os

import esg


async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [[b"content-type", b"text/plain"]]})
    await send({"type": "http.response.body", "body": b"Hello from a program!"})


if __name__ == "__main__":
    # The object `app` would do as well; a string can also be imported by other processes.
    esg.run("run:app", host="127.0.0.1", port=int(os.environ.get("PORT", "5000")), log_level="info")
