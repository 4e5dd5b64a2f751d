from __future__ import annotations

from typing import Any

import pytest
from esg.config import Config
from esg.headers import read_headers


def test_headers() -> None:
    lines = ["X-Frame-Options: DENY", "x-empty:", "X-Colons:a:b : c\t", "X-Latin:caf\xe9"]
    assert read_headers(lines) == [
        (b"x-frame-options", b"DENY"),
        (b"x-empty", b""),
        (b"x-colons", b"a:b : c"),
        (b"x-latin", b"caf\xe9"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("X-Name", "headers: 'X-Name' is no header, write it as 'X-Name:value'"),
        (":value", "is no header, write it as"),
        ("X Name:value", "is no header, write it as"),
        ("X-N\xe4me:value", "is no header, write it as"),
        ("X-Name:a\r\nSet-Cookie: b", "has a control character"),
        ("X-Name:\0", "has a control character"),
        ("X-Name:\u20ac", "has a character that headers cannot have"),
        ("Content-Length:5", "the server frames its messages itself"),
        ("transfer-encoding:chunked", "the server frames its messages itself"),
        ("Date:today", "--no-date-header leaves the server's out"),
        ((b"X-Name", b"value"), "is not a str, write it as 'X-Name:value'"),
    ],
)
def test_what_may_not_be_sent(line: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Config("x:y", headers=("X-Good:1", line))
    assert message in str(caught.value)


def test_pairs_as_uvicorns_callers_write_them() -> None:
    assert Config("x:y", headers=[("X-Name", "a: b"), "X-Other:c"]).headers == ("X-Name:a: b", "X-Other:c")  # type: ignore[arg-type, list-item]
