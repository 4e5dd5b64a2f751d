"""The same bytes given to h11: what both accept they must see alike; other differences have a reason in h11_peer.py."""

from __future__ import annotations

import random

import pytest

from .cases import read_cases
from .feeding import read
from .h11_peer import KNOWN, compare, explain
from .random_messages import (
    RESPONSE_BYTES,
    RESPONSE_SEEDS,
    SEEDS,
    given,
    mutate,
    requests,
    responses,
    settings,
)

CASES = list(read_cases())
# What is known and shown by no case: they would only say that nothing is wrong.
MORE = [
    b"GET / HTTP/1.2\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 000000000000000000001\r\n\r\n!",
    b"GET / HTTP/1.1\r\nHost: a.example\r\n" + b"X: y\r\n" * 100 + b"\r\n",
]


def difference(raw, answers=None):
    return compare(raw, read([raw], answers=answers), answers)


@settings
@given(requests())
def test_good_requests(sent):
    raw, _ = sent
    assert difference(raw) is None


@settings
@given(responses())
def test_good_responses(sent):
    raw, _ = sent
    assert difference(raw, "GET") is None


def label(case):
    return case.name if case.answers is None else f"{case.name}, to {case.answers}"


@pytest.mark.parametrize("case", CASES, ids=label)
def test_case(case):
    found = difference(case.raw, case.answers)
    assert found is None or explain(found), found


def test_every_known_difference_is_met():
    """What no case shows any more is no longer known."""
    found = [difference(case.raw, case.answers) for case in CASES] + [difference(raw) for raw in MORE]
    assert {explain(one) for one in found if one is not None} == {known.why for known in KNOWN}


def test_requests_with_bytes_changed():
    chance = random.Random(9113)
    for _ in range(8000):
        found = difference(mutate(chance, chance.choice(SEEDS)))
        assert found is None or explain(found), found


def test_responses_with_bytes_changed():
    chance = random.Random(9114)
    for _ in range(8000):
        answers, raw = chance.choice(RESPONSE_SEEDS)
        found = difference(mutate(chance, raw, RESPONSE_BYTES), answers)
        assert found is None or explain(found), found
