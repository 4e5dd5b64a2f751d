"""What a client might send, made up by hypothesis: good requests, damaged ones, and what only looks like one."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from esg_parser import ParserError, RequestParser

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /path?query HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
]

BYTES = st.one_of(st.sampled_from(b"\r\n\t \x00:;,/?#%0159afGHP\xff"), st.integers(0, 255))


def method_of_the_bad_one(data: bytes) -> str:
    """The method of the request in there that is refused, if it can be told: the answer to HEAD has no body."""
    parser = RequestParser()
    with contextlib.suppress(ParserError):
        parser.feed(data)
        while parser.pending():
            parser.feed(b"")
    return parser.method or "GET"


@st.composite
def streams(draw: Any) -> bytes:
    """Requests behind one another, some of them damaged."""
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["set", "insert", "delete", "cut", "repeat"]))
        if kind == "set" and at < len(data):
            data[at] = draw(BYTES)
        elif kind == "insert":
            data.insert(at, draw(BYTES))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 10))]
        elif kind == "cut":
            del data[at:]
        elif kind == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 40))]
    return bytes(data)


# What stands in a request's places, mostly as it should and now and then as it should not.
LINE_ENDS = st.sampled_from([b"\r\n"] * 30 + [b"\n", b"\r", b"\r\r\n", b"\r\n "])
SPACES = st.sampled_from([b" "] * 20 + [b"", b"  ", b"\t"])
METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"DELETE"] * 4 + [b"CONNECT", b"get", b"PRI"])
TARGETS = st.sampled_from([b"/", b"/a%20b?c", b"http://b/c", b"//x", b"*", b"b:80", b"?", b"/\xff", b"/a#b"])
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 20 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b""])
FIELDS = st.sampled_from(
    [
        b"Host: b",
        b"X-Empty:",
        b"X-Text: \xe9\xff",
        b"X-Control: \x01",
        b"X-Space : 1",
        b": 1",
        b"Content-Length: 3",
        b"Content-Length: 0",
        b"Content-Length: +3",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: identity",
        b"Connection: close",
        b"Connection: keep-alive, upgrade",
        b"Upgrade: websocket",
        b"Expect: 100-continue",
        b"Expect: 200-maybe",
    ]
)
BODIES = st.sampled_from(
    [b"", b"", b"abc", b"3\r\nabc\r\n", b"0\r\n\r\n", b"0\r\nX: 1\r\n\r\n", b"3;a=b\r\nabc\r\n0\r\n\r\n"]
)


@st.composite
def garbage(draw: Any) -> bytes:
    """Requests put together from parts that may not belong together."""
    data = b""
    for _ in range(draw(st.integers(1, 3))):
        data += draw(METHODS) + draw(SPACES) + draw(TARGETS) + draw(SPACES) + draw(VERSIONS) + draw(LINE_ENDS)
        for field in [b"Host: a", *draw(st.lists(FIELDS, max_size=3))]:
            data += field + draw(LINE_ENDS)
        data += draw(LINE_ENDS) + b"".join(draw(st.lists(BODIES, max_size=2)))
    return data


anything = st.one_of(streams(), garbage(), st.binary(max_size=60))


@st.composite
def cut(draw: Any, data: bytes) -> list[bytes]:
    """The same bytes in pieces."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@st.composite
def pieces(draw: Any) -> list[bytes]:
    data: bytes = draw(anything)
    parts: list[bytes] = draw(cut(data))
    return parts
