"""When a process has had enough: the limits, and their chance."""

from __future__ import annotations

import mmap
import signal
from collections.abc import Callable
from typing import Any

import pytest
from esg import Config
from esg.recycling import MIB, Wear, memory_in_use


def wear(**options: Any) -> Wear:
    return Wear(Config("example:app", **options))


def test_no_limits() -> None:
    assert wear().requests == 0
    assert wear().reason() is None


def test_jitter() -> None:
    assert {wear(limit_max_requests=10).requests for _ in range(20)} == {10}
    seen = {wear(limit_max_requests=10, limit_max_requests_jitter=2).requests for _ in range(200)}
    assert seen == {10, 11, 12}


def test_gunicorns_word_for_no_limit() -> None:
    most = 2**63 - 1
    assert wear(limit_max_requests=most, limit_max_requests_jitter=most).requests == most


def test_memory_is_what_is_there_now() -> None:
    before = memory_in_use()
    with mmap.mmap(-1, 64 * MIB) as block:
        block.write(b"x" * len(block))
        assert memory_in_use() >= before + 60 * MIB
        assert "limit_worker_memory" in str(wear(limit_worker_memory=before // MIB + 30).reason())
    if memory_in_use() < before + 30 * MIB:  # where no system tells, it is the most that there ever was
        assert wear(limit_worker_memory=before // MIB + 40).reason() is None


@pytest.mark.parametrize("option", ["limit_worker_age", "limit_worker_memory", "limit_max_requests"])
def test_a_limit_of_nothing_is_none(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option}: 0 is too small"):
        wear(**{option: 0})


def test_a_process_by_itself_stops(start: Callable[..., Any]) -> None:
    process = start("example:app", "--limit-worker-age=1", "--limit-worker-age-jitter=0.1")
    process.port()
    process.wait_for("WARNING:  Stopping after 1 seconds (limit_worker_age)")
    assert process.end()[0] == 0


def test_a_stop_by_signal_is_not_said_to_be_another(start: Callable[..., Any]) -> None:
    process = start("example:app", "--limit-worker-age=1000")
    process.port()
    process.signal(signal.SIGTERM)
    status, _, err = process.end()
    assert status == -signal.SIGTERM
    assert "Stopping after" not in err
