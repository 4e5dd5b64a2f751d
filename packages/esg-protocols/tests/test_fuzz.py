"""A bounded run of the fuzzer on the installed modules; ``python -m tools.fuzz esg-protocols`` is without bounds."""

from __future__ import annotations

import pytest

from tools.fuzz import run

from . import fuzz_targets
from .fuzz_targets import CHOICES, TARGETS, seeds

pytest.importorskip("websockets", reason="websockets is not installed: NOTHING IS FUZZED")
pytest.importorskip("wsproto", reason="wsproto is not installed: NOTHING IS FUZZED")

EXECUTIONS = 10_000


@pytest.mark.parametrize("target", TARGETS)
def test_seeds(target: str) -> None:
    for data in seeds(target):
        TARGETS[target](data)
        TARGETS[target](data[: CHOICES - 1])


@pytest.mark.parametrize("target", TARGETS)
def test_bounded(target: str) -> None:
    assert run.rounds(fuzz_targets, target, EXECUTIONS, seconds=0, seed=1) == EXECUTIONS
