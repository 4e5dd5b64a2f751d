"""What holds for any message and any cut, tried on random ones."""

from __future__ import annotations

import random

import pytest
from esg_parser import ParserError

from .feeding import feed, feed_pieces, is_switch, parser_for
from .random_messages import (
    LIMITS,
    RESPONSE_BYTES,
    RESPONSE_SEEDS,
    SEEDS,
    cut,
    given,
    mutate,
    requests,
    responses,
    settings,
    st,
)


@settings
@given(st.data(), st.lists(requests(), min_size=1, max_size=4))
def test_a_good_request_comes_out_as_it_was(data, sent):
    outcome = feed_pieces(data.draw(cut(b"".join(raw for raw, _ in sent))))
    assert outcome.failure is None
    for message, (_, expected) in zip(outcome.messages, sent, strict=True):
        head = message.head
        assert (head.target, head.query_string, head.http_version, head.headers, message.body) == expected
        assert head.path == head.raw_path.decode() == head.target.decode().partition("?")[0]


@settings
@given(st.data(), st.lists(responses(), min_size=1, max_size=4))
def test_a_good_response_comes_out_as_it_was(data, sent):
    outcome = feed_pieces(data.draw(cut(b"".join(raw for raw, _ in sent))), answers="GET")
    assert outcome.failure is None
    for message, (_, expected) in zip(outcome.messages, sent, strict=True):
        head = message.head
        assert (head.status, head.reason, head.http_version, head.headers, message.body) == expected


@settings
@given(st.data(), requests())
def test_any_cut_gives_the_same(data, sent):
    raw, _ = sent
    assert feed_pieces(data.draw(cut(raw))) == feed_pieces([raw])


@settings
@given(st.data(), responses(), st.sampled_from(["GET", "HEAD", "CONNECT"]), st.sampled_from([b"", b"more"]))
def test_any_cut_of_a_response_gives_the_same(data, sent, answers, tail):
    raw = sent[0] + tail
    assert feed_pieces(data.draw(cut(raw)), answers=answers) == feed_pieces([raw], answers=answers)


def assert_any_cut(chance, raw, **options):
    whole = feed_pieces([raw], **options)
    assert feed_pieces([raw[i : i + 1] for i in range(len(raw))], **options) == whole, raw
    for _ in range(3):
        at = chance.randrange(len(raw) + 1)
        assert feed_pieces([raw[:at], raw[at:]], **options) == whole, (raw, at)


def test_any_cut_of_anything_gives_the_same():
    """The cases of cases/*.md with bytes changed: the outcome must not tell how they arrived."""
    chance = random.Random(9112)
    for _ in range(6000):
        limits = chance.choice([*LIMITS, {"max_target_size": 8}])
        assert_any_cut(chance, mutate(chance, chance.choice(SEEDS)), **limits)


def test_any_cut_of_anything_for_a_response_gives_the_same():
    chance = random.Random(9111)
    for _ in range(6000):
        answers, raw = chance.choice(RESPONSE_SEEDS)
        assert_any_cut(chance, mutate(chance, raw, RESPONSE_BYTES), answers=answers, **chance.choice(LIMITS))


@pytest.mark.parametrize("answers", [None, "GET", "HEAD", "CONNECT"])
def test_random_bytes_raise_nothing_else(answers):
    chance = random.Random(9110)
    start = b"" if answers is None else b"HTTP/1.1 2"
    for _ in range(3000):
        parser = parser_for(answers)
        try:
            for data in (start, *(chance.randbytes(chance.randrange(30)) for _ in range(4))):
                if is_switch(parser, list(feed(parser, data))):
                    break
            parser.close()
        except ParserError:
            pass
