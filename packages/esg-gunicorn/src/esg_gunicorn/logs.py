"""Where ESG's loggers write under gunicorn: to gunicorn's own, with its handlers and levels."""

from __future__ import annotations

import logging
from typing import Any

from esg.logging import LOGGERS


def route(log: Any) -> None:
    """Let ESG's loggers write through gunicorn's.

    Args:
        log: gunicorn's logger object, which has the two of :mod:`logging` as ``error_log`` and ``access_log``.
    """
    for name in LOGGERS:
        source: logging.Logger = log.access_log if name.endswith(".access") else log.error_log
        logger = logging.getLogger(name)
        logger.handlers = source.handlers
        logger.propagate = source.propagate
        logger.setLevel(source.level)
