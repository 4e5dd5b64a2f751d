"""permessage-deflate (RFC 7692): the two contexts of one connection."""

from functools import cache
from typing import Any

from typing_extensions import Self, disjoint_base

from esg_protocols.settings import Settings
from esg_protocols.websocket.extensions import DeflateParameters

@disjoint_base
class Deflate:
    """Compress what is sent and decompress what is received; its methods are for C callers.

    Args:
        parameters: what the handshake agreed on.
        settings: has ``ws_deflate_memory_level`` and ``ws_deflate_library``.

    Raises:
        ImportError: isal is asked for and not installed.
    """

    def __new__(cls, parameters: DeflateParameters, settings: Settings) -> Self: ...

@cache
def find_isal(library: str) -> Any: ...
