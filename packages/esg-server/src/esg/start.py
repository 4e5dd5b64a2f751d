"""From a configuration to the processes that it asks for. Nothing heavy is imported before it is known which."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from esg.config import STARTUP_FAILURE, Config, StartupError
from esg.systemd import Notifier

if TYPE_CHECKING:
    from esg.server import Server
    from esg.supervisor import Supervisor

logger = logging.getLogger("esg.error")


def run(app: Callable[..., Any] | str, **options: Any) -> None:
    """Serve an application until a signal stops it. A server that cannot start ends the process with code 3.

    Args:
        app: the application, or where to import it from as ``"module:attribute"``.
        options: the fields of :class:`esg.Config`.
    """
    run_config(Config(app, **options))


def run_config(config: Config) -> None:
    """What :func:`run` and the ``esg`` command do with a finished configuration."""
    server = _server_for(config)
    server.notifier = Notifier.from_environment()
    failed = False
    try:
        server.run()
    except KeyboardInterrupt:
        pass  # Ctrl+C after a graceful stop; the signal was raised again for those who embed a Server.
    except StartupError as error:
        failed = True
        report(error)
    if failed or not server.started:
        sys.exit(STARTUP_FAILURE)


def check_config(config: Config) -> None:
    """Load everything that :func:`run_config` would, serve nothing, and end the process with code 3 if that fails."""
    from esg.server import Server

    try:
        Server(config).check()
    except StartupError as error:
        report(error)
        sys.exit(STARTUP_FAILURE)


def _server_for(config: Config) -> Server | Supervisor:
    """One process, or the parent of those that serve; the parent needs neither the application nor an event loop."""
    if config.reload:
        from esg.reload import Reloader

        return Reloader(config)
    if config.workers > 1:
        from esg.supervisor import Supervisor

        return Supervisor(config)
    from esg.server import Server

    return Server(config)


def report(error: StartupError) -> None:
    """Say why the server did not start, in one line; below it the application's own traceback, if any."""
    cause = error.__cause__
    if cause is not None:
        from esg.app import own_traceback

        cause = cause.with_traceback(own_traceback(cause))
    # Critical: it must be read at every log level.
    logger.critical(error, exc_info=cause)
