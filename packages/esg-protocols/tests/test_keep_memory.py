"""Freed memory stays at hand: large blocks are not cleared by the system again each time."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
if "keep" in sys.argv:
    from esg_protocols.memory import keep_freed_memory
    assert keep_freed_memory()
for _ in range(100):
    blocks = [bytes(256_000) for _ in range(4)]
    blocks.clear()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    blocks = [bytes(256_000) for _ in range(4)]
    blocks.clear()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*arguments: str) -> int:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_large_blocks_are_kept() -> None:
    without, with_it = page_faults(), page_faults("keep")
    assert without > 10_000
    assert with_it < 1_000
