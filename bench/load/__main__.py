"""The command: ``python -m bench.load --help``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence

from bench.arguments import add_outcome, add_peer_python, finish, log, names, refuse, whole

from . import messages, report, wrk
from .measure import Plan, measure
from .servers import SERVERS, Server, installed, pythons, versions
from .workloads import WORKLOADS, Workload

MOST = 600  # rounds, and seconds of a measurement


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    talks = [WORKLOADS[name].talk is not None for name in options.workload]
    program = wrk.find()
    if program is None and not all(talks):
        return refuse(wrk.MISSING)
    if any(talks) and not messages.is_here():
        return refuse(messages.MISSING)
    if missing := {options.server_cpu, options.client_cpu} - os.sched_getaffinity(0):
        return refuse(f"CPU {min(missing)} is not available; choose with --server-cpu and --client-cpu.")
    if shutil.which(options.peer_python) is None:
        return refuse("--peer-python is not a program.")
    return max(_run(WORKLOADS[name], program or "", options) for name in options.workload)


def _run(workload: Workload, program: str, options: argparse.Namespace) -> int:
    """Measures one workload, prints its report and gives the exit status."""
    interpreters = pythons(options.peer_python)
    named = versions(interpreters)
    chosen = _chosen(options.servers or workload.servers)
    if absent := [server for server in chosen if server.name not in named]:
        missing = ", ".join(server.distribution for server in absent)
        if options.servers is not None:
            return refuse(f"not installed: {missing}. Peers are looked for in --peer-python.")
        log(f"left out, because not installed: {missing}")
    plan = Plan(
        workload=workload,
        servers=tuple(server for server in chosen if server.name in named),
        pythons=interpreters,
        rounds=options.rounds,
        seconds=options.seconds,
        warmup=options.warmup,
        server_cpu=options.server_cpu,
        client_cpu=options.client_cpu,
        wrk=program,
    )
    results = measure(plan, log)
    used = sorted({installed(interpreters[server.name])["python"] for server in plan.servers})
    text = report.render(plan, results, named, used)
    print(text)
    if results.failures:
        return refuse(f"invalid, and so not saved: {', '.join(results.failures)}")
    return finish(workload.name, text, (verdict.word for verdict in report.verdicts(plan, results)), options)


def _chosen(named: Sequence[str] | None) -> list[Server]:
    if named is None:
        return [server for server in SERVERS.values() if server.default]
    return [SERVERS[name] for name in named]


def _workloads(text: str) -> list[str]:
    return list(WORKLOADS) if text == "all" else names(WORKLOADS)(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=report.PROGRAM, description="CPU time per request of ASGI servers.")
    add = parser.add_argument
    known = f"of {', '.join(WORKLOADS)}, or all"
    add("--workload", type=_workloads, default="hello", metavar="A,B", help=f"{known} (default: %(default)s)")
    add("--servers", type=names(SERVERS), metavar="A,B", help=f"in this order, of {', '.join(SERVERS)}")
    add("--rounds", type=whole(1, MOST), default=3, help="measurements of every server (default: %(default)s)")
    add("--seconds", type=whole(1, MOST), default=5, help="length of one measurement (default: %(default)s)")
    add("--warmup", type=whole(1, MOST), default=1, help="seconds of load before each (default: %(default)s)")
    add("--server-cpu", type=int, default=0, metavar="N", help="CPU of the servers (default: %(default)s)")
    add("--client-cpu", type=int, default=1, metavar="N", help="CPU of the client (default: %(default)s)")
    add_peer_python(parser)
    add_outcome(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
