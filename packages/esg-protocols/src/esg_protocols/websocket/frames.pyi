"""WebSocket frames as bytes (RFC 6455 section 5); nearly all of it is for C callers."""

def is_close_code(code: int) -> bool:
    """Whether the code may stand in a close frame (RFC 6455 section 7.4, and the registry of its section 11.7)."""
