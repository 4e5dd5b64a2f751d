"""HTTP/1.1 and WebSocket as state machines on any transport, and the ASGI side on asyncio's."""

__version__ = "0.1.0"
