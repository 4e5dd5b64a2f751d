"""Who is trusted, and that nothing which a client writes is taken for what a proxy has added."""

from __future__ import annotations

from typing import Any

import pytest
from esg.config import Config
from esg.proxy import DEFAULT_ALLOW, Forwarding, TrustedPeers
from hypothesis import example, given
from hypothesis import strategies as st

SERVER = ("127.0.0.1", 8000)


@pytest.mark.parametrize(
    ("allow", "peer", "trusted"),
    [
        (DEFAULT_ALLOW, "127.0.0.1", True),
        (DEFAULT_ALLOW, "::1", True),
        (DEFAULT_ALLOW, "0:0:0:0:0:0:0:1", True),
        (DEFAULT_ALLOW, "::ffff:127.0.0.1", True),
        (DEFAULT_ALLOW, "127.0.0.2", False),
        (DEFAULT_ALLOW, "10.0.0.1", False),
        ("10.0.0.0/8, 2001:db8::/32", "10.255.0.1", True),
        ("10.0.0.0/8, 2001:db8::/32", "::ffff:10.255.0.1", True),
        ("10.0.0.0/8, 2001:db8::/32", "11.0.0.1", False),
        ("10.0.0.0/8, 2001:db8::/32", "2001:DB8::9", True),
        ("10.0.0.0/8, 2001:db8::/32", "2001:db9::9", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("fe80::1", "fe80::1%eth0", True),
        ("*", "203.0.113.7", True),
        ("10.0.0.1, *", "203.0.113.7", True),
        ("*", "no address", True),
        ("10.0.0.1", "no address", False),
        ("", "127.0.0.1", False),
        (" , ", "127.0.0.1", False),
    ],
)
def test_peers(allow: str, peer: str, trusted: bool) -> None:
    assert TrustedPeers(allow).has_peer((peer, 4711), SERVER) is trusted


@pytest.mark.parametrize("allow", ["10.0.0.1,::1", ["10.0.0.1", "::1"], ("10.0.0.1,::1",)])
def test_one_text_or_several(allow: Any) -> None:
    assert Config("x:y", forwarded_allow_ips=allow).forwarded_allow_ips == "10.0.0.1,::1"


@pytest.mark.parametrize(
    ("allow", "path", "trusted"),
    [
        (DEFAULT_ALLOW, "/run/esg.sock", True),
        ("unix", "/run/esg.sock", True),
        ("/run/esg.sock", "/run/esg.sock", True),
        ("/run/other.sock", "/run/esg.sock", False),
        ("@esg", "\0esg", True),
        ("@esg", "esg", False),
        ("127.0.0.1", "/run/esg.sock", False),
        ("_proxy", "_proxy", True),
        ("*", "/run/esg.sock", True),
    ],
)
def test_unix_sockets(allow: str, path: str, trusted: bool) -> None:
    assert TrustedPeers(allow).has_peer(None, (path, None)) is trusted


@pytest.mark.parametrize("allow", ["127.0.0.1", DEFAULT_ALLOW, ""])
def test_a_peer_of_no_kind(allow: str) -> None:
    assert not TrustedPeers(allow).has_peer(None, None)
    assert not TrustedPeers(allow).has_peer(None, SERVER)
    assert Forwarding(allow, "Forwarded")(None, None) is None


@pytest.mark.parametrize(
    "allow", ["localhost", "10.0.0.0/33", "10.0.0.1/8", "unix:", "::1/", "127.1", "1", "300.0.0.1"]
)
def test_what_is_no_peer(allow: str) -> None:
    with pytest.raises(ValueError, match=allow):
        TrustedPeers(f"127.0.0.1, {allow}")


# What matters to those who read the fields, more often than the rest.
WRITTEN = st.one_of(
    st.text(st.sampled_from('for=proto=host=;;,,""\\\\ \t[]:._-0123456789abcdefhttps')),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")),
    st.lists(
        st.sampled_from(
            ["for=", '"', "\\", "10.0.0.1", "[::1]", "203.0.113.9", ",", ";", "x=", "proto=http", "host=evil", " "]
        )
    ).map("".join),
)


def told(fields: str, *lines: tuple[bytes, str]) -> dict[str, Any]:
    """A scope after what these lines say, from a proxy at 127.0.0.1 behind others in 10.0.0.0/8."""
    headers = [(b"host", b"a.example"), *((name, value.encode("latin-1")) for name, value in lines)]
    scope = {"client": ("127.0.0.1", 4711), "server": SERVER, "scheme": "http", "headers": headers}
    before = headers[:]
    change = Forwarding("127.0.0.1, 10.0.0.0/8", fields)(scope["client"], SERVER)  # type: ignore[arg-type]
    assert change is not None
    change(scope)
    assert headers == before
    return scope


@given(WRITTEN)
@example("10.0.0.1," * 40)
@example("127.0.0.1")
def test_x_forwarded_for_is_what_the_proxy_adds(written: str) -> None:
    name = b"x-forwarded-for"
    for lines in ([(name, f"{written}, 203.0.113.7")], [(name, written), (name, "203.0.113.7")]):
        assert told("X-Forwarded-For", *lines)["client"] == ("203.0.113.7", 0)
    # Behind two of them.
    assert told("X-Forwarded-For", (name, f"{written},203.0.113.7,10.0.0.1"))["client"] == ("203.0.113.7", 0)


@given(WRITTEN)
@example('for=10.0.0.1;x="')
@example('for=10.0.0.1;x="\\')
@example('x="')
@pytest.mark.parametrize(
    "added", ["for=203.0.113.7;proto=https", 'for="[2001:db8::7]:4711";proto=https;host="b.example"']
)
def test_forwarded_is_what_the_proxy_adds(added: str, written: str) -> None:
    honest = told("Forwarded", (b"forwarded", added))
    assert honest["client"] in (("203.0.113.7", 0), ("2001:db8::7", 4711))
    # In a line of its own; in the same line it may be spoilt, but then it is nobody's.
    assert told("Forwarded", (b"forwarded", written), (b"forwarded", added)) == {
        **honest,
        "headers": [*honest["headers"][:1], (b"forwarded", written.encode("latin-1")), *honest["headers"][1:]],
    }
    spoilt = told("Forwarded", (b"forwarded", f"{written}, {added}"))
    seen = (spoilt["client"], spoilt["scheme"], spoilt["headers"][0])
    assert seen in (
        (honest["client"], honest["scheme"], honest["headers"][0]),
        (None, "http", (b"host", b"a.example")),
    )


@given(
    WRITTEN,
    st.sampled_from(["x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-host", "forwarded"]),
)
def test_whatever_comes_is_no_error(written: str, name: str) -> None:
    scope = told(name, (name.encode(), written))
    assert scope["client"] is None or isinstance(scope["client"][1], int)
    assert scope["scheme"] in ("http", "https")
    assert 0 < scope["server"][1] <= 65535
    assert [key for key, _ in scope["headers"]] == [b"host", name.encode()]
