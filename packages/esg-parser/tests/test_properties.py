"""What holds for any request and any cut, tried on random ones."""

from __future__ import annotations

import random

from esg_parser import ParserError, RequestParser

from .feeding import feed, feed_pieces
from .random_requests import SEEDS, cut, given, mutate, requests, settings, st


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
@given(st.data(), requests())
def test_any_cut_gives_the_same(data, sent):
    raw, _ = sent
    assert feed_pieces(data.draw(cut(raw))) == feed_pieces([raw])


def test_any_cut_of_anything_gives_the_same():
    """The cases of cases/*.md with bytes changed: the outcome must not tell how they arrived."""
    chance = random.Random(9112)
    for _ in range(6000):
        raw = mutate(chance, chance.choice(SEEDS))
        limits = chance.choice(
            [
                {},
                {},
                {"max_headers": 2},
                {"max_target_size": 8, "max_extensions_size": 4},
                {"max_head_size": 60},
            ]
        )
        whole = feed_pieces([raw], **limits)
        assert feed_pieces([raw[i : i + 1] for i in range(len(raw))], **limits) == whole, raw
        for _ in range(3):
            at = chance.randrange(len(raw) + 1)
            assert feed_pieces([raw[:at], raw[at:]], **limits) == whole, (raw, at)


def test_random_bytes_raise_nothing_else():
    chance = random.Random(9110)
    for _ in range(3000):
        parser = RequestParser()
        try:
            for _ in range(4):
                list(feed(parser, chance.randbytes(chance.randrange(30))))
            parser.close()
        except ParserError:
            pass
