"""A WebSocket that sends back whatever it gets, and a page that talks to it.

$ esg examples.websocket_echo:app

then open http://127.0.0.1:8000/ in a browser.
"""

from pathlib import Path

PAGE = Path(__file__).with_name("websocket.html").read_bytes()


async def echo(receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        # It has "text" or "bytes", as what is sent must have.
        await send({**message, "type": "websocket.send"})


async def send_page(send):
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(PAGE))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": PAGE})


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await echo(receive, send)
    else:
        assert scope["type"] == "http"
        await send_page(send)
