"""Signals that servers handle, and what a hangup means."""

from __future__ import annotations

import os
import signal

STOPPING = (signal.SIGINT, signal.SIGTERM)
"""The first stops gracefully, a second one forces."""


class Hangup:
    """Tells the two meanings of SIGHUP apart: an operator asks for a reload, or the terminal was closed.

    Without this a server in a terminal would outlive its window, and keep its port. To be made at the start.
    """

    def __init__(self) -> None:
        # Who begins with the signal ignored was started with nohup, to outlive the terminal.
        self._terminal = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and _has_terminal()

    def means_stop(self) -> bool:
        """Whether the terminal that was there is gone."""
        return self._terminal and not _has_terminal()


def _has_terminal() -> bool:
    """Whether the process has a controlling terminal; the system takes it away before it sends the signal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
