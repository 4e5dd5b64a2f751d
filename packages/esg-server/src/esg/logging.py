"""Formatters and handlers for log configurations, and the configuration that is there without one.

Names, arguments and what comes out run parallel to ``uvicorn.logging``: a configuration made for uvicorn works with the
names changed.
"""

from __future__ import annotations

import copy
import http
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

TRACE_LOG_LEVEL = 5
"""Level below DEBUG: every ASGI message."""

LEVELS = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE_LOG_LEVEL,
}
"""The words that ``log_level`` takes."""

LOGGERS = ("esg.error", "esg.access", "esg.asgi")

LOGGING_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "default": {
            "()": "esg.logging.DefaultFormatter",
            "fmt": "%(levelprefix)s %(message)s",
            "use_colors": None,
        },
        "access": {
            "()": "esg.logging.AccessFormatter",
            "fmt": '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s',
            "use_colors": None,
        },
    },
    "handlers": {
        "default": {"class": "esg.logging.StreamHandler", "formatter": "default", "stream": "ext://sys.stderr"},
        "access": {"class": "esg.logging.StreamHandler", "formatter": "access", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        "esg": {"handlers": ["default"], "propagate": False},
        "esg.access": {"handlers": ["access"], "propagate": False},
    },
}
"""The default ``log_config``, for :func:`logging.config.dictConfig`; programs may change it before a start."""

UNCHANGED = copy.deepcopy(LOGGING_CONFIG)
"""What it was made as."""

# C0, DEL, C1 and Unicode's line ends: whatever could start a new line or drive a terminal (CVE-2020-7694).
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROLS |= {0x2028: "\\u2028", 0x2029: "\\u2029"}
# Messages and tracebacks have lines and columns of their own.
_CONTROLS_IN_TEXT = {code: text for code, text in _CONTROLS.items() if chr(code) not in "\t\n"}

_RESET = "\x1b[0m"
_BOLD = "\x1b[1m"
_LEVEL_COLOURS = {
    TRACE_LOG_LEVEL: "\x1b[34m",
    logging.DEBUG: "\x1b[36m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[91m",
}
_STATUS_COLOURS = {1: "\x1b[97m", 2: "\x1b[32m", 3: "\x1b[33m", 4: "\x1b[31m", 5: "\x1b[91m"}

_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}

