"""An application served for a test: by a real server, on a free port, for as long as a ``with`` lasts.

with esg.testing.serve(app) as url:
    assert httpx.get(url).status_code == 200
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from esg import loops
from esg.config import Config, StartupError
from esg.server import Server
from esg.sockets import display

# What suits a test better than what suits a service.
DEFAULTS = {"port": 0, "log_config": None, "timeout_graceful_shutdown": 5.0}
# Seconds beyond the time for a graceful stop, after which an application has blocked its loop.
STUCK = 5.0

# Where a client goes for what listens everywhere.
LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def serve(app: Callable[..., Any] | str, **options: Any) -> Serving:
    """Serve an application inside ``with`` or ``async with``, which give the server's URL.

    ``with`` serves in a thread that has an event loop of its own, ``async with`` in the running loop, so that
    application and test may share what belongs to it.

    Args:
        app: the application, or where to import it from as ``"module:attribute"``.
        options: the fields of :class:`esg.Config`. A free port is taken, logging is left as it is, and a stop waits
            for 5 seconds at most, unless they say otherwise.

    Raises:
        StartupError: on entering, when the server cannot start or the application's lifespan fails; where the
            application raised, that is the ``__cause__``.
    """
    return Serving(Config(app, **{**DEFAULTS, **options}))


class Serving:
    """What :func:`serve` returns; each ``with`` starts a server and stops it.

    Args:
        config: what the server does.
    """

    server: Server
    """The server of the last ``with``."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def url(self) -> str:
        """Where it serves, without a slash at the end; on a UNIX socket ``http://localhost``."""
        scheme = "https" if self.config.is_ssl else "http"
        if not self.server.addresses:
            return f"{scheme}://localhost"
        host, port = self.server.addresses[0]
        if not self.config.bind:
            host = self.config.host  # a name that a certificate may be for
        return f"{scheme}://{display(LOCAL.get(host, host), port)}"

    def __enter__(self) -> str:
        self.server = self._in_thread = ServerInThread(self.config)
        self._in_thread.start()
        return self.url

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._in_thread.stop()
        except RuntimeError:
            # What went wrong in the test comes first.
            if error is None:
                raise

    async def __aenter__(self) -> str:
        self.server = Server(self.config)
        try:
            await self.server.startup()
        except BaseException:
            await self.server.shutdown()
            raise
        return self.url

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.server.shutdown()


class ServerInThread(Server):
    """A server in a thread of its own.

    Args:
        config: what it does.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._settled = threading.Event()
        self._failure: BaseException | None = None
        # A daemon, so that an application that blocks its loop does not keep the tests from ending.
        self._thread = threading.Thread(target=self._run_loop, name="esg.testing", daemon=True)

    def start(self) -> None:
        """Start it, and wait until it accepts connections; raises what kept it from that."""
        self._thread.start()
        try:
            self._settled.wait()
        except BaseException:  # Ctrl+C
            self.should_exit = True
            raise
        if not self.started:
            self._thread.join()
            raise self._failure or StartupError("The server was stopped while it started.")

    def stop(self) -> None:
        """Stop it, and wait for its end.

        Raises:
            RuntimeError: when it does not end, or has failed since it was started.
        """
        self.should_exit = True
        # Connections, then the application, and each has all of the time.
        grace = self.config.timeout_graceful_shutdown
        self._thread.join(None if grace is None else 2 * grace + STUCK)
        if self._thread.is_alive():
            raise RuntimeError("the server did not stop: the application blocks its event loop")
        if self._failure is not None:
            raise RuntimeError("the server failed") from self._failure

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """As any server's; whoever waits for it goes on."""
        await super().startup(sockets)
        self._settled.set()

    def _run_loop(self) -> None:
        try:
            loops.run(self.serve(signals=False), self.config.loop, self.config.app_dir)
        except BaseException as error:
            self._failure = error
        finally:
            self._settled.set()
