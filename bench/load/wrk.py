"""Runs wrk and reads what it prints."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from .messages import Load
from .process import InvalidRun, pinned
from .workloads import Workload

MISSING = "wrk was not found: install Debian's package wrk (apt install wrk)."
GRACE = 15.0  # seconds that wrk may take beyond its own duration

_SUMMARY = re.compile(r"^\s*(\d+) requests in ", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s*([\d.]+)", re.MULTILINE)
_TROUBLE = re.compile(r"^\s*((?:Socket errors|Non-2xx or 3xx responses):.*)$", re.MULTILINE)


def find() -> str | None:
    return shutil.which("wrk")


def command(wrk: str, workload: Workload, url: str, seconds: int) -> list[str]:
    script = [f"-s{Path(__file__).parent / workload.script}"] if workload.script else []
    return [wrk, *workload.wrk, f"-d{seconds}s", *script, url]


def run(wrk: str, workload: Workload, url: str, seconds: int, cpu: int) -> Load:
    """One run of wrk on one CPU. Raises InvalidRun when wrk saw any error."""
    argv = command(wrk, workload, url, seconds)
    try:
        with pinned(cpu):
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        output, _ = _finish(process, seconds + GRACE)
    except subprocess.TimeoutExpired:
        raise InvalidRun(f"wrk did not end within {seconds + GRACE:g} s") from None
    if process.returncode:
        raise InvalidRun(f"wrk failed with {process.returncode}: {output.strip()}")
    return parse(output)


def parse(output: str) -> Load:
    """Reads wrk's report; raises InvalidRun for its error lines, and for a report without requests."""
    if trouble := _TROUBLE.findall(output):
        raise InvalidRun("wrk reports " + "; ".join(line.strip() for line in trouble))
    summary, rate = _SUMMARY.search(output), _RATE.search(output)
    if summary is None or rate is None or not int(summary[1]):
        raise InvalidRun(f"wrk counted no requests: {output.strip()}")
    return Load(int(summary[1]), float(rate[1]))


def _finish(process: subprocess.Popen[str], timeout: float) -> tuple[str, str | None]:
    try:
        return process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
