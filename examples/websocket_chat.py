"""A chat: what one says, all hear. Who has no name in the query is not let in.

$ esg examples.websocket_chat:app

then open http://127.0.0.1:8000/?name=Ada in one window of a browser and http://127.0.0.1:8000/?name=Bob in another.
"""

import asyncio
from pathlib import Path
from urllib.parse import parse_qs

PAGE = Path(__file__).with_name("websocket.html").read_bytes()
MOST_UNREAD = 100

queues = set()  # what each of those who are here has still to be sent


def tell_all(text):
    for queue in list(queues):
        try:
            queue.put_nowait(text)
        except asyncio.QueueFull:
            # Who does not read holds nobody else up, and gets no more.
            queues.discard(queue)


async def pass_on(queue, send):
    while True:
        await send({"type": "websocket.send", "text": await queue.get()})


async def listen(name, receive):
    while (message := await receive())["type"] == "websocket.receive":
        tell_all(f"{name}: {message.get('text') or 'something without words'}")


async def chat(name, receive, send):
    queue = asyncio.Queue(MOST_UNREAD)
    sending = asyncio.create_task(pass_on(queue, send))
    queues.add(queue)
    tell_all(f"{name} is here")
    try:
        await listen(name, receive)
    finally:
        sending.cancel()
        # It may have failed already, as the client had gone: that is no news.
        await asyncio.gather(sending, return_exceptions=True)
        queues.discard(queue)
        tell_all(f"{name} has left")


async def websocket(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    names = parse_qs(scope["query_string"].decode()).get("name")
    if not names:
        await send({"type": "websocket.close"})  # before it is accepted: 403
        return
    await send({"type": "websocket.accept"})
    await chat(names[0], receive, send)


async def send_page(send):
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(PAGE))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": PAGE})


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        assert scope["type"] == "http"
        await send_page(send)
