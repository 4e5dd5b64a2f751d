"""What is accepted and what is not: every case of cases/*.md, and the page that explains them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .cases import read_cases, unescape
from .feeding import NEXT, feed_pieces, outcome_of

CASES = list(read_cases())
PAGE = Path(__file__).parents[3] / "docs/strictness.md"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case):
    outcome = outcome_of(case.raw)
    if case.status is None:
        assert outcome.failure is None
    else:
        assert outcome.failure[:2] == (case.status, case.kind)
    facts = dict(case.facts)
    assert len(outcome.messages) == facts.pop("messages", 1 if case.status is None else 0)
    for name, value in facts.items():
        message = outcome.messages[0]
        assert getattr(message if name in ("body", "trailers") else message.head, name) == value


@pytest.mark.parametrize("case", [c for c in CASES if c.status is None], ids=lambda case: case.name)
def test_next_request_is_untouched(case):
    alone, following = feed_pieces([case.raw]), feed_pieces([NEXT])
    outcome = outcome_of(case.raw + NEXT)
    assert outcome.failure is None
    assert outcome.messages == alone.messages + following.messages


@pytest.mark.parametrize("case", [c for c in CASES if c.status is None], ids=lambda case: case.name)
def test_behind_another_request(case):
    alone, before = feed_pieces([case.raw]), feed_pieces([NEXT])
    assert outcome_of(NEXT + case.raw).messages == before.messages + alone.messages


@pytest.mark.parametrize("case", [c for c in CASES if c.status], ids=lambda case: case.name)
def test_offset_counts_from_the_message(case):
    alone, before = feed_pieces([case.raw]), feed_pieces([NEXT])
    outcome = outcome_of(NEXT + case.raw)
    assert outcome.failure == alone.failure
    assert outcome.messages == before.messages + alone.messages


def test_names_are_unique():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


def test_escapes():
    assert unescape("a\\r\\n\nb\\t\\x00\\xff\\\\n") == b"a\r\nb\t\x00\xff\\n"


def test_page_has_every_case():
    if not PAGE.exists():
        pytest.skip("docs/ is not here: the package stands alone")
    page = PAGE.read_text(encoding="utf-8").partition("\n## Limits\n")[0]  # test_limits.py has those
    rows = re.findall(r"^\| (.+?) \| (\d+|accepted) \| .+ \|$", page, re.MULTILINE)
    assert sorted(rows) == sorted((case.name, str(case.status or "accepted")) for case in CASES)
