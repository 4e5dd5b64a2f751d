"""What is sent to the servers, and the goals of ESG. A new workload is one more entry in WORKLOADS."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """CPU per request of `server` divided by that of `reference` must stay within `limit`."""

    server: str
    reference: str
    limit: float
    strict: bool = False  # below the limit, not at it

    def met(self, ratio: float) -> bool:
        return ratio < self.limit if self.strict else ratio <= self.limit

    def __str__(self) -> str:
        return f"{self.server} {'<' if self.strict else '<='} {self.limit:g} x {self.reference}"


@dataclass(frozen=True)
class Probe:
    """The request that proves, before measuring, that a server does the work: it answers 200 and `answer`."""

    answer: bytes
    method: str = "GET"
    body: bytes | None = None


@dataclass(frozen=True)
class Workload:
    """One kind of load: the application, how wrk loads it, how the answer is checked, and the goals."""

    name: str
    app: str
    probe: Probe
    goals: tuple[Goal, ...]
    path: str = "/"
    wrk: tuple[str, ...] = ("-c64", "-t1")
    script: str | None = None  # a Lua script for wrk, relative to this folder
    servers: frozenset[str] | None = None  # those that can do it; None for all


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload(
            name="hello",
            app="bench.apps.hello:app",
            probe=Probe(answer=b"Hello, world!"),
            goals=(
                Goal("esg", "uvicorn", 0.52),
                Goal("esg", "floor", 1.35),
                Goal("esg", "peregrine", 1.0, strict=True),
            ),
        ),
    )
}
