"""One of several processes that serve: a server that its parent watches, replaces and ends."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import pickle
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from esg.app import own_traceback
from esg.child import BEAT, FAILED, FOR_THE_PARENT, FORCE, LEAVE, LENGTH, MOST, READY, REPLACE, line, parsed
from esg.config import STARTUP_FAILURE, Config, StartupError
from esg.server import Server

logger = logging.getLogger("esg.error")


class Worker(Server):
    """A server that has a parent.

    Args:
        config: what it does.
        channel: where it hears its parent, and is heard.
        beats: the pipe's end for its heartbeats.
        number: what its parent calls it, from 1.
        target: what the application is imported as, if the parent has done so.
    """

    def __init__(self, config: Config, channel: socket.socket, beats: int, number: int, target: Any = None) -> None:
        super().__init__(config)
        self.worker = number
        self._preloaded = target
        self._channel, self._beats = channel, beats
        self._buffer = b""
        self._asked = False

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        self._channel.setblocking(False)
        asyncio.get_running_loop().add_reader(self._channel, self._hear)
        await super().startup(sockets)

    def say(self, word: str, text: str = "") -> None:
        """Tell the parent; without one there is nobody to tell."""
        with contextlib.suppress(OSError):
            self._channel.sendall(line(word, text))

    def close(self) -> None:
        """Let go of what lies between parent and worker."""
        self._channel.close()
        os.close(self._beats)

    def _hear(self) -> None:
        try:
            data = self._channel.recv(MOST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._be_an_orphan()
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for word, _ in map(parsed, lines):
            # A signal that was sent later may be seen earlier, and stays the last word.
            if word == LEAVE and not self.should_exit:
                self._replaced = self.should_exit = True
            elif word == FORCE:
                self.should_exit = self.force_exit = True

    def _be_an_orphan(self) -> None:
        """Nobody is left who would ever stop this process, and free the port."""
        asyncio.get_running_loop().remove_reader(self._channel)
        if not self.should_exit:
            logger.error("The parent process is gone: worker [%d] stops", os.getpid())
            self.should_exit = True

    def _load(self) -> Any:
        return super()._load() if self._preloaded is None else self._preloaded

    def _announce(self, places: str) -> None:
        self.say(READY, places)

    def _tick(self) -> None:
        with contextlib.suppress(OSError):  # full, which is as good as a beat, or nobody there
            os.write(self._beats, BEAT.pack(time.monotonic()))
        super()._tick()

    def _retire(self, reason: str) -> None:
        """Ask to be replaced, and serve on until another process can."""
        if not self._asked:
            self._asked = True
            self.say(REPLACE, reason)

    def _handlers(self) -> dict[signal.Signals, Callable[[int, FrameType | None], None]]:
        # However often it comes: a service manager sends it to every process, and so does the parent. The parent
        # forces, by a word. Nor is it raised again: the exit status is nobody's but the parent's.
        return {signal.SIGTERM: self._on_terminate}

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        self._replaced = False  # nobody goes on in its place, if anybody did
        self.should_exit = True


def main(channel: int) -> None:
    """Where a worker that is a program of its own begins.

    Args:
        channel: the descriptor that leads to the parent; it has a configuration to read.
    """
    leave_to_the_parent()
    with open(channel, "rb", 0, closefd=False) as stream:
        (length,) = LENGTH.unpack(_exactly(stream, LENGTH.size))
        config, arguments, number, fds, beats = pickle.loads(_exactly(stream, length))
    sys.argv[:] = arguments
    for fd in (channel, beats, *fds):
        os.set_inheritable(fd, False)
    sockets = [socket.socket(fileno=fd) for fd in fds]
    sys.exit(serve(Worker(config, socket.socket(fileno=channel), beats, number), sockets))


def serve(worker: Worker, sockets: Sequence[socket.socket]) -> int:
    """Serve until the end, and say the exit code."""
    os.set_blocking(worker._beats, False)
    if not faulthandler.is_enabled() and sys.stderr is not None:
        # A worker that is killed for its blocked event loop says where it stands.
        with contextlib.suppress(OSError, ValueError):
            faulthandler.enable()
    try:
        worker.run(sockets)
    except StartupError as error:
        worker.say(FAILED, _in_words(error))
        return STARTUP_FAILURE
    finally:
        worker.close()
        for sock in sockets:
            sock.close()
    return 0


def leave_to_the_parent() -> None:
    """Let signals pass that the terminal sends to all: the parent hears them, and says what they mean."""
    for number in FOR_THE_PARENT:
        # Not SIG_IGN, which the application's own children would inherit.
        signal.signal(number, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_PARENT)


def _in_words(error: StartupError) -> str:
    """The message, and below it the application's own traceback."""
    cause = error.__cause__
    if cause is None:
        return str(error)
    told = traceback.format_exception(type(cause), cause, own_traceback(cause))
    return f"{error}\n{''.join(told).rstrip()}"


def _exactly(stream: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = stream.read(size - len(data))
        if not part:
            raise SystemExit("The parent process is gone.")
        data += part
    return data
