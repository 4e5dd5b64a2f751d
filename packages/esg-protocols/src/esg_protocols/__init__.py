"""HTTP/1.1 as state machines on any transport, and the ASGI side on asyncio's."""

__version__ = "0.1.0"
