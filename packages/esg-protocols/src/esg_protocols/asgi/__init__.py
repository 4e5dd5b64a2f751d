"""The ASGI side on asyncio transports: the only place that knows either."""

from esg_protocols.asgi.clock import Clock
from esg_protocols.asgi.context import Counters, ServerContext
from esg_protocols.asgi.http import HTTPProtocol
from esg_protocols.asgi.proxied import ProxiedProtocol

__all__ = ["Clock", "Counters", "HTTPProtocol", "ProxiedProtocol", "ServerContext"]
