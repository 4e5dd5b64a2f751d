"""What is accepted and what is not: every case of cases/*.md, and the page that explains them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from esg_parser import END, ResponseParser

from .cases import read_cases, unescape
from .feeding import feed, feed_pieces, is_switch, next_of, outcome_of, parser_for

CASES = list(read_cases())
PAGE = Path(__file__).parents[3] / "docs/strictness.md"


def ends_by_itself(case):
    """Whether another message can follow: not behind a switch, nor where the end of the input is the end."""
    parser = parser_for(case.answers)
    events = list(feed(parser, case.raw))
    return events[-1] is END and not is_switch(parser, events)


def label(case):
    return case.name if case.answers is None else f"{case.name}, to {case.answers}"


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=label)


ACCEPTED = [case for case in CASES if case.status is None]
FOLLOWED = [case for case in ACCEPTED if ends_by_itself(case)]
LAST = [case for case in ACCEPTED if case not in FOLLOWED]


@each(CASES)
def test_case(case):
    outcome = outcome_of(case.raw, answers=case.answers)
    if case.status is None:
        assert outcome.failure is None
    else:
        assert outcome.failure[:2] == (case.status, case.kind)
    facts = dict(case.facts)
    assert len(outcome.messages) == facts.pop("messages", 1 if case.status is None else 0)
    for name, value in facts.items():
        assert fact_of(outcome.messages[0], name) == value


def fact_of(message, name):
    if name == "switched":
        return message.upgrade
    return getattr(message if name in ("body", "trailers") else message.head, name)


@each(FOLLOWED)
def test_next_message_is_untouched(case):
    alone = feed_pieces([case.raw], answers=case.answers)
    following = feed_pieces([next_of(case.answers)], answers=case.answers)
    outcome = outcome_of(case.raw + next_of(case.answers), answers=case.answers)
    assert outcome.failure is None
    assert outcome.messages == alone.messages + following.messages


@each(LAST)
def test_nothing_is_parsed_behind_the_last_message(case):
    *before, last = feed_pieces([case.raw], answers=case.answers).messages
    tail = next_of(case.answers)
    if last.upgrade:
        parser = parser_for(case.answers)
        list(feed(parser, case.raw + tail))
        assert parser.trailing_data == tail
    else:
        last = last._replace(body=last.body + tail)
    assert outcome_of(case.raw + tail, answers=case.answers) == (before + [last], None)


@each(ACCEPTED)
def test_behind_another_message(case):
    before = feed_pieces([next_of(case.answers)], answers=case.answers)
    alone = feed_pieces([case.raw], answers=case.answers)
    outcome = outcome_of(next_of(case.answers) + case.raw, answers=case.answers)
    assert outcome.messages == before.messages + alone.messages


@each([case for case in CASES if case.status])
def test_offset_counts_from_the_message(case):
    before = feed_pieces([next_of(case.answers)], answers=case.answers)
    alone = feed_pieces([case.raw], answers=case.answers)
    outcome = outcome_of(next_of(case.answers) + case.raw, answers=case.answers)
    assert outcome.failure == alone.failure
    assert outcome.messages == before.messages + alone.messages


def test_both_kinds_are_here():
    assert {type(parser_for(case.answers)) is ResponseParser for case in CASES} == {True, False}
    assert LAST and all(case.answers for case in LAST)


def test_names_are_unique():
    for responses in (False, True):
        names = [case.name for case in CASES if (case.answers is not None) is responses]
        assert len(names) == len(set(names))


def test_escapes():
    assert unescape("a\\r\\n\nb\\t\\x00\\xff\\\\n") == b"a\r\nb\t\x00\xff\\n"


def rows(page, start, end):
    """The first two cells of each row between two places in the page."""
    part = page.partition(start)[2].partition(end)[0]
    found = re.findall(r"^\| (.+?) \| (\w+) \| .+ \|$", part, re.MULTILINE)
    return sorted(row for row in found if row != ("Input", "Answer"))


def test_page_has_every_case():
    if not PAGE.exists():
        pytest.skip("docs/ is not here: the package stands alone")
    page = PAGE.read_text(encoding="utf-8")
    requests = rows(page, "\n## Request line\n", "\n## Limits\n")  # test_limits.py has those
    responses = rows(page, "\n## Responses received\n", "\n## Responses sent\n")
    assert requests == sorted((c.name, str(c.status or "accepted")) for c in CASES if c.answers is None)
    assert responses == sorted((c.name, c.kind or "accepted") for c in CASES if c.answers is not None)
