"""Errors of the wire protocols: drawn once, each carrying its answer."""

from __future__ import annotations


class ProtocolError(Exception):
    """A rule of the protocol was broken."""


class LocalProtocolError(ProtocolError, RuntimeError):
    """Our side, which is to say the application, asked for something that must not go on the wire."""


class RemoteProtocolError(ProtocolError):
    """The other side sent something that is not acceptable.

    Attributes:
        status: the HTTP status that answers it (RFC 9110 section 15); on a WebSocket the close code (RFC 6455
            section 7.4).
    """

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


class ClientDisconnected(ProtocolError, OSError):
    """The client has gone, so nothing can be sent to it any more (ASGI HTTP specification 2.4)."""
