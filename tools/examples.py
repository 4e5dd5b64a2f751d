"""How many examples a property is tested with, and which: the same ones each time, unless more are asked for.

With others each time CI would fail by chance, behind a change that has nothing to do with it. So the search is a step
of its own: ``ESG_TEST_EXAMPLES=20 tox run -e py313-protocols`` has twenty times as many, and other ones each time.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

VARIABLE = "ESG_TEST_EXAMPLES"


def examples(number: int) -> Any:
    """hypothesis' settings for so many examples, times what the variable says."""
    text = os.environ.get(VARIABLE, "1")
    if not text.isdecimal() or int(text) == 0:
        raise SystemExit(f"{VARIABLE} is how many times the usual examples there are to be, 1 or more, not {text!r}")
    times = int(text)
    return settings(
        max_examples=number * times,
        derandomize=times == 1,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
