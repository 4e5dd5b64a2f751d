"""The worker: one server of ESG in a process that gunicorn's arbiter has made, watches and ends."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, ClassVar

from esg import Config, Server
from esg.config import STARTUP_FAILURE, StartupError
from gunicorn import sock, util
from gunicorn.workers.base import Worker

from esg_gunicorn import hooks, logs, settings


class ESGWorker(Worker):  # type: ignore[misc]
    """Serves an ASGI (or WSGI) application in each of gunicorn's processes.

    Attributes:
        CONFIG: options of :class:`esg.Config` by name, for subclasses. They win over ``ESG_*`` variables, and those
            over gunicorn's settings.
    """

    CONFIG: ClassVar[Mapping[str, Any]] = {}

    wsgi: Any
    server: WorkerServer | None = None

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Called by the arbiter, once: say what of the configuration has no meaning here, and refuse what is wrong.

        Raises:
            SystemExit: with code 3, for an option that cannot be.
        """
        cls._make_config(cfg, log)
        for line in settings.without_meaning(cfg, cls.CONFIG):
            log.warning(line)

    @classmethod
    def _make_config(cls, cfg: Any, log: Any, requests: int | None = None) -> Config:
        try:
            return settings.make_config(cfg, cls.CONFIG, requests)
        except (TypeError, ValueError) as error:
            log.critical(str(error))
            sys.exit(STARTUP_FAILURE)

    def load_wsgi(self) -> None:
        """Import the application; one that cannot be compiled is answered for, until the reloader sees it changed."""
        super().load_wsgi()
        if getattr(self.wsgi, "__module__", None) == util.__name__:
            # Of gunicorn's own: a WSGI application, and what serves those may not be installed.
            self.wsgi = hooks.failing(self.wsgi)

    def init_signals(self) -> None:
        """Take the arbiter's signals; the base class's way of waking a loop is not needed, as these wake ours."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        handlers = {
            signal.SIGTERM: self.handle_exit,
            signal.SIGQUIT: self.handle_quit,
            signal.SIGINT: self.handle_quit,
            signal.SIGUSR1: self.handle_usr1,
            signal.SIGABRT: self.handle_abort,
            signal.SIGWINCH: self.handle_winch,
        }
        for number, handler in handlers.items():
            signal.signal(number, handler)
            signal.siginterrupt(number, False)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: finish what is running."""
        self.alive = False
        if self.server is not None:
            self.server.should_exit = True

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """SIGQUIT and SIGINT: end now, dropping what is running."""
        self.alive = False
        if self.server is not None:
            self.server.force_exit = True
        try:
            self.cfg.worker_int(self)
        except Exception:  # it would come out wherever the signal has met the application
            self.log.exception("The hook worker_int failed")

    def handle_usr1(self, sig: int, frame: FrameType | None) -> None:
        """SIGUSR1: open the log files again, in the loop: here a line of the access log may be half there."""
        if self.server is None or not self.server.call_in_loop(self.server.reopen_logs):
            self.log.reopen_files()

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """SIGABRT: the arbiter has waited ``timeout`` seconds for a sign of life. Say where the loop is stuck, and end.

        Not by SystemExit, as the base class does: that would be raised in the code that is stuck, an application's
        mostly, which may take it for an error of its own and go on.
        """
        self.alive = False
        stack = "".join(traceback.format_stack(frame))
        self.log.critical("The event loop was blocked for more than %s seconds, here:\n%s", self.cfg.timeout, stack)
        self.cfg.worker_abort(self)
        logging.shutdown()
        os._exit(1)

    def run(self) -> None:
        """Serve until the arbiter, or a limit, says that it is enough."""
        logs.route(self.log)
        # Checked at the start, but SIGHUP reads the settings again.
        config = self._make_config(self.cfg, self.log, self.max_requests)
        config.access_log = config.access_log and not hooks.has_own_access_log(self.log)
        if self.cfg.is_ssl:
            config.ssl_context_factory = functools.partial(ssl_context, self.cfg)
        self.server = WorkerServer(config, self)
        self.server.access_logger = self.log.access_log.name
        if not self.alive:  # a signal came before there was a server
            self.server.should_exit = True
        try:
            config.app = hooks.watched(self.wsgi, self, config.interface)
            self.server.run([listener.sock for listener in self.sockets], signals=False)
        except StartupError as error:
            self.log.critical(str(error), exc_info=error.__cause__)
        if not self.server.started and self.alive:
            sys.exit(STARTUP_FAILURE)


class WorkerServer(Server):
    """ESG's server, which shows gunicorn that its loop turns and ends when the arbiter is gone."""

    def __init__(self, config: Config, worker: ESGWorker) -> None:
        super().__init__(config)
        self._worker = worker
        self._between_beats = settings.between_beats(worker.cfg.timeout)

    async def startup(self, sockets: Sequence[Any] | None = None) -> None:
        # Before the application starts: that may take longer than the arbiter waits for a sign of life.
        self._beat()
        await super().startup(sockets)

    def reopen_logs(self) -> None:
        super().reopen_logs()
        self._worker.log.reopen_files()

    def _beat(self) -> None:
        self._worker.notify()
        if os.getppid() != self._worker.ppid:
            self._worker.log.info("The arbiter is gone: %s ends", self._worker)
            self.should_exit = True
        if not self._worker.alive:  # gunicorn's reloader, a thread, says it like this
            self.should_exit = True
        asyncio.get_running_loop().call_later(self._between_beats, self._beat)


def ssl_context(cfg: Any, *_: Any) -> Any:
    """What gunicorn makes of its settings for certificates, its ``ssl_context`` hook included."""
    context = sock.ssl_context(cfg)
    # gunicorn may have offered h2, which a client would then speak.
    context.set_alpn_protocols(["http/1.1"])
    return context
