"""The access log of one server: where its lines go, and whether they may go there past ``logging``."""

from __future__ import annotations

import asyncio
import atexit
import logging
import re
from typing import Any, TextIO, cast

from esg_protocols.asgi.access import AccessLog
from esg_protocols.asgi.line_format import LineFormat
from esg_protocols.asgi.lines import LineWriter

from esg.config import Config
from esg.logging import AccessFormatter, FileHandler, JsonFormatter, StreamHandler, descriptor_of

errors = logging.getLogger("esg.error")

MESSAGE = "%(message)s"
# Atoms that a line of the access log may have, but no record has an attribute for.
_ATOMS = re.compile(r"%\((?:\w{1,2}|\{[^)]*)\)")


class Access:
    """Notes responses from when the application has started, and what it does to logging with it.

    A record of ``logging`` costs more than the rest of a small response. So lines are written without one as long as
    nobody could tell the difference: the logger has one handler, that is a plain stream or file, its formatter is ours,
    and there are no filters. :func:`_lines_of` decides it; a change made later is seen with the next response, and from
    then on, or until it is taken back, there are records.

    Args:
        config: what the lines say.
        loop: the event loop of the server.
        name: the logger.
    """

    def __init__(self, config: Config, loop: asyncio.AbstractEventLoop, name: str = "esg.access") -> None:
        self._writer: LineWriter | None = None
        logger = logging.getLogger(name)
        message = LineFormat(config.access_log_format) if config.access_log_format else None
        line_format = _lines_of(logger, config.access_log_format or MESSAGE)
        if line_format is None:
            self.log = AccessLog(logger, message)
            return
        handler = cast("logging.StreamHandler[TextIO]", logger.handlers[0])
        self._writer = LineWriter(handler, loop, errors.error)
        self.log = AccessLog(logger, message, writer=self._writer, line_format=line_format, as_it_was=_as_it_is(logger))
        # What is told of errors stands behind the lines that came before.
        errors.addFilter(self._flush)
        atexit.register(self.close)  # for a program that forgets to shut its server down

    def close(self) -> None:
        """Write what there is; what comes later is written as it comes."""
        if self._writer is not None:
            errors.removeFilter(self._flush)
            atexit.unregister(self.close)
            self._writer.close()

    def flush(self) -> None:
        """Write what there is. To be called in the loop: elsewhere a line may be half there."""
        if self._writer is not None:
            self._writer.flush()

    def _flush(self, record: logging.LogRecord) -> bool:
        self.flush()
        return True


def _lines_of(logger: logging.Logger, message: str) -> LineFormat | None:
    """What the logger would make of a record, if that can be written without one."""
    if logger.propagate or logger.filters or len(logger.handlers) != 1 or not logger.isEnabledFor(logging.INFO):
        return None
    (handler,) = logger.handlers
    if type(handler) not in (StreamHandler, FileHandler, logging.StreamHandler, logging.FileHandler):
        return None
    if handler.filters or handler.level > logging.INFO or descriptor_of(handler.stream) is None:  # type: ignore[attr-defined]
        return None
    return _line_of(handler.formatter, message)


def _line_of(formatter: logging.Formatter | None, message: str) -> LineFormat | None:
    if type(formatter) is JsonFormatter:
        return LineFormat(message, json=True)
    line = formatter and formatter._fmt
    if line == MESSAGE and type(formatter) in (logging.Formatter, AccessFormatter):
        return LineFormat(message)
    if type(formatter) is not AccessFormatter or formatter.use_colors or formatter.datefmt or not line:
        return None
    if type(formatter._style) is not logging.PercentStyle or _ATOMS.search(line):
        return None
    try:
        return LineFormat(line.replace(MESSAGE, message))
    except ValueError:
        return None


def _as_it_is(logger: logging.Logger) -> list[tuple[Any, Any, Any]]:
    """Where a program may change what becomes of a record, and what is there now; see :class:`AccessLog`."""
    (handler,) = logger.handlers
    places: list[tuple[Any, Any, Any]] = [
        (logger.handlers, 1, handler),
        (logger.filters, 0, None),
        (handler.filters, 0, None),
    ]
    for owner, names in (
        (logger, ("handlers", "filters", "level", "propagate", "disabled")),
        (handler, ("formatter", "level", "filters")),
        (logger.manager, ("_disable",)),
    ):
        places += [(vars(owner), name, vars(owner)[name]) for name in names]
    if not isinstance(handler, logging.FileHandler):  # which may be reopened
        places.append((vars(handler), "stream", vars(handler)["stream"]))
    return places
