"""Random messages: good ones with what must come out, and the cases of cases/*.md with bytes changed."""

from __future__ import annotations

import random

import pytest

from .cases import read_cases

hypothesis = pytest.importorskip("hypothesis")

from tools.examples import examples  # noqa: E402

st = hypothesis.strategies
given = hypothesis.given
settings = examples(300)

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
PATH = "abcXYZ019-._~!$&'()*+,;=:@/"
# Names with rules of their own are written on purpose, not by chance.
RULED = {"host", "content-length", "transfer-encoding", "expect", "connection", "upgrade", "proxy-connection"}

names = st.text(TOKEN, min_size=1, max_size=40).filter(lambda name: name.lower() not in RULED)
values = st.binary(max_size=40).map(lambda raw: bytes(b for b in raw if b >= 32 and b != 127).strip(b" "))
whitespace = st.text(" \t", max_size=3).map(str.encode)
fields = st.lists(st.tuples(names.map(str.encode), whitespace, values, whitespace), max_size=30)
paths = st.text(PATH, max_size=60).map(lambda text: ("/" + text).encode())
queries = st.none() | st.text(PATH + "?", max_size=60).map(str.encode)
bodies = st.none() | st.binary(max_size=200) | st.lists(st.binary(min_size=1, max_size=60), max_size=6)
versions = st.sampled_from([b"1.0", b"1.1"])
statuses = st.integers(100, 999).filter(lambda status: status != 101)
reasons = st.binary(max_size=20).map(lambda raw: bytes(b for b in raw if b >= 32 and b != 127 or b == 9))


def with_body(draw, raw, headers, body):
    """The bytes of a message with these lines, and its body; None is no body, a list is chunks."""
    raw, headers = [*raw], [*headers]
    for name, before, value, behind in draw(fields):
        headers.append((name.lower(), value))
        raw.append(name + b":" + before + value + behind)
    if isinstance(body, list):
        headers.append((b"transfer-encoding", b"chunked"))
        raw.append(b"Transfer-Encoding: chunked")
        content = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in body) + b"0\r\n\r\n"
        body = b"".join(body)
    elif body is None:
        content = body = b""
    else:
        headers.append((b"content-length", b"%d" % len(body)))
        raw.append(b"Content-Length: %d" % len(body))
        content = body
    return b"\r\n".join([*raw, b"", content]), headers, body


def body_for(draw, version):
    """HTTP/1.0 has no chunks."""
    body = draw(bodies)
    return b"".join(body) if isinstance(body, list) and version == b"1.0" else body


@st.composite
def requests(draw):
    """The bytes of a good request, and what must come out."""
    path, query, version = draw(paths), draw(queries), draw(versions)
    target = path if query is None else path + b"?" + query
    lines = [b"POST " + target + b" HTTP/" + version, b"Host: a.example"]
    raw, headers, body = with_body(draw, lines, [(b"host", b"a.example")], body_for(draw, version))
    return raw, (target, query or b"", version.decode(), headers, body)


@st.composite
def responses(draw):
    """The bytes of a good response to GET that another may follow, and what must come out."""
    status, reason, version = draw(statuses), draw(reasons), draw(versions)
    body = body_for(draw, version)
    if status < 200 or status in (204, 304):
        body = None
    elif body is None:
        body = b""  # without a length it would end with the input
    lines = [b"HTTP/%b %d %b" % (version, status, reason)]
    raw, headers, body = with_body(draw, lines, [], body)
    return raw, (status, reason, version.decode(), headers, body)


@st.composite
def cut(draw, raw):
    places = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    return [raw[start:end] for start, end in zip([0, *places], [*places, len(raw)], strict=True)]


LIMITS: list[dict[str, int]] = [
    {},
    {},
    {"max_headers": 2},
    {"max_extensions_size": 4},
    {"max_head_size": 60},
    {"max_body_size": 0},
    {"max_body_size": 4},
]
SEEDS = [case.raw for case in read_cases() if case.answers is None]
RESPONSE_SEEDS = [(case.answers, case.raw) for case in read_cases() if case.answers is not None]
RESPONSE_BYTES = [raw for _, raw in RESPONSE_SEEDS]
SPICE = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\x00",
    b":",
    b",",
    b";",
    b"0",
    b"5",
    b"chunked",
    b"\x80",
    b"#",
    b"HTTP/1.1",
    b" 101 ",
    b" 204 ",
]


def mutate(chance: random.Random, raw: bytes, others: list[bytes] = SEEDS) -> bytes:
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(raw) + 1)
        other = chance.choice(others)
        start = chance.randrange(len(other))
        new = chance.choice(
            [b"", b"", chance.choice(SPICE), chance.randbytes(1), other[start : start + chance.randrange(30)]]
        )
        raw = raw[:at] + new + raw[at + chance.choice([0, 0, 1, 1, chance.randrange(20)]) :]
    return raw
