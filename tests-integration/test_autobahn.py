"""Autobahn's cases for WebSocket servers, as kosoku has them, against the echo of the examples.

Here the native codec gets the core cases, and of those about compression one section. ``ESG_TEST_AUTOBAHN=all`` runs
all 517 with every codec, which takes some minutes; docs/autobahn.md keeps what came of it.
"""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kosoku")

pytestmark = pytest.mark.once

CASES = {
    "core": ["--exclude=9.*", "--exclude=12.*", "--exclude=13.*"],
    "performance": ["--include=9.*"],
    "deflate": ["--include=12.*", "--include=13.*"],
    "12.1": ["--include=12.1.*"],
}
BRIEF = [("core", "esg", "asyncio"), ("core", "esg", "uvloop"), ("12.1", "esg", "asyncio")]
ALL = [
    (part, codec, "uvloop") for part in ("core", "performance", "deflate") for codec in ("esg", "websockets", "wsproto")
]
KNOWN = {"websockets": {"7.1.5"}}
"""Cases that a library fails: it takes a close frame inside a fragmented message for an error."""
LONGEST = 1200
"""Seconds that kosoku may take for a part; on an idle machine the longest takes a third of it."""


def fuzz(server: Any, part: str, folder: Path) -> dict[str, Any]:
    """Run the cases of a part, and return what came of each."""
    program = Path(sys.executable).with_name("kosoku")
    command = [program, f"--outdir={folder}", *CASES[part], f"127.0.0.1:{server.port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode in (0, 1), done.stderr  # 1: a case has failed
    # A case that comes to no handshake has no name of a server.
    reports = json.loads((folder / "index.json").read_text()).values()
    return {case: outcome for report in reports for case, outcome in report.items()}


def count(outcomes: dict[str, Any]) -> list[str]:
    counts = collections.Counter(outcome["behavior"] for outcome in outcomes.values())
    named = [counts.pop(kind, 0) for kind in ("OK", "NON-STRICT", "INFORMATIONAL")]
    return [str(number) for number in (len(outcomes), *named, sum(counts.values()))]


def failed(outcomes: dict[str, Any]) -> set[str]:
    good = {"OK", "NON-STRICT", "INFORMATIONAL"}
    return {case for case, outcome in outcomes.items() if not {outcome["behavior"], outcome["behaviorClose"]} <= good}


@pytest.mark.parametrize(("part", "codec", "loop"), ALL if os.environ.get("ESG_TEST_AUTOBAHN") == "all" else BRIEF)
def test_cases(serve: Any, tmp_path: Path, conformance: Any, part: str, codec: str, loop: str) -> None:
    for library in {codec, loop} - {"esg", "asyncio"}:
        pytest.importorskip(library)
    # kosoku fails where the answer to a compressed message is none, which is allowed: all are compressed here.
    # And it takes a ping of ours for a wrong answer, so there are none in cases that take long.
    options = ("--ws", codec, "--loop", loop, "--ws-deflate-min-size=0", "--ws-ping-interval=0", "--no-access-log")
    server = serve("examples.websocket_echo:app", *options)
    outcomes = fuzz(server, part, tmp_path)
    conformance.append(
        (part, f"{codec} {version('esg-protocols' if codec == 'esg' else codec)}", loop, *count(outcomes))
    )
    assert failed(outcomes) == KNOWN.get(codec, set()) & outcomes.keys()
