"""The measurement: all servers are up, each gets a short window per round, and there are many rounds.

A shared machine changes its speed from second to second. Windows of a second, one server right behind the other, make
each ratio one of neighbours in time, and the median over the rounds leaves out those in which the speed changed.
"""

from __future__ import annotations

import contextlib
import operator
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from . import cputime, messages, wrk
from .messages import Load
from .probes import prove
from .process import InvalidRun, ServerProcess
from .servers import Server
from .workloads import Workload

# Seconds for a server to fall asleep before its times are read: those of a running thread lag by a tick.
SETTLE = 0.05


@dataclass(frozen=True)
class Plan:
    """What to measure and how long. CPU numbers are the kernel's."""

    workload: Workload
    servers: tuple[Server, ...]
    pythons: dict[str, str]  # the interpreter of each server, by its name
    rounds: int
    seconds: int
    warmup: int
    server_cpu: int
    client_cpu: int
    wrk: str  # the program; empty where WebSockets are measured


@dataclass(frozen=True)
class Sample:
    """One server in one round. Times in microseconds per request, which is a message on WebSockets."""

    user: float
    kernel: float
    rate: float
    busy: float  # share of the window in which the server ran
    others: float  # share of the window that its CPU spent on anything else
    source: str

    @property
    def total(self) -> float:
        return self.user + self.kernel


@dataclass
class Results:
    """The samples of every server, by round, and why some have none."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def ratio(self, server: str, reference: str) -> float | None:
        """Median over the rounds of server / reference; each ratio is of two neighbours in time."""
        return self._compared(server, reference, operator.truediv)

    def extra(self, server: str, reference: str) -> float | None:
        """Median over the rounds of server - reference, in microseconds."""
        return self._compared(server, reference, operator.sub)

    def _compared(self, server: str, reference: str, how: Callable[[float, float], float]) -> float | None:
        ours, theirs = self.samples.get(server), self.samples.get(reference)
        if not ours or not theirs:
            return None
        return median(how(one.total, other.total) for one, other in zip(ours, theirs, strict=True))


def measure(plan: Plan, log: Callable[[str], None]) -> Results:
    """All rounds. A server that fails is reported, loses its samples and is left out of the rounds after."""
    results = Results({server.name: [] for server in plan.servers})
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(ServerProcess(server, plan.pythons[server.name], plan.workload, plan.server_cpu))
            for server in plan.servers
        ]
        for number in range(plan.rounds + 1):
            for process in processes:
                if process.server.name not in results.failures:
                    _round(plan, process, number, results, log)
    return results


def _round(plan: Plan, process: ServerProcess, number: int, results: Results, log: Callable[[str], None]) -> None:
    """One window of one server; round 0 starts it and warms it up."""
    name = process.server.name
    try:
        if number == 0:
            process.wait_ready(prove)
            _load(plan, process, plan.warmup)
            process.check_pinned()
            return
        sample = _measured(plan, process)
    except InvalidRun as error:
        log(f"--- output of {name}\n{process.output() or '(none)'}\n---")
        log(f"INVALID: {name}, round {number}: {error}")
        results.failures[name] = str(error)
        results.samples.pop(name, None)
        return
    results.samples[name].append(sample)
    log(f"round {number}/{plan.rounds}: {name} {sample.total:.2f} us, {sample.rate:.0f}/s")


def _load(plan: Plan, process: ServerProcess, seconds: int) -> Load:
    if plan.workload.talk:
        return messages.run(plan.workload.talk, process.url, seconds, plan.client_cpu)
    return wrk.run(plan.wrk, plan.workload, process.url, seconds, plan.client_cpu)


def _measured(plan: Plan, process: ServerProcess) -> Sample:
    time.sleep(SETTLE)
    began, before, busy = time.monotonic(), cputime.snapshot(process.pid), cputime.busy(plan.server_cpu)
    result = _load(plan, process, plan.seconds)
    time.sleep(SETTLE)
    after, busy = cputime.snapshot(process.pid), cputime.busy(plan.server_cpu) - busy
    window = time.monotonic() - began
    process.check_alive()
    if lost := before.ticks.keys() - after.ticks.keys():
        raise InvalidRun(f"processes of the server ended during the measurement: {sorted(lost)}")
    used = cputime.used(before, after)
    return Sample(
        user=used.user / result.requests * 1e6,
        kernel=used.kernel / result.requests * 1e6,
        rate=result.rate,
        busy=used.total / window,
        others=max(0.0, busy - used.total) / window,
        source=used.source,
    )
