"""The opening handshake: what is accepted, what is refused and how, and what the answer holds."""

from __future__ import annotations

from typing import Any

import pytest
from esg_parser import RequestParser
from esg_protocols.errors import LocalProtocolError, RemoteProtocolError
from esg_protocols.fields import is_token, is_value
from esg_protocols.settings import Settings
from esg_protocols.websocket import DeflateParameters, ServerHandshake, is_handshake, refusal_fields

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # that of RFC 6455 section 1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HEADERS = {
    b"host": b"server.example.com",
    b"upgrade": b"websocket",
    b"connection": b"Upgrade",
    b"sec-websocket-key": KEY,
    b"sec-websocket-version": b"13",
}


def shake(*more: tuple[bytes, bytes], **changed: bytes | None) -> ServerHandshake:
    headers = HEADERS | {name.replace("_", "-").encode(): value for name, value in changed.items()}  # type: ignore[operator]
    fields = [(name, value) for name, value in headers.items() if value is not None]
    return ServerHandshake("GET", "1.1", fields + list(more))


def test_the_example_of_the_rfc() -> None:
    """RFC 6455 section 1.2, from its bytes to its bytes."""
    head, *_ = RequestParser().feed(
        b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n"
        b"Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert is_handshake(head.method, head.upgrade)
    handshake = ServerHandshake(head.method, head.http_version, head.headers)
    assert handshake.subprotocols == ["chat", "superchat"]
    assert handshake.deflate is None
    assert handshake.send_accept("chat", [(b"x-a", b"b")], defaults=b"server: esg\r\n") == (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: " + ACCEPT + b"\r\nsec-websocket-protocol: chat\r\nx-a: b\r\nserver: esg\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "upgrade", "expected"),
    [
        ("GET", b"websocket", True),
        ("GET", b"h2c, websocket", True),
        ("GET", b"h2c", False),
        ("GET", b"websockets", False),
        ("GET", None, False),
        ("POST", b"websocket", False),
    ],
)
def test_which_requests_are_handshakes(method: str, upgrade: bytes | None, expected: bool) -> None:
    assert is_handshake(method, upgrade) is expected


@pytest.mark.parametrize(
    "changed",
    [
        {"upgrade": b"WebSocket"},
        {"upgrade": b"h2c, websocket"},
        {"connection": b"keep-alive, Upgrade"},
        {"connection": b"upgrade"},
        {"sec_websocket_key": b"AAAAAAAAAAAAAAAAAAAAAA=="},
        {"sec_websocket_protocol": b""},
        {"sec_websocket_extensions": b""},
    ],
    ids=str,
)
def test_accepted(changed: dict[str, bytes]) -> None:
    handshake = shake(**changed)
    assert (handshake.subprotocols, handshake.offers) == ([], [])
    names = [name for name, _ in handshake.response_headers()]
    assert names == [b"upgrade", b"connection", b"sec-websocket-accept"]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"host": None}, 400),
        ({"upgrade": None}, 400),
        ({"upgrade": b"h2c"}, 400),
        ({"connection": None}, 400),
        ({"connection": b"keep-alive"}, 400),
        ({"sec_websocket_key": None}, 400),
        ({"sec_websocket_key": b""}, 400),
        ({"sec_websocket_key": KEY[:-4]}, 400),
        ({"sec_websocket_key": KEY + b"AAAA"}, 400),
        ({"sec_websocket_key": KEY[:-1]}, 400),
        ({"sec_websocket_key": b"dGhlIHNhbXBsZSBub25jZ@=="}, 400),
        ({"sec_websocket_key": b"dGhlIHNhbXBsZSBub25jZQA="}, 400),
        ({"sec_websocket_key": KEY + b"\n"}, 400),
        ({"sec_websocket_version": None}, 426),
        ({"sec_websocket_version": b""}, 426),
        ({"sec_websocket_version": b"8"}, 426),
        ({"sec_websocket_version": b"013"}, 426),
        ({"sec_websocket_version": b"13, 8"}, 426),
        ({"sec_websocket_protocol": b"a b"}, 400),
        ({"sec_websocket_protocol": b"a, b, a"}, 400),
        ({"sec_websocket_protocol": b"caf\xe9"}, 400),
        ({"sec_websocket_extensions": b"a b"}, 400),
        ({"sec_websocket_extensions": b"a; =b"}, 400),
    ],
    ids=str,
)
def test_refused(changed: dict[str, Any], status: int) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        shake(**changed)
    assert raised.value.status == status


