"""WebSocket endpoints in Starlette: one in a function, one in a class, one that denies."""

from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect


async def add(websocket):
    """The sum of what came so far, in JSON."""
    await websocket.accept(subprotocol="sums")
    total = 0
    try:
        while True:
            total += (await websocket.receive_json())["number"]
            await websocket.send_json({"sum": total})
    except WebSocketDisconnect as end:
        print(f"app: left {end.code} {end.reason}", flush=True)


class Upper(WebSocketEndpoint):
    encoding = "text"

    async def on_receive(self, websocket, data):
        await websocket.send_text(data.upper())

    async def on_disconnect(self, websocket, close_code):
        print(f"app: disconnected {close_code}", flush=True)


async def deny(websocket):
    await websocket.send_denial_response(PlainTextResponse("not you", status_code=402))


async def forbid(websocket):
    raise HTTPException(status_code=404, detail="nothing here")


app = Starlette(
    routes=[
        WebSocketRoute("/add", add),
        WebSocketRoute("/upper/{name}", Upper),
        WebSocketRoute("/deny", deny),
        WebSocketRoute("/forbid", forbid),
    ]
)
