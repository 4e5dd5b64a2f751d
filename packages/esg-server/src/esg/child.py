"""A worker process as its parent sees it: how it is started, what it says, and how it is told.

Between the two lie a socket for words in both directions, whose end tells each that the other is gone, and a pipe
for heartbeats. The parent looks into the pipe only when a heart may have stopped: nobody is woken for a beat.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from esg.config import Config, StartupError

# What the interpreter of a worker runs. Its import path comes first, for ESG itself may be found by it alone.
PROGRAM = (
    "import sys; sys.path[:] = eval(open({0}, 'rb', 0, closefd=False).readline()); "
    "from esg.worker import main; main({0})"
)
LENGTH = struct.Struct("!I")
BEAT = struct.Struct("d")
MOST = 65536

# What parent and worker say to each other.
READY = "ready"
FAILED = "failed"
REPLACE = "replace"
LEAVE = "leave"
FORCE = "force"

# Signals that a terminal sends to all its processes: what they mean for a worker is its parent's decision.
FOR_THE_PARENT = (signal.SIGINT, signal.SIGHUP)
# What a worker must not take from its parent's environment: it is the parent who speaks with the service manager.
NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class Child:
    """A worker process.

    Args:
        pid: its process.
        channel: where it hears us and we hear it.
        beats: the pipe's end to read its heartbeats from.
    """

    def __init__(self, pid: int, channel: socket.socket, beats: int) -> None:
        self.pid = pid
        self.channel = channel
        self.ready = False
        """Whether it accepts connections, or did."""
        self.failure: str | None = None
        """What it said it could not start for."""
        self.stale: str | None = None
        """Why it is to be replaced."""
        self.leaving = False
        """Whether it was told to end."""
        self.killed_at: float | None = None
        """When it ends at the latest, if need be by SIGKILL."""
        self.begun = self.beat = time.monotonic()
        self._beats = beats
        self._buffer = b""
        channel.setblocking(False)
        os.set_blocking(beats, False)

    def hear(self) -> list[tuple[str, str]] | None:
        """The words and texts that came; None when it has closed its side, as it does by ending."""
        try:
            data = self.channel.recv(MOST)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [parsed(line) for line in lines]

    def say(self, word: str) -> None:
        """Tell it; one that is gone, or does not listen, is noticed elsewhere."""
        with contextlib.suppress(OSError):
            self.channel.send(line(word))

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def last_beat(self) -> float:
        """When its event loop was last seen turning, on the monotonic clock, which all processes share."""
        with contextlib.suppress(OSError):
            while data := os.read(self._beats, MOST):
                self.beat = max(self.beat, *BEAT.unpack(data[-BEAT.size :]))
        return self.beat

    def close(self) -> None:
        """Let go of what lies between us."""
        self.channel.close()
        os.close(self._beats)


def line(word: str, text: str = "") -> bytes:
    """A message between parent and worker."""
    return f"{word} {text}".encode("unicode_escape") + b"\n"


def parsed(data: bytes) -> tuple[str, str]:
    """Word and text of a message."""
    word, _, text = data.decode("unicode_escape").partition(" ")
    return word, text


class Spawner:
    """Starts workers as programs of their own, which share nothing with the parent but the sockets.

    Args:
        config: what they do.
    """

    def __init__(self, config: Config) -> None:
        if not sys.executable:
            raise StartupError("Workers cannot be started: sys.executable names no Python interpreter")
        try:
            pickle.dumps(config)
        except Exception as error:
            reason = f"an option cannot be given to another process ({error})"
            raise StartupError(f"Workers cannot be started: {reason}") from None
        self.config = config

    def start(self, number: int, sockets: Sequence[socket.socket]) -> Child:
        """Start one.

        Args:
            number: what it is called.
            sockets: bound ones to listen on.

        Raises:
            OSError: when the system has no process for it.
        """
        ours, theirs = socket.socketpair()
        beats, beating = os.pipe()
        try:
            inherited = (theirs.fileno(), beating, *(sock.fileno() for sock in sockets))
            for fd in inherited:
                os.set_inheritable(fd, True)
            pid = self._spawn(theirs.fileno())
            for fd in inherited:
                os.set_inheritable(fd, False)
            payload = pickle.dumps((self.config, sys.argv, number, [sock.fileno() for sock in sockets], beating))
            with contextlib.suppress(OSError):  # one that ended at once is reaped as any other
                ours.sendall(f"{[*map(str, sys.path)]!r}\n".encode() + LENGTH.pack(len(payload)) + payload)
        except BaseException:
            ours.close()
            os.close(beats)
            raise
        finally:
            theirs.close()
            os.close(beating)
        return Child(pid, ours, beats)

    def _spawn(self, channel: int) -> int:
        import subprocess

        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        return os.posix_spawn(
            sys.executable,
            [sys.executable, *flags, "-c", PROGRAM.format(channel)],
            environment,
            # Until the worker is there to do without them.
            setsigmask=FOR_THE_PARENT,
            setsigdef=(signal.SIGPIPE,),
        )


class Forker:
    """Starts workers as copies of the parent, which has imported the application: they share its memory.

    Args:
        config: what they do.
        target: what the application is imported as, or a factory of it.
        forget: what a copy does first: it lets go of what is its parent's, other than the sockets it gets.
    """

    def __init__(self, config: Config, target: Any, forget: Callable[[Sequence[socket.socket]], None]) -> None:
        self.config = config
        self.target = target
        self.forget = forget

    def start(self, number: int, sockets: Sequence[socket.socket]) -> Child:
        """As :meth:`Spawner.start`."""
        ours, theirs = socket.socketpair()
        beats, beating = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = _fork()
            if pid == 0:
                ours.close()
                os.close(beats)
                self._be_the_worker(before, number, sockets, theirs, beating)
        except BaseException:
            ours.close()
            os.close(beats)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
            os.close(beating)
        return Child(pid, ours, beats)

    def _be_the_worker(
        self,
        mask: set[int | signal.Signals],
        number: int,
        sockets: Sequence[socket.socket],
        channel: socket.socket,
        beats: int,
    ) -> None:
        """Never returns: what stands above on the stack is the parent's."""
        import atexit

        from esg.worker import Worker, leave_to_the_parent, serve

        status = 1
        try:
            self.forget(sockets)
            leave_to_the_parent()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for name in NOT_INHERITED:
                os.environ.pop(name, None)
            status = serve(Worker(self.config, channel, beats, number, self.target), sockets)
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(BaseException):
                atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(status)


def _fork() -> int:
    import warnings

    with warnings.catch_warnings():
        # The supervisor has said so, once and with the way out.
        warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)
        return os.fork()
