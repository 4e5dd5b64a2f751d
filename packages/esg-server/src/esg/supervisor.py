"""Several processes behind one set of sockets: how they are started, watched, replaced and stopped.

The parent serves nothing. It knows neither the application nor an event loop, and waits in one poll() for signals, for
what its workers say, and for the times when something is due. Whatever has happened, ``_reconcile`` then does what is
missing between the workers there are and those there should be.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Iterator, Sequence

from esg import logs, sockets
from esg.child import FAILED, FORCE, LEAVE, READY, REPLACE, Child, Forker, Spawner
from esg.compatibility import words
from esg.config import STARTUP_FAILURE, Config, StartupError
from esg.signals import STOPPING, Hangup
from esg.systemd import Notifier

logger = logging.getLogger("esg.error")

RELOAD = "a reload"
# A worker that lived for so many seconds was no part of a row of crashes.
STEADY = 10.0
# Waits before a worker is started again, in seconds: none after the first crash, then doubled from here, and at most.
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
# A limit that a worker has passed as soon as it starts must not make its parent do nothing but start workers.
LEAST_LIFE = 1.0
# How long a worker may take beyond the times it was given for its own stop.
PATIENCE = 3.0
# How long it may take when it is told not to wait any more, and when it was made to say where it stands.
HASTE = 3.0
# Look at heartbeats at least so often: a pipe holds some hundred of them.
LONGEST_LOOK = 60.0
# A wait that took so much longer than it should: everything stood still, not a worker alone.
OVERSLEPT = 2.0

WATCHED = (*STOPPING, signal.SIGHUP, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU)


class Place:
    """One of the workers there should be: the process that fills it, and the one that is to follow.

    Args:
        number: what its workers are called.
        sockets: what they listen on.
    """

    def __init__(self, number: int, sockets: Sequence[socket.socket]) -> None:
        self.number = number
        self.sockets = sockets
        self.current: Child | None = None
        self.successor: Child | None = None
        self.crashes = 0
        """Deaths in a row, each soon after the start."""
        self.not_before = 0.0
        """When the next worker may be started."""

    def may_be_replaced(self) -> float:
        """When a successor may be started; a worker serves for a while, however soon it says that it has had enough."""
        current = self.current
        least = current.begun + LEAST_LIFE if current is not None and current.stale != RELOAD else 0.0
        return max(self.not_before, least)

    def children(self) -> list[Child]:
        return [child for child in (self.current, self.successor) if child is not None]


class Supervisor:
    """The parent of ``config.workers`` processes.

    Args:
        config: what they do.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.started = False
        """Whether a worker has begun to accept connections; stays true afterwards."""
        self.addresses: list[tuple[str, int]] = []
        """Host and port of every bound TCP socket: where port 0 ended up."""
        self.notifier = Notifier()
        """Whom it tells that it is ready and that it stops."""
        self._serving_on = ""
        self._reloading = False
        self._sockets: list[socket.socket] = []
        self._places: list[Place] = []
        self._leaving: list[Child] = []
        self._starter: Spawner | Forker
        self._failure: StartupError | None = None
        self._stops = 0
        self._caught: list[int] = []
        self._hangup = Hangup()
        self._poll = select.poll()
        self._by_fd: dict[int, Child] = {}
        self._looked = 0.0
        self._wakeup = -1
        self._pipe: tuple[int, ...] = ()

    def run(self) -> None:
        """Keep workers running until told to stop.

        Raises:
            StartupError: when a worker cannot start, or the sockets cannot be bound.
        """
        logs.configure(self.config)
        for level, word in words(self.config):
            logger.log(level, word)
        self._starter = self._make_starter()
        self._sockets = sockets.bind_all(self.config)
        names = [sock.getsockname() for sock in self._sockets]
        self.addresses = [name[:2] for name in names if isinstance(name, tuple)]
        try:
            with self._signals():
                self._supervise()
        finally:
            self._let_go()
        for caught in reversed(self._caught):
            signal.raise_signal(caught)
        if self._failure is not None:
            raise self._failure

    def _make_starter(self) -> Spawner | Forker:
        if not isinstance(self.config.app, str):
            hint = 'name it as "module:attribute" for them to import'
            raise StartupError(f"Workers and reload cannot be given an application object: {hint}")
        return self._make_forker(self.config.app) if self._preloads() else Spawner(self.config)

    def _preloads(self) -> bool:
        return self.config.preload

    def _make_forker(self, app: str) -> Forker:
        """Import all that workers have in common, for them to share its memory."""
        import gc
        import threading

        from esg.app import import_target

        # Without an event loop: none survives a fork.
        for module in ("esg.worker", "uvloop" if self.config.loop in ("auto", "uvloop") else "asyncio"):
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
        forker = Forker(self.config, import_target(app, self.config.app_dir), self._forget)
        others = threading.active_count() - 1
        if others:
            logger.warning(
                "The application has started threads (%d) that its workers will not have (--preload)", others
            )
        gc.collect()
        gc.freeze()  # so that no collection in a worker writes to what it shares
        return forker

    def _forget(self, kept: Sequence[socket.socket]) -> None:
        """In a worker that begins as a copy of the parent: let go of what is the parent's alone."""
        signal.set_wakeup_fd(-1)
        for number in WATCHED:
            signal.signal(number, signal.SIG_DFL)
        for fd in self._pipe:
            os.close(fd)
        for child in self._all():
            child.close()
        for sock in {*self._sockets, *(sock for place in self._places for sock in place.sockets)}:
            if not any(sock is other for other in kept):
                sock.close()

    def _supervise(self) -> None:
        logger.info("Started parent process [%d]", os.getpid())
        self._make_places()
        self._reconcile()
        while not self._stops or self._all():
            self._wait()
            self._reap()
            self._look_after()
            self._reconcile()
            self._tell_service_manager()
        logger.info("Finished parent process [%d]", os.getpid())

    def _make_places(self) -> None:
        self._places = [self._make_place(number) for number in range(1, self.config.workers + 1)]

    def _make_place(self, number: int) -> Place:
        if not self.config.reuse_port:
            return Place(number, self._sockets)
        # A worker and its successor share a socket too: nothing that the system has queued is lost between them.
        return Place(number, sockets.own(self._sockets))

    def _all(self) -> list[Child]:
        """Every process that is there."""
        there = [child for place in self._places for child in place.children()]
        return there + self._leaving

    # -- What there should be

    def _reconcile(self) -> None:
        """Do what is missing."""
        if self._stops:
            return
        now = self._looked = time.monotonic()
        for place in self._places:
            if place.current is None:
                place.current, place.successor = place.successor, None
            if place.current is None and now >= place.not_before:
                place.current = self._start(place)
            if place.successor is not None and place.successor.ready:
                self._succeed(place)
        if any(place.successor for place in self._places):
            return  # One at a time: replacing all of them must not take twice the memory.
        for place in self._places:
            current = place.current
            if current is not None and current.ready and current.stale and now >= place.may_be_replaced():
                logger.info("Replacing worker [%d] after %s", current.pid, current.stale)
                place.successor = self._start(place)
                return

    def _start(self, place: Place) -> Child | None:
        try:
            child = self._starter.start(place.number, place.sockets)
        except OSError as error:
            self._put_off(place)
            logger.error("A worker cannot be started: %s", error.strerror)
            return None
        self._by_fd[child.channel.fileno()] = child
        self._poll.register(child.channel, select.POLLIN)
        return child

    def _succeed(self, place: Place) -> None:
        """The successor accepts connections: the one before it may end."""
        if place.current is not None:
            self._send_away(place.current)
        place.current, place.successor = place.successor, None

    def _put_off(self, place: Place) -> float:
        """Wait before the next start, longer each time that the one before died soon; for how long."""
        place.crashes += 1
        wait = 0.0 if place.crashes == 1 else min(FIRST_WAIT * 2 ** (place.crashes - 2), LONGEST_WAIT)
        place.not_before = time.monotonic() + wait
        return wait

    # -- Waiting

    def _wait(self) -> None:
        """Until a signal, a word or a time that is due."""
        due = self._next_due()
        now = time.monotonic()
        wait = None if due is None else max(0.0, due - now)
        # Rounded up: a time that is not quite there yet would be waited for by turning round and round.
        ready = self._poll.poll(None if wait is None else int(wait * 1000) + 1)
        if wait is not None and time.monotonic() - now - wait > OVERSLEPT:
            self._forgive()
        for fd, _ in ready:
            self._on_readable(fd)

    def _on_readable(self, fd: int) -> None:
        if fd == self._wakeup:
            for number in os.read(fd, 4096):
                self._on_signal(number)
        elif fd in self._by_fd:
            self._hear(self._by_fd[fd])

    def _next_due(self) -> float | None:
        """When there is something to do, whatever happens until then."""
        # What was due by the time of the last look has been seen to, or waits for something else.
        starts: list[float] = []
        if not self._stops:
            starts += [place.not_before for place in self._places if place.current is None]
            starts += [place.may_be_replaced() for place in self._places if place.current and place.current.stale]
        dues = [due for due in starts if due > self._looked]
        dues += [child.killed_at for child in self._all() if child.killed_at is not None]
        patience = self.config.timeout_worker_healthcheck
        if patience:
            beats = [child.beat + patience for child in self._all() if child.ready and child.killed_at is None]
            dues += [min(*beats, time.monotonic() + LONGEST_LOOK)] if beats else []
        tick = self.notifier.next_tick()
        dues += [tick] if tick is not None else []
        return min(dues, default=None)

    def _hear(self, child: Child) -> None:
        words = child.hear()
        if words is None:
            self._forget_channel(child)  # its death is told by a signal
            return
        for word, text in words:
            if word == READY:
                self._on_ready(child, text)
            elif word == REPLACE:
                child.stale = child.stale or text
            elif word == FAILED:
                child.failure = text

    def _on_ready(self, child: Child, places: str) -> None:
        child.ready = True
        child.beat = time.monotonic()
        logger.info("Worker [%d] is ready", child.pid)
        if not self.started:
            self.started = True
            # Asked of the worker, which alone knows how it listens.
            logger.info("ESG running on %s (Press CTRL+C to quit)", places)
            self._serving_on = f"Serving on {places}"
            self.notifier.ready(self._serving_on)

    def _forget_channel(self, child: Child) -> None:
        fd = child.channel.fileno()
        if self._by_fd.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def _tell_service_manager(self) -> None:
        self.notifier.tick()
        if self._reloading and not any(child.stale == RELOAD for place in self._places for child in place.children()):
            self._reloading = False
            self.notifier.ready(self._serving_on)

    # -- Health

    def _look_after(self) -> None:
        """See that hearts beat, and that who must end does."""
        now = time.monotonic()
        for child in self._all():
            if child.killed_at is not None:
                if child.killed_at <= now:
                    logger.error("Worker [%d] does not end: it is killed", child.pid)
                    child.killed_at = now + HASTE
                    child.signal(signal.SIGKILL)
            elif child.ready and self._is_hung(child, now):
                patience = self.config.timeout_worker_healthcheck
                reason = f"its event loop has been blocked for {patience:g} s (timeout_worker_healthcheck)"
                logger.error("Worker [%d] is killed: %s. It says where it stands:", child.pid, reason)
                # Faulthandler writes the tracebacks, without the GIL if need be, and lets the process die.
                child.signal(signal.SIGABRT)
                child.killed_at = now + HASTE

    def _is_hung(self, child: Child, now: float) -> bool:
        patience = self.config.timeout_worker_healthcheck
        if not patience or now - child.beat < patience:
            return False
        return now - child.last_beat() >= patience

    def _forgive(self) -> None:
        """Time in which not even the parent ran is held against nobody."""
        for child in self._all():
            child.beat = time.monotonic()

    def _reap(self) -> None:
        for pid, status in _ended([child.pid for child in self._all()]):
            for child in self._all():
                if child.pid == pid:
                    self._on_death(child, os.waitstatus_to_exitcode(status))

    def _on_death(self, child: Child, code: int) -> None:
        if child in self._by_fd.values():
            self._hear(child)  # its last words
            self._forget_channel(child)
        child.close()
        if child in self._leaving:
            self._leaving.remove(child)
            return
        place = next(place for place in self._places if child in place.children())
        if place.successor is child:
            place.successor = None
        else:
            place.current = None
        if self._stops:
            return
        # Where nothing was ever served, it is no use either to try what ends itself; a signal may come from anywhere.
        if not child.ready and (code == STARTUP_FAILURE or (code >= 0 and not self.started)):
            self._on_failure(place, child, code)
        else:
            self._on_crash(place, child, code)

    def _on_failure(self, place: Place, child: Child, code: int) -> None:
        """A worker says that it cannot start: there is no use in asking again."""
        text = child.failure or f"Worker [{child.pid}] ended before it was ready ({how(code)})"
        if place.current is None:
            self._failure = StartupError(text)
            self._stop()
            return
        logger.critical("%s", text)
        if place.current.stale == RELOAD:
            logger.error("The reload is given up, the workers that run go on")
            for other in self._places:
                if other.current is not None and other.current.stale == RELOAD:
                    other.current.stale = None
        else:
            self._put_off(place)

    def _on_crash(self, place: Place, child: Child, code: int) -> None:
        if child.ready and time.monotonic() - child.begun > STEADY:
            place.crashes = 0
        wait = self._put_off(place)
        when = f"in {wait:g} s" if wait else "now"
        logger.error("Worker [%d] died (%s), it is replaced %s", child.pid, how(code), when)

    # -- Signals

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP and self._hangup.means_stop():
            number = signal.SIGTERM
        if number in STOPPING:
            self._caught.append(number)
            self._stop()
        elif self._stops:
            return
        elif number == signal.SIGHUP:
            self._reload()
        elif number == signal.SIGTTIN:
            self._add()
        elif number == signal.SIGTTOU:
            self._remove()

    def _reload(self) -> None:
        self._reloading = True
        self.notifier.reloading()
        logs.reopen()
        logger.info("Reloading: each worker is replaced by a new one")
        for place in self._places:
            for child in place.children():
                child.stale = RELOAD

    def _add(self) -> None:
        number = max(place.number for place in self._places) + 1
        try:
            self._places.append(self._make_place(number))
        except StartupError as error:
            logger.error("There can be no worker more: %s", error)
            return
        logger.info("One worker more: %d", len(self._places))

    def _remove(self) -> None:
        if len(self._places) == 1:
            logger.warning("The last worker stays")
            return
        place = self._places.pop()
        for child in place.children():
            self._send_away(child)
        if self.config.reuse_port:
            sockets.close(place.sockets)
        logger.info("One worker less: %d", len(self._places))

    def _send_away(self, child: Child) -> None:
        """Have one end while others serve on."""
        self._leaving.append(child)
        if child.ready:
            child.say(LEAVE)
            child.killed_at = self._latest_end(self.config.timeout_keep_alive)
        else:
            self._end(child)

    def _end(self, child: Child) -> None:
        child.signal(signal.SIGTERM)
        child.killed_at = self._latest_end(self.config.drain_delay)

    def _latest_end(self, before: float) -> float | None:
        """By when a worker that ends ``before`` seconds from now has ended; None where it may take for ever."""
        config = self.config
        grace = config.timeout_graceful_shutdown
        # Requests have as long, and then the application's own shutdown.
        if grace is None:
            return None
        return time.monotonic() + before + 2 * grace + PATIENCE

    def _stop(self) -> None:
        """Gracefully the first time, then without waiting, then by force."""
        self._stops += 1
        if self._stops == 1:
            self.notifier.stopping()
            logger.info("Stopping %d workers. (CTRL+C to force quit)", len(self._all()))
            self._stop_listening()
        for child in self._all():
            if self._stops == 1:
                self._end(child)
            elif self._stops == 2 and child.ready:
                child.say(FORCE)
                child.killed_at = time.monotonic() + HASTE
            else:
                child.signal(signal.SIGKILL)

    def _stop_listening(self) -> None:
        """Leave the sockets to the workers: when they have closed them, who connects is to be refused, not to wait.

        The files of UNIX sockets go in the end, with those who may still accept there.
        """
        for sock in (*self._sockets, *(sock for place in self._places for sock in place.sockets)):
            sock.close()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Have signals wake the poll; afterwards everything is as it was."""
        reader, writer = self._pipe = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        try:
            before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        except ValueError:
            os.close(reader)
            os.close(writer)
            raise StartupError(
                "Workers are started from the main thread of a program only, as signals go there"
            ) from None
        # The number goes into the pipe; a handler there must be all the same.
        previous = {number: signal.signal(number, lambda number, frame: None) for number in WATCHED}
        self._wakeup = reader
        self._poll.register(reader, select.POLLIN)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            self._poll.unregister(reader)
            os.close(reader)
            os.close(writer)

    def _let_go(self) -> None:
        """Leave nothing behind, also when an error has brought us here."""
        for child in self._all():
            child.signal(signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, 0)
            child.close()
        for place in self._places:
            sockets.close(place.sockets)
        self._places.clear()
        self._leaving.clear()
        sockets.close(self._sockets)


def _ended(pids: list[int]) -> Iterator[tuple[int, int]]:
    """Process and status of children that have ended; as process 1 also of strangers, whose parents have died."""
    if os.getpid() != 1:
        for pid in pids:
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended, status = pid, 0  # the program around us has waited for it
            if ended:
                yield pid, status
        return
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found


def how(code: int) -> str:
    """A process's end in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
