"""Offers of extensions: their grammar, and which of permessage-deflate is agreed on."""

from __future__ import annotations

from typing import Any

import pytest
from esg_protocols.settings import Settings
from esg_protocols.websocket.extensions import DeflateParameters, Offer, choose_deflate, parse_extensions


@pytest.mark.parametrize(
    ("value", "offers"),
    [
        ("", []),
        (" , ,", []),
        ("a", [Offer("a", [])]),
        ("A , b;C", [Offer("a", []), Offer("b", [("c", None)])]),
        ("a;b=c", [Offer("a", [("b", "c")])]),
        ("a ; b = c ; d", [Offer("a", [("b", "c"), ("d", None)])]),
        ('a; b="c"; d="\\e"', [Offer("a", [("b", "c"), ("d", "e")])]),
        ("a; b; b", [Offer("a", [("b", None), ("b", None)])]),
        ("a,a;\tx\t=\t1\t,", [Offer("a", []), Offer("a", [("x", "1")])]),
    ],
)
def test_offers(value: str, offers: list[Offer]) -> None:
    assert parse_extensions(value) == offers


@pytest.mark.parametrize(
    "value",
    [
        "a b",
        ";",
        ";a",
        "a;",
        "a;;b",
        "a;b=",
        "a;=b",
        "a=b",
        "a;b=c d",
        "a/b",
        "é",
        'a;b="',
        'a;b="c d"',
        'a;b=""',
        'a;b="c',
    ]
    + ['a;b="c"d', 'a;b="\\"', "a,b c", "a\r\nb", "a;b\x00"],
)
def test_what_breaks_the_grammar(value: str) -> None:
    with pytest.raises(ValueError):
        parse_extensions(value)


def test_a_long_field_takes_linear_work() -> None:
    for value in ("a;" + " " * 60000, 'a;b="' + "\\" * 60000, "a" * 60000 + '="', "a" + ";b" * 30000 + " x"):
        with pytest.raises(ValueError):
            parse_extensions(value)


PMD = "permessage-deflate"


def agree(value: str, **settings: Any) -> DeflateParameters | None:
    return choose_deflate(parse_extensions(value), Settings(**{"ws_deflate_window_bits": 15, **settings}))


@pytest.mark.parametrize(
    ("offer", "settings", "answer"),
    [
        ("", {}, ""),
        ("; client_max_window_bits", {}, "; client_max_window_bits=15"),
        ("; client_max_window_bits=10", {}, "; client_max_window_bits=10"),
        ("; client_max_window_bits=8", {}, "; client_max_window_bits=8"),
        (
            "; client_max_window_bits=15",
            {"ws_deflate_window_bits": 9},
            "; server_max_window_bits=9; client_max_window_bits=9",
        ),
        ("; server_max_window_bits=9", {}, "; server_max_window_bits=9"),
        ("; server_max_window_bits=15", {}, ""),
        ("; server_max_window_bits=14", {"ws_deflate_window_bits": 10}, "; server_max_window_bits=10"),
        ("", {"ws_deflate_window_bits": 12}, "; server_max_window_bits=12"),
        ("; server_no_context_takeover", {}, "; server_no_context_takeover"),
        ("; client_no_context_takeover", {}, "; client_no_context_takeover"),
        ("", {"ws_deflate_no_context_takeover": True}, "; server_no_context_takeover; client_no_context_takeover"),
        ('; server_max_window_bits="10"', {}, "; server_max_window_bits=10"),
        (", " + PMD + "; server_max_window_bits=9", {}, ""),
        ("; x, other, " + PMD + "; server_max_window_bits=9", {}, "; server_max_window_bits=9"),
    ],
)
def test_accepted(offer: str, settings: dict[str, Any], answer: str) -> None:
    agreed = agree(PMD + offer, **settings)
    assert agreed is not None
    assert agreed.to_field().decode() == PMD + answer


@pytest.mark.parametrize(
    "offer",
    [
        "; unknown",
        "; server_max_window_bits",
        "; server_max_window_bits=8",  # zlib has no such compressor
        "; server_max_window_bits=7",
        "; server_max_window_bits=16",
        "; server_max_window_bits=010",
        "; server_max_window_bits=1.5",
        "; client_max_window_bits=7",
        "; client_max_window_bits=16",
        "; client_max_window_bits=x",
        "; server_no_context_takeover=1",
        "; client_no_context_takeover=true",
        "; client_no_context_takeover; client_no_context_takeover",
        "; server_max_window_bits=10; server_max_window_bits=10",
    ],
)
def test_declined(offer: str) -> None:
    assert agree(PMD + offer) is None
    assert agree(PMD + offer + ", " + PMD) == DeflateParameters()


def test_other_extensions_are_not_known() -> None:
    assert agree("x-webkit-deflate-frame") is None
    assert agree("") is None


def test_a_client_that_cannot_be_limited_may_use_all() -> None:
    agreed = agree(PMD, ws_deflate_window_bits=9)
    assert agreed is not None
    assert agreed.client_max_window_bits == 15
