"""One server process: started on a free port and one CPU, checked, and stopped for certain."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import cputime
from .certificate import write_certificate
from .servers import Launch, Server
from .workloads import Workload

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
START_TIMEOUT = 15.0
STOP_TIMEOUT = 5.0
# Variables that would change how a server runs; PYTHONPATH stays, for it may be how a checkout is found.
_FOREIGN = ("PYTHON", "UVICORN_", "ESG_", "GRANIAN_", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "VIRTUAL_ENV")


class InvalidRun(Exception):
    """The measurement says nothing: the server or wrk failed."""


@contextlib.contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Processes started inside inherit the one CPU; every thread they make does too."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class ServerProcess:
    """A running server. Use as a context manager: leaving it stops the server and whatever it started."""

    def __init__(self, server: Server, python: str, workload: Workload, cpu: int) -> None:
        self.server = server
        self.cpu = cpu
        self.port = _free_port()
        self.url = f"{workload.scheme}://{HOST}:{self.port}{workload.path}"
        self.workload = workload
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the server
        self._folder = tempfile.TemporaryDirectory(prefix="esg-bench-")
        if workload.tls:
            write_certificate(self._folder.name, HOST)
        with pinned(cpu):
            self._process = subprocess.Popen(
                server.argv(Launch(python, workload, HOST, self.port, self._folder.name)),
                cwd=ROOT,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that stop() can reach its children, and nobody else's
            )
        self.pid = self._process.pid

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def wait_ready(self, prove: Callable[[ServerProcess], None]) -> None:
        """Returns once the server answers rightly, as ``prove`` finds; InvalidRun if it never does."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            self.check_alive()
            try:
                prove(self)
                return
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() > deadline:
                    raise InvalidRun(f"not ready after {START_TIMEOUT:g} s: {error!r}") from None
            time.sleep(0.05)

    def check_alive(self) -> None:
        if (status := self._process.poll()) is not None:
            raise InvalidRun(f"the server ended with status {status}")

    def check_pinned(self) -> None:
        """Raises InvalidRun if any thread of the server may run elsewhere than on its CPU."""
        for pid in cputime.tree(self.pid):
            for tid in cputime.threads(pid):
                with contextlib.suppress(ProcessLookupError):
                    if (cpus := os.sched_getaffinity(tid)) != {self.cpu}:
                        raise InvalidRun(f"thread {tid} chose the CPUs {sorted(cpus)} itself")

    def stop(self) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT)
        # What is left of its session: a server that ignored SIGTERM, or children that outlived it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()

    def output(self, limit: int = 4000) -> str:
        """The end of what the server has written."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")[-limit:].strip()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    path = os.environ.get("PYTHONPATH")
    kept["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([path] if path else [])])
    return kept
