"""CPU time of a process tree, from /proc.

The total is the scheduler's own count, in nanoseconds: /proc/PID/task/TID/schedstat, summed over all threads
of the server and its descendants. Only the split into user and kernel comes from utime and stime in
/proc/PID/stat: those are ticks of usually 10 ms, on most kernels sampled by the timer interrupt, so they
give a share and not a time. Where schedstat is missing, the ticks give the total too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# A thread that ended takes its schedstat with it, but not its ticks: the two counts are then further apart.
AGREEMENT = 0.03


@dataclass(frozen=True)
class Stat:
    """The fields of /proc/PID/stat that matter here; times in ticks."""

    parent: int
    user: int
    kernel: int


@dataclass(frozen=True)
class Snapshot:
    """CPU time so far: ticks per process, and nanoseconds per thread (empty without schedstat)."""

    ticks: dict[int, Stat]
    threads: dict[tuple[int, int], int]


@dataclass(frozen=True)
class Used:
    """CPU seconds between two snapshots, and what they were counted from."""

    user: float
    kernel: float
    source: str

    @property
    def total(self) -> float:
        return self.user + self.kernel


def read_stat(pid: int) -> Stat | None:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold anything, so count from the last one: proc_pid_stat(5).
    fields = text[text.rindex(")") + 1 :].split()
    return Stat(parent=int(fields[1]), user=int(fields[11]), kernel=int(fields[12]))


def tree(root: int) -> list[int]:
    """The process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(PROC):
        if entry.isdigit() and (stat := read_stat(int(entry))) is not None:
            children.setdefault(stat.parent, []).append(int(entry))
    found = [root]
    for pid in found:  # grows while it is walked
        found.extend(children.get(pid, ()))
    return found


def threads(pid: int) -> list[int]:
    try:
        return [int(tid) for tid in os.listdir(PROC / str(pid) / "task")]
    except (FileNotFoundError, ProcessLookupError):
        return []


def snapshot(root: int) -> Snapshot:
    ticks: dict[int, Stat] = {}
    nanoseconds: dict[tuple[int, int], int] = {}
    for pid in tree(root):
        if (stat := read_stat(pid)) is None:
            continue
        ticks[pid] = stat
        for tid in threads(pid):
            if (runtime := _runtime(pid, tid)) is not None:
                nanoseconds[pid, tid] = runtime
    return Snapshot(ticks, nanoseconds)


def used(before: Snapshot, after: Snapshot) -> Used:
    """CPU time between the two. Processes and threads that are new count in full."""
    none = Stat(0, 0, 0)
    user = sum(stat.user - before.ticks.get(pid, none).user for pid, stat in after.ticks.items())
    kernel = sum(stat.kernel - before.ticks.get(pid, none).kernel for pid, stat in after.ticks.items())
    in_ticks = (user + kernel) / TICKS_PER_SECOND
    exact = sum(value - before.threads.get(key, 0) for key, value in after.threads.items()) / 1e9
    slack = AGREEMENT * in_ticks + 2 / TICKS_PER_SECOND
    total, source = (exact, "schedstat") if exact >= in_ticks - slack else (in_ticks, "ticks")
    share = user / (user + kernel) if user + kernel else 0.0
    return Used(total * share, total * (1 - share), source)


def busy(cpu: int) -> float:
    """Seconds that one CPU has spent on anything, time stolen by the hypervisor included."""
    for line in (PROC / "stat").read_text().splitlines():
        name, *values = line.split()
        if name == f"cpu{cpu}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, values[:8])
            return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND
    raise RuntimeError(f"there is no CPU {cpu}")


def _runtime(pid: int, tid: int) -> int | None:
    try:
        return int((PROC / str(pid) / "task" / str(tid) / "schedstat").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return None
