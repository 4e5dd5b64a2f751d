"""Which files an application is made of, and when they change: watched by the system, or looked at now and then."""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from esg.config import Config, StartupError
from esg.hints import no_directory

logger = logging.getLogger("esg.error")

INCLUDES = ("*.py",)
EXCLUDES = (".*", ".py[cod]", ".sw.*", "~*")
# An editor writes several files, and each several times. Seconds of quiet in which they are at an end, and at most.
QUIET, LONGEST = 0.05, 1.6
# How often the watcher of the system comes back to see whether directories have been made anew, in milliseconds.
GLANCE = 250

# What changes with a file, by its path: the time of its change alone is in seconds on some file systems.
State = dict[str, tuple[int, int, int]]


class Files:
    """The files that count.

    Args:
        config: ``reload_dirs``, ``reload_includes``, ``reload_excludes``. A pattern that is a directory stands for all
            that lies below it.

    Raises:
        StartupError: for a directory that there is not.
    """

    def __init__(self, config: Config) -> None:
        named = [*config.reload_dirs, *filter(os.path.isdir, config.reload_includes)]
        self.roots = tuple(dict.fromkeys(_directory(name) for name in named or ["."]))
        """The directories to watch, none of them twice."""
        self._includes = [*(p for p in INCLUDES if p not in config.reload_excludes), *_patterns(config.reload_includes)]
        self._excludes = [*(p for p in EXCLUDES if p not in config.reload_includes), *_patterns(config.reload_excludes)]
        self._outside = tuple(os.path.realpath(name) for name in filter(os.path.isdir, config.reload_excludes))

    def may_count(self, path: str) -> bool:
        """Whether a change of this file can be one of the application, whatever lies above it."""
        return any(_matches(path, pattern) for pattern in self._includes)

    def _is_outside(self, path: str) -> bool:
        return path in self._outside or any(_matches(path, pattern) for pattern in self._excludes)

    def state(self) -> State:
        """All of them that there are now."""
        found: State = {}
        for root in self.roots:
            self._collect(root, found)
        return found

    def _collect(self, directory: str, found: State) -> None:
        # Anything may go while we look.
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                if self._is_outside(entry.path):
                    continue
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        self._collect(entry.path, found)
                    elif self.may_count(entry.path):
                        status = entry.stat()
                        found[entry.path] = (status.st_mtime_ns, status.st_size, status.st_ino)


class Watcher:
    """Calls from a thread of its own when files have changed and are quiet again.

    Args:
        files: which.
        delay: seconds between two looks.
        on_change: gets the paths.
    """

    def __init__(self, files: Files, delay: float, on_change: Callable[[list[str]], None]) -> None:
        self._files = files
        self._delay = delay
        self._on_change = on_change
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="esg-reload", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for paths in self._changes():
            if paths and not self._stop.is_set():
                self._on_change(sorted(paths))
            self._stop.wait(max(self._delay, QUIET))

    def _changes(self) -> Iterator[set[str]]:
        state = self._files.state()
        watch = _watchfiles()  # here, for its import takes longer than the worker's start
        where = ", ".join(map(repr, self._files.roots))
        logger.info("Watching for changes in %s, %s", where, "by polling" if watch is None else "with watchfiles")
        return self._polled(state) if watch is None else self._told(watch, state)

    def _polled(self, before: State) -> Iterator[set[str]]:
        while not self._stop.is_set():
            now = self._files.state()
            if now != before:
                now = self._settled(now)
            yield _differences(before, now)
            before = now

    def _settled(self, state: State) -> State:
        """The files when nobody writes any more."""
        end = time.monotonic() + LONGEST
        while time.monotonic() < end and not self._stop.wait(QUIET):
            state, before = self._files.state(), state
            if state == before:
                break
        return state

    def _told(self, watch: Callable[..., Any], before: State) -> Iterator[set[str]]:
        """By watchfiles, which says when to look.

        A directory that is made anew is another one to the system, so the watch begins anew then; what happened while
        nobody watched is found by looking at its beginning.
        """
        while not self._stop.is_set():
            known = [_identity(root) for root in self._files.roots]
            for _ in self._events(watch, known):
                now = self._files.state()
                yield _differences(before, now)
                before = now

    def _events(self, watch: Callable[..., Any], known: list[tuple[int, int] | None]) -> Iterator[None]:
        """When to look, until a directory is not the known one any more."""
        yield None
        begun = False

        def counts(change: Any, path: str) -> bool:
            # Any change brings the first look, at what came before the watch: among others without end no timeout does.
            return not begun or self._files.may_count(path)

        # A directory that has gone meanwhile, or more of them than the system will watch: then this is polling.
        with contextlib.suppress(OSError, RuntimeError):
            for changes in watch(
                *(root for root, identity in zip(self._files.roots, known, strict=True) if identity is not None),
                watch_filter=counts,
                stop_event=self._stop,
                step=int(QUIET * 1000),
                debounce=int(LONGEST * 1000),
                rust_timeout=GLANCE,
                yield_on_timeout=True,
                raise_interrupt=False,
            ):
                if changes or not begun:
                    yield None
                begun = True
                if [_identity(root) for root in self._files.roots] != known:
                    return


def _watchfiles() -> Callable[..., Any] | None:
    try:
        from watchfiles import watch
    except ImportError:
        return None
    return watch


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _differences(before: State, now: State) -> set[str]:
    return {path for path, _ in before.items() ^ now.items()}


def _directory(name: str) -> str:
    path = os.path.realpath(name)
    if not os.path.isdir(path):
        raise StartupError(f"--reload-dir: {no_directory(name)}")
    return path


def _patterns(given: Sequence[str]) -> list[str]:
    return [pattern for pattern in given if not os.path.isdir(pattern)]


def _matches(path: str, pattern: str) -> bool:
    """Whether the end of a path is as a pattern says: ``*.py``, or with directories, ``templates/*.html``."""
    depth = pattern.strip("/").count("/") + 1
    end = "/".join(path.split("/")[-depth:])
    return fnmatch.fnmatchcase(end, pattern.strip("/"))
