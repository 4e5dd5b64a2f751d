"""The access log: one line for each response, and for each end of a WebSocket."""

import logging
from typing import Any

from typing_extensions import disjoint_base

from esg_protocols.asgi.line_format import LineFormat
from esg_protocols.asgi.lines import LineWriter

@disjoint_base
class AccessLog:
    """Where responses are noted: in records of a logger or, as long as it would write them so, in lines past it.

    The arguments of a record are the client's address, method, path with query, HTTP version and status. It also has
    the attributes ``client_addr``, ``method``, ``path``, ``query_string``, ``http_version``, ``scheme``,
    ``status_code``, ``response_bytes``, ``duration`` (seconds) and ``request_id``.

    Args:
        logger: takes the records.
        message: what their messages are, instead of the usual one.
        writer: takes the lines; without one there are none.
        line_format: what the lines are.
        as_it_was: what must not have changed since, or records are made again. Triples: a dictionary, a key and the
            value there, by identity; or a list, its length, and the one item if it is 1.
    """

    def __init__(
        self,
        logger: logging.Logger,
        message: LineFormat | None = None,
        *,
        writer: LineWriter | None = None,
        line_format: LineFormat | None = None,
        as_it_was: list[tuple[dict[str, Any] | list[Any], Any, Any]] | None = None,
    ) -> None: ...
    @property
    def logger(self) -> logging.Logger:
        """Takes the records."""

    @property
    def timed(self) -> bool:
        """Whether it says how long a response took."""

    @property
    def has_headers(self) -> bool:
        """Whether it says what is in the response's header fields."""
