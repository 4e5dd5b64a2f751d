"""Socket.IO, by python-socketio's ASGI application."""

import socketio

server = socketio.AsyncServer(async_mode="asgi")


@server.event
async def connect(client, environ):
    print(f"app: connected {environ['asgi.scope']['type']}", flush=True)


@server.event
async def shout(client, text):
    await server.emit("heard", text.upper())
    return len(text)


@server.event
async def disconnect(client, reason):
    print(f"app: disconnected, {reason}", flush=True)


app = socketio.ASGIApp(server)
