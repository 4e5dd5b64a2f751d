"""The messages of the WebSocket workloads, and the client that sends them, run as a program of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from .process import ROOT, InvalidRun, pinned
from .workloads import Talk

MISSING = "picows was not found: pip install picows."
GRACE = 15.0  # seconds that the client may take beyond its own duration
UNAVAILABLE = 3  # its exit status when nobody listens yet


def is_here() -> bool:
    return find_spec("picows") is not None


@dataclass(frozen=True)
class Load:
    """What the client counted."""

    requests: int
    rate: float  # messages per second


def command(talk: Talk, url: str, seconds: int) -> list[str]:
    flags = [f"--{name}" for name in ("text", "deflate") if getattr(talk, name)]
    argv = [sys.executable, "-m", "bench.load.websocket_client", url, f"--size={talk.size}", *flags]
    return [*argv, f"--connections={talk.connections}", f"--seconds={seconds}"]


def run(talk: Talk, url: str, seconds: int, cpu: int) -> Load:
    """One run of the client on one CPU. Raises InvalidRun when an answer was wrong, or a connection ended."""
    with pinned(cpu):
        found = _run(command(talk, url, seconds), seconds + GRACE)
    return Load(int(found["messages"]), found["rate"])


def probe(talk: Talk, url: str) -> None:
    """Raises InvalidRun unless the server sends messages back as it should, and OSError if it is not there yet."""
    _run([*command(talk, url, 1), "--probe"], GRACE)


def _run(argv: list[str], timeout: float) -> dict[str, float]:
    try:
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise InvalidRun(f"the client did not end within {timeout:g} s") from None
    if done.returncode == UNAVAILABLE:
        raise ConnectionRefusedError(done.stderr.strip())
    if done.returncode:
        raise InvalidRun(f"the client failed: {done.stderr.strip()[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found
