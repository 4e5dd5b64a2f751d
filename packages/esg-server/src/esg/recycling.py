"""When a process has served for long enough: by requests, by age, by memory."""

from __future__ import annotations

import os
import resource
import sys
import time

from esg.config import Config

MIB = 1024 * 1024


class Wear:
    """What a process has been through, held against the most that its configuration lets it.

    Args:
        config: ``limit_max_requests``, ``limit_worker_age``, ``limit_worker_memory``, and the jitters.
    """

    def __init__(self, config: Config) -> None:
        self.requests = 0
        """How many requests are enough; 0 is no limit."""
        if config.limit_max_requests is not None:
            more = round(_by_chance(config.limit_max_requests_jitter))
            # gunicorn's word for no limit is sys.maxsize, to which nothing can be added.
            self.requests = min(config.limit_max_requests + more, sys.maxsize)
        self._begun = time.monotonic()
        self._age = config.limit_worker_age
        if self._age is not None:
            self._age += _by_chance(config.limit_worker_age_jitter)
        self._memory = config.limit_worker_memory

    def reason(self) -> str | None:
        """Why the process should end, other than its requests; to be asked now and then."""
        if self._age is not None and time.monotonic() - self._begun >= self._age:
            return f"{self._age:.0f} seconds (limit_worker_age)"
        if self._memory is not None and (used := memory_in_use() / MIB) > self._memory:
            return f"growing to {used:.0f} MiB (limit_worker_memory)"
        return None


def _by_chance(most: float) -> float:
    if not most:
        return 0.0
    from random import uniform  # a millisecond of every start, for the few that need it

    return uniform(0, most)


def memory_in_use() -> int:
    """Bytes that this process has in memory; where no system tells, the most that it ever had."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
