"""What passes between the server and the application, message by message: ``--log-level trace``."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from typing import Any

from esg.interfaces import ASGIApp, Message, Receive, Send
from esg.logging import TRACE_LOG_LEVEL

logger = logging.getLogger("esg.asgi")

# What may be long, or secret: how it is shown instead.
_SHORT = {"body": "<{} bytes>", "bytes": "<{} bytes>", "text": "<{} chars>"}


def traced(app: ASGIApp) -> ASGIApp:
    """The application, or one round it that logs every message if ``esg.asgi`` takes such lines."""
    return MessageLogger(app) if logger.isEnabledFor(TRACE_LOG_LEVEL) else app


class MessageLogger:
    """Logs each call of an application and its messages, with headers and bodies left out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        prefix = f"{client[0]}:{client[1]} - ASGI" if client else "ASGI"
        number = next(self._numbers)

        def log(what: str, *args: Any) -> None:
            logger.log(TRACE_LOG_LEVEL, f"%s [%d] {what}", prefix, number, *args)

        async def receive_logged() -> Message:
            message = await receive()
            log("Receive %s", shortened(message))
            return message

        async def send_logged(message: Message) -> None:
            log("Send %s", shortened(message))
            await send(message)

        log("Started scope=%s", shortened(scope))
        try:
            await self.app(scope, receive_logged, send_logged)
        except BaseException:
            log("Raised exception")
            raise
        log("Completed")


def shortened(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with the length of its content in the content's place, and without headers."""
    short = dict(message)
    for name, form in _SHORT.items():
        if short.get(name) is not None:
            short[name] = form.format(len(short[name]))
    if short.get("headers") is not None:
        short["headers"] = "<...>"
    return short
