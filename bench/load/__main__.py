"""The command: ``python -m bench.load --help``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from . import report, wrk
from .measure import Plan, measure
from .servers import SERVERS, Server, installed, versions
from .workloads import WORKLOADS

RESULTS = Path(__file__).parents[1] / "results"
MOST = 600  # rounds, and seconds of a measurement
INVALID = 2  # exit status when there is nothing to believe; 1 is for a goal that --check found missed


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    program = wrk.find()
    if program is None:
        return _refuse(wrk.MISSING)
    if missing := {options.server_cpu, options.client_cpu} - os.sched_getaffinity(0):
        return _refuse(f"CPU {min(missing)} is not available; choose with --server-cpu and --client-cpu.")
    if shutil.which(options.peer_python) is None:
        return _refuse("--peer-python is not a program.")
    peers = options.peer_python
    pythons = {name: sys.executable if server.ours else peers for name, server in SERVERS.items()}
    named = versions(pythons)
    workload = WORKLOADS[options.workload]
    chosen = [s for s in _chosen(options.servers) if workload.servers is None or s.name in workload.servers]
    if absent := [server for server in chosen if server.name not in named]:
        names = ", ".join(server.distribution for server in absent)
        if options.servers is not None:
            return _refuse(f"not installed: {names}. Peers are looked for in --peer-python.")
        _log(f"left out, because not installed: {names}")
    plan = Plan(
        workload=workload,
        servers=tuple(server for server in chosen if server.name in named),
        pythons=pythons,
        rounds=options.rounds,
        seconds=options.seconds,
        warmup=options.warmup,
        server_cpu=options.server_cpu,
        client_cpu=options.client_cpu,
        wrk=program,
    )
    return _run(plan, named, options)


def _run(plan: Plan, named: dict[str, str], options: argparse.Namespace) -> int:
    results = measure(plan, _log)
    pythons = sorted({installed(plan.pythons[server.name])["python"] for server in plan.servers})
    text = report.render(plan, results, named, pythons)
    print(text)
    if results.failures:
        return _refuse(f"invalid, and so not saved: {', '.join(results.failures)}")
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / report.file_name(plan)
        path.write_text(text)
        _log(f"saved as bench/results/{path.name}")
    words = {verdict.word for verdict in report.verdicts(plan, results)}
    return int(options.check and ("MISS" in words or words == {"SKIP"}))


def _chosen(names: list[str] | None) -> list[Server]:
    if names is None:
        return [server for server in SERVERS.values() if server.default]
    return [SERVERS[name] for name in names]


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in SERVERS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(SERVERS)}")
    return names


def _bounded(text: str) -> int:
    if not 1 <= (number := int(text)) <= MOST:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MOST}")
    return number


def _parser() -> argparse.ArgumentParser:
    peers = os.environ.get("ESG_BENCH_PEER_PYTHON", sys.executable)
    parser = argparse.ArgumentParser(prog=report.PROGRAM, description="CPU time per request of ASGI servers.")
    add = parser.add_argument
    add("--workload", choices=WORKLOADS, default="hello", help="what to send (default: %(default)s)")
    add("--servers", type=_names, metavar="A,B", help=f"in this order, of {', '.join(SERVERS)}")
    add("--rounds", type=_bounded, default=3, help="measurements of every server (default: %(default)s)")
    add("--seconds", type=_bounded, default=5, help="length of one measurement (default: %(default)s)")
    add("--warmup", type=_bounded, default=1, help="seconds of load before each (default: %(default)s)")
    add("--server-cpu", type=int, default=0, metavar="N", help="CPU of the servers (default: %(default)s)")
    add("--client-cpu", type=int, default=1, metavar="N", help="CPU of wrk (default: %(default)s)")
    add("--peer-python", metavar="PATH", default=peers, help="who has the peers, or ESG_BENCH_PEER_PYTHON")
    add("--save", action="store_true", help="also write the report to bench/results/")
    add("--check", action="store_true", help="exit with 1 when a goal is missed")
    return parser


def _log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _refuse(message: str) -> int:
    _log(message)
    return INVALID


if __name__ == "__main__":
    sys.exit(main())
