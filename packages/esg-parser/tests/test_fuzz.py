"""A bounded run of the fuzzer: the targets on the installed modules, and on ones built with sanitizers."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from tools.fuzz import run
from tools.fuzz.build import ROOT, Missing, build, cache_of, find_gcc

from . import fuzz_targets
from .cases import escape, unescape
from .fuzz_targets import CHOICES, PLAIN, TARGETS, inputs, seeds

EXECUTIONS = 20_000


@pytest.mark.parametrize("target", TARGETS)
def test_seeds(target):
    for data in seeds(target):
        TARGETS[target](data)
        TARGETS[target](data[: CHOICES - 1])


@pytest.mark.parametrize("target", TARGETS)
def test_bounded(target):
    assert run.rounds(fuzz_targets, target, EXECUTIONS, seconds=0, seed=1) == EXECUTIONS


def test_a_finding_is_told(monkeypatch, capsys):
    monkeypatch.setitem(TARGETS, "requests", lambda data: 1 / 0)
    with pytest.raises(SystemExit):
        run.rounds(fuzz_targets, "requests", 1, seconds=0, seed=1)
    told = capsys.readouterr()
    assert "ZeroDivisionError" in told.err
    data = next(inputs("requests", random.Random(1)))
    assert unescape(told.out.split("```")[1]) == data[CHOICES:]


def test_escape_is_what_a_case_has():
    raw = bytes(range(256)) + b"\\r\r\n\n\\x41"
    assert unescape(escape(raw)) == raw
    assert PLAIN + raw[:0] == bytes(CHOICES)


@pytest.fixture(scope="module")
def sanitized():
    try:
        return build("esg-parser", find_gcc())
    except Missing as missing:
        pytest.skip(f"!!! NOTHING WAS FUZZED WITH SANITIZERS: {missing}")


@pytest.mark.once
@pytest.mark.parametrize("target", TARGETS)
def test_bounded_with_sanitizers(sanitized, target):
    command = [sys.executable, "-m", "tools.fuzz.run", "esg-parser", target, "--executions", "4000", "--seed", "2"]
    done = subprocess.run(command, cwd=ROOT, env=sanitized.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4000 executions" in done.stdout
    assert done.stdout.startswith(f"{target}: {cache_of('esg-parser')}")  # not the modules that are installed
