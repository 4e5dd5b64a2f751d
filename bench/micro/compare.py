"""Two ways of doing a thing, timed in turn in one process: what counts is the ratio."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

ROUNDS = 15


def compare(first: tuple[str, Callable[[], object]], second: tuple[str, Callable[[], object]], calls: int) -> float:
    """Print the CPU nanoseconds of one call of each and the median ratio first / second, and return the ratio.

    Args:
        first: a name and what to call.
        second: the other name and what to call.
        calls: how often each is called in a round.
    """
    times = [(_cpu_time(first[1], calls), _cpu_time(second[1], calls)) for _ in range(ROUNDS)]
    ratio = median(one / other for one, other in times)
    for at, (name, _) in enumerate((first, second)):
        print(f"{name:48} {median(pair[at] for pair in times) / calls * 1e9:10.0f} ns")
    print(f"{'ratio':48} {ratio:10.2f}")
    return ratio


def _cpu_time(call: Callable[[], object], calls: int) -> float:
    start = time.process_time()
    for _ in range(calls):
        call()
    return time.process_time() - start
