"""parse_url: the parts of a URL, as http-parser cuts it."""

from __future__ import annotations

import pytest
from esg_parser import URL, InvalidURL, parse_url


def url(**parts):
    return URL(**{name: parts.get(name) for name in URL._fields})


def test_every_part():
    assert parse_url(b"https://user:pw@a.example:8443/b/c%20d?e=f&g#h") == URL(
        schema=b"https",
        host=b"a.example",
        port=8443,
        path=b"/b/c%20d",
        query=b"e=f&g",
        fragment=b"h",
        userinfo=b"user:pw",
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (b"/", {"path": b"/"}),
        (b"/a?b", {"path": b"/a", "query": b"b"}),
        (b"/a?b?c", {"path": b"/a", "query": b"b?c"}),
        (b"/a#b?c", {"path": b"/a", "fragment": b"b?c"}),
        (b"/a?b#c", {"path": b"/a", "query": b"b", "fragment": b"c"}),
        (b"//a/b", {"path": b"//a/b"}),
        (b"*", {"path": b"*"}),
        (b"http://a", {"schema": b"http", "host": b"a"}),
        (b"http://a/", {"schema": b"http", "host": b"a", "path": b"/"}),
        (b"http://a?b", {"schema": b"http", "host": b"a", "query": b"b"}),
        (b"http://a:1", {"schema": b"http", "host": b"a", "port": 1}),
        (b"http://a:65535/", {"schema": b"http", "host": b"a", "port": 65535, "path": b"/"}),
        (b"http://a:080/", {"schema": b"http", "host": b"a", "port": 80, "path": b"/"}),
        (b"HTTP://A.Example/", {"schema": b"HTTP", "host": b"A.Example", "path": b"/"}),
        (b"ftp://a/b", {"schema": b"ftp", "host": b"a", "path": b"/b"}),
        (b"http://192.0.2.1/", {"schema": b"http", "host": b"192.0.2.1", "path": b"/"}),
        (b"http://u@a/", {"schema": b"http", "host": b"a", "path": b"/", "userinfo": b"u"}),
        (b"http://u:@a/", {"schema": b"http", "host": b"a", "path": b"/", "userinfo": b"u:"}),
    ],
)
def test_parts(text, parts):
    assert parse_url(text) == url(**parts)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (b"http://[::1]/", b"::1", None),
        (b"http://[::1]:8080/", b"::1", 8080),
        (b"http://[2001:db8::ffff:192.0.2.1]:1/", b"2001:db8::ffff:192.0.2.1", 1),
        (b"http://[fe80::1%25eth0]/", b"fe80::1%25eth0", None),
    ],
)
def test_ipv6_addresses_come_without_brackets(text, host, port):
    parsed = parse_url(text)
    assert (parsed.host, parsed.port) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"/ a",
        b"/a\r\n",
        b"/a\x00",
        b"a",
        b"a/b",
        b"?a",
        b"#a",
        b"http",
        b"http:",
        b"http:/a",
        b"http://",
        b"http:///a",
        b"http://:80/",
        b"http://a:/",
        b"http://a:b/",
        b"http://a:65536/",
        b"http://a:-1/",
        b"http://a b/",
        b"http://[::1/",
        b"http://::1/",
        b"http://u@/",
        b"http://u@v@a/",
        b"1http://a/",
    ],
)
def test_invalid(text):
    with pytest.raises(InvalidURL):
        parse_url(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [(b"a.example:443", b"a.example", 443), (b"192.0.2.1:1", b"192.0.2.1", 1), (b"[::1]:65535", b"::1", 65535)],
)
def test_authority_form(text, host, port):
    assert parse_url(text, connect=True) == url(host=host, port=port)
    with pytest.raises(InvalidURL):
        parse_url(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"a.example",
        b":443",
        b"a:",
        b"a:b",
        b"a:65536",
        b"a:1/",
        b"a:1?b",
        b"http://a:1",
        b"/",
        b"*",
        b"a:1:2",
        b"::1:2",
    ],
)
def test_not_authority_form(text):
    with pytest.raises(InvalidURL, match="is not host:port"):
        parse_url(text, connect=True)


def test_an_invalid_url_is_shown_in_part():
    with pytest.raises(InvalidURL, match=r"^b'a+' is not a URL$") as caught:
        parse_url(b"a" * 60000)
    assert len(str(caught.value)) < 300
    assert isinstance(caught.value, ValueError)


def test_longest():
    path = b"/" + b"a" * 65534
    assert parse_url(path).path == path
    with pytest.raises(InvalidURL, match="a URL of 65536 bytes is longer than 65535"):
        parse_url(path + b"a")


@pytest.mark.parametrize("value", ["/", bytearray(b"/"), memoryview(b"/"), None, 1])
def test_only_bytes(value):
    with pytest.raises(TypeError):
        parse_url(value)