# What every record has, whatever it says.
_USUAL = frozenset((*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName", "color_message"))


# -- Formatters


class ColourizedFormatter(logging.Formatter):
    """Adds ``levelprefix``: the level's name, a colon and blanks up to a common width.

    Args:
        fmt, datefmt, style: as for :class:`logging.Formatter`.
        use_colors: colour the level; ``None`` asks whether the stream is a terminal. With colours, a record's
            ``color_message`` takes the place of its message.
    """

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        use_colors: bool | None = None,
    ) -> None:
        super().__init__(fmt, datefmt, style)
        self.use_colors = self.should_use_colors() if use_colors is None else use_colors

    def should_use_colors(self) -> bool:
        """Whether the stream that such lines usually go to is a terminal."""
        return _is_terminal(sys.stdout)

    def color_level_name(self, level_name: str, level_no: int) -> str:
        """The level's name in its colour."""
        return _paint(level_name, _LEVEL_COLOURS.get(level_no))

    def formatMessage(self, record: logging.LogRecord) -> str:
        # A copy: other handlers see the same record.
        record = copy.copy(record)
        name = record.levelname
        blanks = " " * (8 - len(name))
        if self.use_colors:
            name = self.color_level_name(name, record.levelno)
            if "color_message" in record.__dict__:
                record.msg = record.__dict__["color_message"]
                record.message = record.getMessage()
        record.levelprefix = f"{name}:{blanks}"
        self._complete(record)
        return super().formatMessage(record)

    def _complete(self, record: logging.LogRecord) -> None:
        """Give the record what else the line names."""


class DefaultFormatter(ColourizedFormatter):
    """For everything but the access log, which goes to stderr."""

    def should_use_colors(self) -> bool:
        return _is_terminal(sys.stderr)

    def _complete(self, record: logging.LogRecord) -> None:
        if not (self.use_colors and "color_message" in record.__dict__):
            record.message = record.message.translate(_CONTROLS_IN_TEXT)

    def formatException(
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return _traceback(ei).translate(_CONTROLS_IN_TEXT)


class AccessFormatter(ColourizedFormatter):
    """Adds ``client_addr``, ``request_line`` and ``status_code``, with control characters escaped."""

    def get_status_code(self, status_code: int) -> str:
        """A status with its phrase, in its colour."""
        text = f"{status_code} {_PHRASES.get(status_code, '')}".rstrip()
        return _paint(text, _STATUS_COLOURS.get(status_code // 100)) if self.use_colors else text

    def _complete(self, record: logging.LogRecord) -> None:
        client, method, path, version, status = record.args  # type: ignore[misc]
        line = f"{method} {path} HTTP/{version}".translate(_CONTROLS)
        record.client_addr = str(client).translate(_CONTROLS)
        record.request_line = _paint(line, _BOLD) if self.use_colors else line
        record.status_code = self.get_status_code(int(str(status)))
        record.message = record.message.translate(_CONTROLS)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, what ``extra`` adds, and a traceback as one string."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": _iso_time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        fields.update((name, value) for name, value in record.__dict__.items() if name not in _USUAL)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            fields["exception"] = record.exc_text
        if record.stack_info:
            fields["stack"] = record.stack_info
        return json.dumps(fields, default=str, separators=(",", ":"))


def _is_terminal(stream: Any) -> bool:
    return stream is not None and bool(stream.isatty())  # None in a process that was started without one


def _paint(text: str, colour: str | None) -> str:
    return f"{colour}{text}{_RESET}" if colour else text


def _iso_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(info: tuple[Any, Any, Any]) -> str:
    """A traceback as Python writes it, but what an exception says begins no line: it may come from a client."""
    parts = traceback.format_exception(*info)
    return "".join(part if part[:1].isspace() else _as_one(part) for part in parts).removesuffix("\n")


def _as_one(part: str) -> str:
    return part.removesuffix("\n").replace("\n", "\n    ") + "\n"


# -- Handlers


if TYPE_CHECKING:
    _Handler = logging.StreamHandler[Any]
else:
    _Handler = logging.StreamHandler  # Python 3.10 gives it no parameters


class StreamHandler(_Handler):
    """Writes each record by one system call, so that lines of several processes do not mix."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _write_whole(self.stream, self.format(record) + self.terminator)
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)


class FileHandler(logging.FileHandler):
    """Appends each record by one system call to a file, which :meth:`reopen` makes anew once it was moved away."""

    def __init__(self, filename: str | os.PathLike[str]) -> None:
        super().__init__(filename, encoding="utf-8")

    emit = StreamHandler.emit

    def reopen(self) -> None:
        """Go on in the file that has the name now; in the old one if there can be none."""
        self.acquire()
        try:
            before, self.stream = self.stream, self._open()
            if before is not None:
                before.close()
        finally:
            self.release()


def _write_whole(stream: Any, text: str) -> None:
    descriptor = descriptor_of(stream)
    if descriptor is None:
        stream.write(text)
        stream.flush()
        return
    stream.flush()
    data = memoryview(text.encode(stream.encoding or "utf-8", "backslashreplace"))
    while data:
        data = data[os.write(descriptor, data) :]


def descriptor_of(stream: Any) -> int | None:
    """What to write to past a stream's own buffer, if that can be done."""
    fileno: Callable[[], int] | None = getattr(stream, "fileno", None)
    if os.name != "posix" or fileno is None or not hasattr(stream, "encoding"):
        return None
    try:
        return fileno()
    except (OSError, ValueError):  # io.UnsupportedOperation is both
        return None
