"""The application's own start and stop, told over one long call of it (ASGI lifespan specification 2.0)."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from collections.abc import Coroutine
from typing import Any

from esg.app import describe
from esg.config import StartupError
from esg.interfaces import ASGIApp, Message

logger = logging.getLogger("esg.error")

STARTING = "starting"
RUNNING = "running"
STOPPING = "stopping"
STOPPED = "stopped"
FAILED = "failed"
ENDED = "over"

# What the application may say, and when.
MOVES = {
    (STARTING, "lifespan.startup.complete"): RUNNING,
    (STARTING, "lifespan.startup.failed"): FAILED,
    (STOPPING, "lifespan.shutdown.complete"): STOPPED,
    (STOPPING, "lifespan.shutdown.failed"): FAILED,
}


class Lifespan:
    """Runs an application's lifespan.

    Args:
        app: the application.
        mode: ``auto`` serves an application that refuses the lifespan scope, ``on`` does not,
            ``off`` never asks.
    """

    def __init__(self, app: ASGIApp, mode: str) -> None:
        self.app = app
        self.mode = mode
        self.status = STARTING
        self.state: dict[str, Any] = {}
        """What the application put into ``scope["state"]`` while starting."""
        self.context = contextvars.copy_context()
        """Where the application's lifespan runs: requests that copy it see the variables it set."""
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._moved = asyncio.Event()
        self._message = ""
        self._error: BaseException | None = None
        self._received = False
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Start the application.

        Raises:
            StartupError: when it says that it failed, or in mode ``on`` when it raised or does no lifespan.
        """
        if self.mode == "off":
            return
        logger.info("Waiting for application startup.")
        self._events.put_nowait({"type": "lifespan.startup"})
        self._task = self._spawn(self._run())
        self._task.add_done_callback(self._ended)
        await self._moved.wait()
        if self.status == FAILED:
            raise StartupError(self._startup_failure())
        if self.status == ENDED:
            self._go_on_without()
        logger.info("Application startup complete.")

    async def shutdown(self) -> None:
        """Stop an application that was started and is still there; its failure to stop is logged."""
        if self.status != RUNNING:
            return
        logger.info("Waiting for application shutdown.")
        self.status = STOPPING
        self._moved.clear()
        self._events.put_nowait({"type": "lifespan.shutdown"})
        await self._moved.wait()
        if self.status == FAILED:
            logger.error("Application shutdown failed%s", f": {self._message}" if self._message else ".")
        else:
            logger.info("Application shutdown complete.")

    def cancel(self) -> None:
        """Drop the application's lifespan where it stands."""
        if self._task is not None:
            self._task.cancel()

    def _spawn(self, run: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        loop = asyncio.get_running_loop()
        if sys.version_info >= (3, 11):
            return loop.create_task(run, context=self.context)
        # Python 3.10 can only give a task a copy: what the lifespan sets in its context stays there.
        return self.context.run(loop.create_task, run)

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        await self.app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        event = await self._events.get()
        self._received = True
        return event

    async def _send(self, message: Message) -> None:
        if not message["type"].startswith("lifespan."):
            self._received = False  # It takes every scope for a request, and so it does not know lifespan.
        move = MOVES.get((self.status, message["type"]))
        if move is None:
            raise RuntimeError(f"Lifespan message {message['type']!r} is out of place: it is {self.status}")
        self._message = str(message.get("message", ""))
        self.status = move
        self._moved.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The application returned, raised or was cancelled."""
        self._error = None if task.cancelled() else task.exception()
        if self._error is not None and self.status in (RUNNING, STOPPING):
            logger.error("The application's lifespan raised an exception", exc_info=self._error)
        if self.status == STARTING or self.status == RUNNING:
            self.status = ENDED
        elif self.status == STOPPING:
            self.status = FAILED if self._error is not None else STOPPED
        self._moved.set()

    def _startup_failure(self) -> str:
        lines = self._message.strip().splitlines()
        if len(lines) > 1:
            # Frameworks send a whole traceback; its last line says what went wrong.
            logger.error(self._message.rstrip())
        return f"Application startup failed: {lines[-1]}" if lines else "Application startup failed."

    def _go_on_without(self) -> None:
        """The specification has a server go on when the application raises; ``on`` asks for more."""
        error = self._error
        if self.mode == "on":
            reason = "it returned from lifespan" if error is None else describe(error)
            raise StartupError(f"Application startup failed: {reason}") from error
        if self._received and error is not None:
            # It knows lifespan and broke inside: silence would hide a half-started application.
            logger.warning("Exception in application startup; serving without lifespan", exc_info=error)
        else:
            logger.info("ASGI 'lifespan' protocol appears unsupported.")
            logger.debug("The application refused the lifespan scope", exc_info=error)
