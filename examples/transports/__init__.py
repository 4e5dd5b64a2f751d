"""One handler over three transports, without asyncio and without ASGI; docs/guide.md walks through them."""
