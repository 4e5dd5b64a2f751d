"""WebSockets without I/O: the handshake on a parsed request head, then a codec."""

from esg_protocols.websocket.codec import CODECS, Close, Codec, Event, Ping, Pong, load_codec
from esg_protocols.websocket.extensions import DeflateParameters
from esg_protocols.websocket.handshake import ServerHandshake, is_handshake, refusal_fields

__all__ = [
    "CODECS",
    "Close",
    "Codec",
    "DeflateParameters",
    "Event",
    "Ping",
    "Pong",
    "ServerHandshake",
    "is_handshake",
    "load_codec",
    "refusal_fields",
]