@pytest.mark.parametrize("name", [b"sec-websocket-key", b"sec-websocket-version", b"host"], ids=bytes.decode)
def test_fields_that_must_not_be_there_twice(name: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        shake((name, HEADERS[name]))


@pytest.mark.parametrize(("method", "version"), [("POST", "1.1"), ("HEAD", "1.1"), ("GET", "1.0"), ("GET", "0.9")])
def test_requests_that_cannot_be_one(method: str, version: str) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        ServerHandshake(method, version, list(HEADERS.items()))
    assert raised.value.status == 400


def test_what_goes_with_a_refusal() -> None:
    assert b"\r\nsec-websocket-version: 13\r\n" in refusal_fields(426)
    assert refusal_fields(400) == b""


def test_lists_in_several_lines() -> None:
    more = [(b"sec-websocket-protocol", b"a, b"), (b"sec-websocket-protocol", b",c ,"), (b"upgrade", b"h2c")]
    extensions = [(b"sec-websocket-extensions", b"x; y"), (b"sec-websocket-extensions", b"permessage-deflate")]
    handshake = shake(*more, *extensions)
    assert handshake.subprotocols == ["a", "b", "c"]
    assert [offer.name for offer in handshake.offers] == ["x", "permessage-deflate"]
    assert handshake.deflate == DeflateParameters(server_max_window_bits=12)


def test_deflate_is_agreed_on() -> None:
    handshake = shake(sec_websocket_extensions=b"permessage-deflate; client_max_window_bits")
    expected = b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
    assert (b"sec-websocket-extensions", expected) in handshake.response_headers()
    off = ServerHandshake(
        "GET",
        "1.1",
        [*HEADERS.items(), (b"sec-websocket-extensions", b"permessage-deflate")],
        Settings(ws_per_message_deflate=False),
    )
    assert off.deflate is None
    assert len(off.response_headers()) == 3


@pytest.mark.parametrize("subprotocol", ["c", "A", "", "a\r\nx: y"])
def test_a_subprotocol_that_was_not_offered(subprotocol: str) -> None:
    with pytest.raises(LocalProtocolError, match="not among those offered"):
        shake(sec_websocket_protocol=b"a, b").send_accept(subprotocol)


@pytest.mark.parametrize(
    "field",
    [
        (b"x-a", b"b\r\nx-c: d"),
        (b"x-a", b"\x00"),
        (b"x-a", b"\x7f"),
        (b"x a", b"b"),
        (b"x-a:", b"b"),
        (b"", b"b"),
        ("x-a", b"b"),
        (b"x-a", "b"),
        (b"x-a",),
        (b"x-a", b"b", b"c"),
        None,
        (b"Upgrade", b"h2c"),
        (b"connection", b"close"),
        (b"Sec-WebSocket-Accept", ACCEPT),
        (b"sec-websocket-protocol", b"a"),
        (b"sec-websocket-extensions", b"permessage-deflate"),
        (b"content-length", b"0"),
        (b"Transfer-Encoding", b"chunked"),
    ],
    ids=str,
)
def test_fields_that_must_not_go_on_the_wire(field: Any) -> None:
    with pytest.raises(LocalProtocolError):
        shake().send_accept(None, [(b"x-good", b"\tgood \xff"), field])


def test_fields_of_the_application() -> None:
    fields = [(b"Set-Cookie", b"a=b"), [b"set-cookie", b"c=d"], (b"x-empty", b"")]
    lines = shake().send_accept(None, fields).split(b"\r\n")
    assert lines[4:] == [b"Set-Cookie: a=b", b"set-cookie: c=d", b"x-empty: ", b"", b""]


@pytest.mark.parametrize("byte", range(256))
def test_the_rule_for_fields(byte: int) -> None:
    """RFC 9110 sections 5.6.2 and 5.5."""
    data = bytes([byte])
    assert is_token(data) is (data.isalnum() or data in b"!#$%&'*+-.^_`|~")
    assert is_value(data) is (byte == 9 or 32 <= byte < 127 or byte >= 128)
    for size in range(1, 20):
        for at in range(size):  # several bytes are looked at together
            assert is_value(b"a" * at + data + b"\xff" * (size - at - 1)) is is_value(data)
    assert not is_token(b"")
    assert is_value(b"")
