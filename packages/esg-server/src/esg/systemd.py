"""systemd and a service: sockets that it has opened (sd_listen_fds(3)), what it wants to know (sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
import time

from esg.config import StartupError

logger = logging.getLogger("esg.error")

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START: systemd passes descriptors from here on."""
# Seconds that systemd may take for a message. Its queue is never full for long; a server must not hang if it is.
_PATIENCE = 1.0


def has_sockets() -> bool:
    """Whether systemd has opened sockets for this process, and not for another one that passed its variables on."""
    return os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS", "0") != "0"


def take_sockets() -> list[tuple[int, str]]:
    """Descriptors with their names, once: the variables go, so that no child process believes they are its own.

    Raises:
        StartupError: when there are none, or the variables make no sense.
    """
    if not has_sockets():
        raise StartupError("systemd has opened no sockets for this process: start it by a .socket unit")
    count, names = os.environ["LISTEN_FDS"], os.environ.get("LISTEN_FDNAMES", "")
    for variable in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(variable, None)
    if not (count.isascii() and count.isdecimal()):
        raise StartupError(f"LISTEN_FDS={count} is not a number of sockets")
    numbers = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count))
    # Without names they are all called so (sd_listen_fds_with_names(3)).
    given = names.split(":") if names else ["unknown"] * len(numbers)
    return list(zip(numbers, given, strict=False))


class Notifier:
    """Tells systemd how the service is; of no effect where nobody wants to know.

    The main process of a service makes one; what its children say systemd does not believe (``NotifyAccess=main``).

    Args:
        address: of systemd's socket, a path or, with @, an abstract name.
        watchdog: seconds of silence after which systemd ends the service; 0 is any.
    """

    def __init__(self, address: str | None = None, watchdog: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address is not None and address.startswith("@") else address
        # Half of the time, so that a tick that comes late is no failure (sd_watchdog_enabled(3)).
        self._interval = watchdog / 2
        self._due = 0.0

    @classmethod
    def from_environment(cls) -> Notifier:
        """As systemd has asked for it."""
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        is_for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watchdog = int(microseconds) / 1e6 if is_for_us and microseconds.isdecimal() else 0.0
        return cls(os.environ.get("NOTIFY_SOCKET") or None, watchdog)

    def ready(self, status: str) -> None:
        """The service serves, for the first time or after :meth:`reloading`."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self, status: str = "Reloading") -> None:
        """The service takes in its configuration anew; :meth:`ready` ends it."""
        # Without the time Type=notify-reload would take it for an older message.
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", f"STATUS={status}")

    def stopping(self, status: str = "Shutting down") -> None:
        """The service ends."""
        self._send("STOPPING=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """A line for ``systemctl status``."""
        self._send(f"STATUS={status}")

    def next_tick(self) -> float | None:
        """When :meth:`tick` has something to say again, on the monotonic clock; None if it never has."""
        return self._due if self._interval else None

    def tick(self) -> None:
        """Called once a second by whatever must not stand still: keeps the watchdog quiet."""
        now = time.monotonic()
        if self._interval and now >= self._due:
            self._due = now + self._interval
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(_PATIENCE)
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            logger.warning("systemd cannot be told %s: %s", lines[0], error)
