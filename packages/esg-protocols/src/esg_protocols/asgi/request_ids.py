"""Names for requests: what a proxy has given, or new ones."""

from __future__ import annotations

import os
import re
from typing import Any

# Nothing that means something to a log, a shell, a page or a query.
_GOOD = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._~:/+=@-]{0,127}")


class RequestIds:
    """Gives each request an id, and its responses a field that says it.

    Args:
        name: of the field, in requests and in responses.
    """

    def __init__(self, name: str) -> None:
        self.name = name.lower().encode("ascii")

    def of(self, fields: list[tuple[bytes, bytes]], trusted: bool) -> str:
        """The id that a trusted peer says, if it is fit for logs and headers; otherwise a new one."""
        values = [value for name, value in fields if name == self.name] if trusted else []
        if len(values) == 1 and _GOOD.fullmatch(values[0]):
            return values[0].decode("ascii")
        return os.urandom(16).hex()

    def added(self, given: Any, request_id: str) -> list[Any]:
        """Response fields with one for the id, unless the application has written it."""
        fields: list[Any] = list(given)
        value = self._value(request_id)
        try:
            if not value or any(name.lower() == self.name for name, _ in fields):
                return fields
        except (AttributeError, TypeError, ValueError):
            return fields  # it is for those who write them to say what is wrong
        return [*fields, (self.name, value)]

    def line(self, request_id: str) -> bytes:
        """The field as bytes, for an answer of the server's own."""
        value = self._value(request_id)
        return b"%b: %b\r\n" % (self.name, value) if value else b""

    def _value(self, request_id: str) -> bytes:
        """The id for a field; empty when an application has put there what cannot be in one."""
        value = request_id.encode("ascii", "replace")
        return value if _GOOD.fullmatch(value) else b""
