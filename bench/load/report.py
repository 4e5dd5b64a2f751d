"""The report: a Markdown table with what one needs to know to believe it, and a line for each goal."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

from . import messages, wrk
from .measure import Plan, Results, Sample
from .workloads import Extra, Goal

PROGRAM = "python -m bench.load"
COLUMNS = (
    "server", "version", "user us", "kernel us", "total us/{unit}", "spread", "{unit}s/s", "busy",
    "x floor", "x uvicorn", "esg / this",
)  # fmt: skip
TEXT_COLUMNS = 2
# A run in which something else used more of the server's CPU than this is not quiet.
NOISE = 0.05


@dataclass(frozen=True)
class Verdict:
    """A goal and what was measured; no figure when one of the two servers was not."""

    goal: Goal
    figure: float | None

    @property
    def word(self) -> str:
        if self.figure is None:
            return "SKIP"
        return "PASS" if self.goal.met(self.figure) else "MISS"

    def __str__(self) -> str:
        measured = "not measured" if self.figure is None else f"{self.figure:.3f}"
        return f"{self.word} {self.goal} ({measured})"


def verdicts(plan: Plan, results: Results) -> list[Verdict]:
    found = []
    for goal in plan.workload.goals:
        measured = results.extra if isinstance(goal, Extra) else results.ratio
        found.append(Verdict(goal, measured(goal.server, goal.reference)))
    return found


def render(plan: Plan, results: Results, versions: dict[str, str], pythons: Iterable[str]) -> str:
    """The whole report as Markdown."""
    sections = [
        f"# {plan.workload.name}: CPU time per {plan.workload.unit}",
        "\n".join(f"- {line}" for line in _header(plan, results, pythons)),
        _table(plan, results, versions),
    ]
    if results.failures:
        sections.append("\n".join(f"**INVALID: {name}: {why}**" for name, why in results.failures.items()))
    sections.append("\n".join(f"- {verdict}" for verdict in verdicts(plan, results)))
    return "\n\n".join(sections) + "\n"


def about(program: str, pythons: Iterable[str]) -> list[str]:
    """When, where and by which command something was measured."""
    return [
        f"date: {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        f"Python: {', '.join(pythons)}",
        f"kernel: {platform.system()} {platform.release()} {platform.machine()}",
        f"CPU: {os.cpu_count()} x {cpu_model()}",
        f"command: `{' '.join([program, *bare(sys.argv[1:])])}`",
    ]


def _header(plan: Plan, results: Results, pythons: Iterable[str]) -> list[str]:
    load = " ".join(bare(_command(plan)))
    samples = [sample for found in results.samples.values() for sample in found]
    return [
        *about(PROGRAM, pythons),
        f"load: `{load}`, after {plan.warmup} s to warm up; {plan.rounds} rounds, medians",
        f"pinned: servers to CPU {plan.server_cpu}, the client to CPU {plan.client_cpu}",
        _counted(samples),
        _noise(samples),
    ]


def _command(plan: Plan) -> list[str]:
    address = f"127.0.0.1:PORT{plan.workload.path}"
    if plan.workload.talk:
        return messages.command(plan.workload.talk, f"ws://{address}", plan.seconds)
    return wrk.command(plan.wrk, plan.workload, f"{plan.workload.scheme}://{address}", plan.seconds)


def _table(plan: Plan, results: Results, versions: dict[str, str]) -> str:
    lines = [
        row(name.format(unit=plan.workload.unit) for name in COLUMNS),
        row(["---"] * TEXT_COLUMNS + ["---:"] * (len(COLUMNS) - TEXT_COLUMNS)),
    ]
    for server in plan.servers:
        samples = results.samples.get(server.name)
        version = versions[server.name]
        cells = _numbers(samples) if samples else ["INVALID", *[""] * 5]
        ratios = [
            results.ratio(server.name, "floor"),
            results.ratio(server.name, "uvicorn"),
            results.ratio("esg", server.name),
        ]
        lines.append(
            row(
                [
                    server.name,
                    version,
                    *cells,
                    *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
                ]
            )
        )
    return "\n".join(lines)


def _numbers(samples: list[Sample]) -> list[str]:
    totals = [sample.total for sample in samples]
    return [
        f"{median(sample.user for sample in samples):.2f}",
        f"{median(sample.kernel for sample in samples):.2f}",
        f"{median(totals):.2f}",
        f"{(max(totals) - min(totals)) / median(totals):.1%}",
        f"{median(sample.rate for sample in samples):,.0f}",
        f"{median(sample.busy for sample in samples):.0%}",
    ]


def _counted(samples: list[Sample]) -> str:
    sources = sorted({sample.source for sample in samples})
    tick = 1000 // os.sysconf("SC_CLK_TCK")
    return f"counted from: {' and '.join(sources) or 'nothing'}; user and kernel split by ticks of {tick} ms"


def _noise(samples: list[Sample]) -> str:
    if not samples:
        return "other work on the server's CPU: unknown"
    others = [sample.others for sample in samples]
    warning = " - NOT A QUIET MACHINE, do not believe small differences" if max(others) > NOISE else ""
    return f"other work on the server's CPU: median {median(others):.1%}, at most {max(others):.1%}{warning}"


def row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def bare(argv: Iterable[str]) -> list[str]:
    """The arguments without the folders of this machine. A URL and an option's own text stay."""
    return [Path(arg).name if os.sep in arg and "://" not in arg else arg for arg in argv]


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
