"""Random requests: good ones with what must come out, and the cases of cases/*.md with bytes changed."""

from __future__ import annotations

import random

import pytest

from .cases import read_cases

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

given = hypothesis.given
settings = hypothesis.settings(max_examples=300, deadline=None, derandomize=True, database=None)

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


@st.composite
def requests(draw):
    """The bytes of a good request, and what must come out."""
    path, query = draw(paths), draw(queries)
    target = path if query is None else path + b"?" + query
    version, body, extra = draw(versions), draw(bodies), draw(fields)
    headers = [(b"host", b"a.example")]
    raw = [b"POST " + target + b" HTTP/" + version, b"Host: a.example"]
    for name, before, value, behind in extra:
        headers.append((name.lower(), value))
        raw.append(name + b":" + before + value + behind)
    if isinstance(body, list) and version == b"1.0":
        body = b"".join(body)
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
    return b"\r\n".join([*raw, b"", content]), (target, query or b"", version.decode(), headers, body)


@st.composite
def cut(draw, raw):
    places = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    return [raw[start:end] for start, end in zip([0, *places], [*places, len(raw)], strict=True)]


SEEDS = [case.raw for case in read_cases() if case.answers is None]
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
]


def mutate(chance: random.Random, raw: bytes) -> bytes:
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(raw) + 1)
        other = chance.choice(SEEDS)
        start = chance.randrange(len(other))
        new = chance.choice(
            [b"", b"", chance.choice(SPICE), chance.randbytes(1), other[start : start + chance.randrange(30)]]
        )
        raw = raw[:at] + new + raw[at + chance.choice([0, 0, 1, 1, chance.randrange(20)]) :]
    return raw
