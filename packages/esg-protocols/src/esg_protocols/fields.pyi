"""Which bytes may stand in a header field: one rule for every head that is written."""

def is_token(data: bytes) -> bool:
    """Whether this is a token, as a field's name must be (RFC 9110 section 5.6.2)."""

def is_value(data: bytes) -> bool:
    """Whether this may go on the wire as a field's value (RFC 9110 section 5.5): no control characters but the tab."""
