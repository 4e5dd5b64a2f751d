"""``--reload``: one worker, and a new one whenever the application's files have changed."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import select
import time
from collections import deque
from collections.abc import Iterable

from esg.child import FORCE, Child
from esg.config import Config
from esg.supervisor import HASTE, Place, Supervisor, how
from esg.watching import Files, Watcher

logger = logging.getLogger("esg.error")

# How long requests may take to end when the application has changed, in seconds: somebody waits for the new one.
GRACE = 1.0
# Paths that a line of the log names.
MOST_NAMED = 3


class Reloader(Supervisor):
    """The parent of one worker that is ended, and then started again, when files change.

    Ended first: two versions of an application that is being written had better not run at the same time. Connections
    wait meanwhile in the socket, which stays open.

    Args:
        config: what it does.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._changed: deque[list[str]] = deque()
        self._forced_at: float | None = None
        self._held = False
        """Whether the worker has failed, so that only a change helps."""
        self._changed_since: set[str] = set()
        """The files that have changed since the worker was started."""
        self._directory = os.getcwd()

    def _supervise(self) -> None:
        files = Files(self.config)
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        watcher = Watcher(files, self.config.reload_delay, lambda paths: self._tell(paths, writer))
        self._poll.register(reader, select.POLLIN)
        self._news = reader
        if self.config.workers > 1:
            logger.warning("--reload serves with one worker, not %d", self.config.workers)
        if self.config.preload:
            logger.warning("--reload does not go with --preload: the application is imported anew each time")
        watcher.start()
        try:
            super()._supervise()
        finally:
            watcher.stop()
            self._poll.unregister(reader)
            os.close(reader)
            os.close(writer)

    def _tell(self, paths: list[str], writer: int) -> None:
        """In the watcher's thread."""
        self._changed.append(paths)
        os.write(writer, b"x")

    def _preloads(self) -> bool:
        return False

    def _make_places(self) -> None:
        self._places = [Place(1, self._sockets)]

    def _on_readable(self, fd: int) -> None:
        if fd == self._news:
            os.read(fd, 4096)
            while self._changed:
                self._on_change(self._changed.popleft())
        else:
            super()._on_readable(fd)

    def _on_change(self, paths: list[str]) -> None:
        if self._stops:
            return
        self._changed_since.update(paths)
        named = ", ".join(repr(os.path.relpath(path, self._directory)) for path in paths[:MOST_NAMED])
        more = f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
        logger.info("Reloading after changes in %s%s", named, more)
        self._restart()

    def _restart(self) -> None:
        self._held = False
        current = self._places[0].current
        if current is not None:
            self._places[0].current = None
            self._leaving.append(current)
            self._end(current)
            self._forced_at = time.monotonic() + GRACE

    def _reconcile(self) -> None:
        if not self._held and not self._leaving:
            super()._reconcile()

    def _start(self, place: Place) -> Child | None:
        with contextlib.suppress(OSError):
            os.chdir(self._directory)  # which may have been made anew
        _forget_bytecode(self._changed_since)
        self._changed_since.clear()
        return super()._start(place)

    def _next_due(self) -> float | None:
        due = super()._next_due()
        if self._forced_at is None or not self._leaving:
            return due
        return self._forced_at if due is None else min(due, self._forced_at)

    def _look_after(self) -> None:
        if self._forced_at is not None and time.monotonic() >= self._forced_at:
            self._forced_at = None
            for child in self._leaving:
                child.say(FORCE)
                child.killed_at = time.monotonic() + HASTE
        super()._look_after()

    def _reload(self) -> None:
        logger.info("Reloading")
        self._restart()

    def _add(self) -> None:
        logger.warning("--reload serves with one worker")

    _remove = _add

    def _on_failure(self, place: Place, child: Child, code: int) -> None:
        logger.critical("%s", child.failure or f"Worker [{child.pid}] ended before it was ready ({how(code)})")
        self._hold()

    def _on_crash(self, place: Place, child: Child, code: int) -> None:
        logger.error("Worker [%d] died (%s)", child.pid, how(code))
        self._hold()

    def _hold(self) -> None:
        self._held = True
        logger.info("Waiting for changes")


def _forget_bytecode(paths: Iterable[str]) -> None:
    """Have sources compiled again: Python takes one of the same size, saved in the same second, for the one before."""
    for path in paths:
        if path.endswith(".py"):
            with contextlib.suppress(OSError, NotImplementedError):  # not there, or none is ever kept
                os.unlink(importlib.util.cache_from_source(path))
