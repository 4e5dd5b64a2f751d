"""The loggers ``esg.error``, ``esg.access`` and ``esg.asgi``: where they write and what a line looks like.

Names, streams, record arguments and line formats run parallel to uvicorn's, so what reads its logs
reads these.
"""

from __future__ import annotations

import copy
import http
import logging
import sys
from typing import Any

TRACE = 5
"""Level below DEBUG: every ASGI message."""

LEVELS = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}
"""The words that ``log_level`` takes."""

LOGGERS = ("esg.error", "esg.access", "esg.asgi")

LOGGING_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "default": {"()": "esg.logs.DefaultFormatter", "fmt": "%(levelprefix)s %(message)s"},
        "access": {
            "()": "esg.logs.AccessFormatter",
            "fmt": '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s',
        },
    },
    "handlers": {
        "default": {"class": "logging.StreamHandler", "formatter": "default", "stream": "ext://sys.stderr"},
        "access": {"class": "logging.StreamHandler", "formatter": "access", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        "esg": {"handlers": ["default"], "propagate": False},
        "esg.access": {"handlers": ["access"], "propagate": False},
    },
}
"""The default ``log_config``, for :func:`logging.config.dictConfig`."""

# C0, DEL, C1 and Unicode's line ends: whatever could start a new line or drive a terminal (CVE-2020-7694).
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROLS |= {0x2028: "\\u2028", 0x2029: "\\u2029"}

_RESET = "\x1b[0m"
_LEVEL_COLOURS = {
    TRACE: "\x1b[34m",
    logging.DEBUG: "\x1b[36m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[91m",
}
_STATUS_COLOURS = {1: "\x1b[97m", 2: "\x1b[32m", 3: "\x1b[33m", 4: "\x1b[31m", 5: "\x1b[91m"}

_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}


def configure(log_config: dict[str, Any] | None, level: str) -> None:
    """Set logging up as a configuration asks.

    Args:
        log_config: a ``dictConfig`` dictionary; ``None`` leaves logging to the embedding program.
        level: the least level of ESG's loggers, for those that ``log_config`` gives none of their own.
    """
    logging.addLevelName(TRACE, "TRACE")
    if log_config is None:
        return
    # Imported here: it pulls in socketserver and struct, which no other path of a start needs.
    from logging.config import dictConfig

    dictConfig(log_config)
    own = log_config.get("loggers", {})
    for name in LOGGERS:
        if "level" not in own.get(name, {}):
            logging.getLogger(name).setLevel(LEVELS[level])


class DefaultFormatter(logging.Formatter):
    """Adds ``levelprefix``: the level's name, a colon and blanks up to a common width.

    Args:
        fmt: the line, as for :class:`logging.Formatter`.
        use_colors: colour the level; ``None`` asks whether the stream is a terminal.
    """

    stream_name = "stderr"

    def __init__(self, fmt: str | None = None, use_colors: bool | None = None) -> None:
        super().__init__(fmt)
        self.use_colors = getattr(sys, self.stream_name).isatty() if use_colors is None else use_colors

    def formatMessage(self, record: logging.LogRecord) -> str:
        # A copy: other handlers see the same record.
        record = copy.copy(record)
        name = self._paint(record.levelname, _LEVEL_COLOURS.get(record.levelno))
        record.levelprefix = f"{name}:{' ' * (8 - len(record.levelname))}"
        self._complete(record)
        return super().formatMessage(record)

    def _complete(self, record: logging.LogRecord) -> None:
        """Give the record what else the line names."""

    def _paint(self, text: str, colour: str | None) -> str:
        return f"{colour}{text}{_RESET}" if self.use_colors and colour else text


class AccessFormatter(DefaultFormatter):
    """Adds ``client_addr``, ``request_line`` and ``status_code``, with control characters escaped."""

    stream_name = "stdout"

    def _complete(self, record: logging.LogRecord) -> None:
        client, method, path, version, status = record.args  # type: ignore[misc]
        record.client_addr = str(client).translate(_CONTROLS)
        record.request_line = f"{method} {path} HTTP/{version}".translate(_CONTROLS)
        code = int(str(status))
        record.status_code = self._paint(f"{code} {_PHRASES.get(code, '')}", _STATUS_COLOURS.get(code // 100))
