from __future__ import annotations

import random
import socket
import struct

import pytest
from esg_protocols.errors import RemoteProtocolError
from esg_protocols.proxy_header import V2_BEGIN, V2_LONGEST, ProxyHeader, ProxyHeaderParser, crc32c

KEPT = ProxyHeader()
V4 = ProxyHeader(False, ("203.0.113.7", 51234), ("198.51.100.1", 443))
V6 = ProxyHeader(False, ("2001:db8::7", 51234), ("2001:db8::1", 443))

ADDRESSES_V4 = socket.inet_aton("203.0.113.7") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 51234, 443)
ADDRESSES_V6 = b"".join(socket.inet_pton(socket.AF_INET6, text) for text in ("2001:db8::7", "2001:db8::1"))
ADDRESSES_V6 += struct.pack("!HH", 51234, 443)


def v2(command: int, pair: int, rest: bytes, *, version: int = 2, size: int | None = None) -> bytes:
    length = len(rest) if size is None else size
    return V2_BEGIN + bytes([version << 4 | command, pair]) + length.to_bytes(2, "big") + rest


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


def summed(pair: int, addresses: bytes, *more: bytes) -> bytes:
    """With a checksum in the middle of its fields."""
    empty = v2(1, pair, addresses + tlv(3, bytes(4)) + b"".join(more))
    return v2(1, pair, addresses + tlv(3, crc32c(empty).to_bytes(4, "big")) + b"".join(more))


GOOD = {
    b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443\r\n": V4,
    b"PROXY TCP6 2001:db8::7 2001:DB8:0::1 51234 443\r\n": V6,
    b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n": ProxyHeader(False, ("255.255.255.255", 65535), ("0.0.0.0", 0)),
    b"PROXY UNKNOWN\r\n": KEPT,
    b"PROXY UNKNOWN whatever that may be\r\n": KEPT,
    b"PROXY UNKNOWN " + b"f" * 39 + b" " + b"f" * 39 + b" 65535 65535\r\n": KEPT,  # the longest: 107 bytes
    v2(1, 0x11, ADDRESSES_V4): V4,
    v2(1, 0x21, ADDRESSES_V6): V6,
    v2(1, 0x11, ADDRESSES_V4 + tlv(1, b"h2") + tlv(0xEE, b"") + tlv(4, bytes(300))): V4,
    v2(1, 0x31, b"/run/s".ljust(108, b"\0") * 2): ProxyHeader(False),
    v2(1, 0x00, b""): KEPT,
    v2(1, 0x00, tlv(5, b"id")): KEPT,
    v2(1, 0x12, ADDRESSES_V4): KEPT,
    v2(0, 0x00, b""): KEPT,
    v2(0, 0x11, ADDRESSES_V4): KEPT,
    v2(0, 0xFF, b"ignored"): KEPT,
    v2(0, 0x00, bytes(V2_LONGEST)): KEPT,
    summed(0x11, ADDRESSES_V4): V4,
    summed(0x21, ADDRESSES_V6, tlv(5, b"id")): V6,
}

BAD = {
    b"GET / HTTP/1.1\r\n": "there is none",
    b"\x16\x03\x01": "there is none",
    b"PROXX": "there is none",
    b"proxy TCP4": "there is none",
    b"PROXY\tTCP4": "there is none",
    b"\r\n\r\n\0\r\nQUIX": "there is none",
    b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443" + b" " * 62: "it is longer than 107 bytes",
    b"PROXY UNKNOWN" + b" " * 93 + b"\r\n": "it is longer than 107 bytes",
    b"PROXY UNKNOWN \nGET / HTTP/1.1\r\n": "its line has two ends",
    b"PROXY UNKNOWN \r \r\n": "its line has two ends",
    b"PROXY UNKNOWNS\r\n": "its family is b'UNKNOWNS'",
    b"PROXY \r\n": "its family is b''",
    b"PROXY UDP4 203.0.113.7 198.51.100.1 51234 443\r\n": "its family is b'UDP4'",
    b"PROXY TCP4 203.0.113.7 198.51.100.1 51234\r\n": "it has 3 fields behind the family, not 4",
    b"PROXY TCP4 203.0.113.7  198.51.100.1 51234 443\r\n": "it has 5 fields behind the family, not 4",
    b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443 \r\n": "it has 5 fields behind the family, not 4",
    b"PROXY TCP4 203.0.113.07 198.51.100.1 51234 443\r\n": "b'203.0.113.07' is not an address of its family",
    b"PROXY TCP4 203.0.113 198.51.100.1 51234 443\r\n": "b'203.0.113' is not an address of its family",
    b"PROXY TCP4 203.0.113.7 2001:db8::1 51234 443\r\n": "b'2001:db8::1' is not an address of its family",
    b"PROXY TCP4 203.0.113.7\0 198.51.100.1 1 1\r\n": r"b'203.0.113.7\\x00' is not an address of its family",
    b"PROXY TCP6 203.0.113.7 2001:db8::1 51234 443\r\n": "b'203.0.113.7' is not an address of its family",
    b"PROXY TCP6 fe80::1%eth0 2001:db8::1 51234 443\r\n": "b'fe80::1%eth0' is not an address of its family",
    b"PROXY TCP4 \xff 198.51.100.1 51234 443\r\n": r"b'\\xff' is not an address of its family",
    b"PROXY TCP4 203.0.113.7 198.51.100.1 65536 443\r\n": "b'65536' is not a port",
    b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 0443\r\n": "b'0443' is not a port",
    b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 -1\r\n": "b'-1' is not a port",
    b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443\n\r\n": r"b'443\\n' is not a port",
    v2(1, 0x11, ADDRESSES_V4, version=1): "its version is 1",
    v2(2, 0x11, ADDRESSES_V4): "its command is 2",
    v2(1, 0x41, ADDRESSES_V4): "its family and transport are 0x41",
    v2(1, 0x13, ADDRESSES_V4): "its family and transport are 0x13",
    v2(1, 0x10, ADDRESSES_V4): "its family and transport are 0x10",
    v2(1, 0x11, ADDRESSES_V4[:-1]): "it is too short for its addresses",
    v2(1, 0x21, ADDRESSES_V4): "it is too short for its addresses",
    v2(1, 0x31, ADDRESSES_V6): "it is too short for its addresses",
    v2(1, 0x11, b"", size=V2_LONGEST + 1): "it is longer than 16384 bytes",
    v2(1, 0x11, ADDRESSES_V4 + b"\x01\x00"): "its last field is cut off",
    v2(1, 0x11, ADDRESSES_V4 + b"\x01\x00\x02h"): "its last field is cut off",
    v2(1, 0x11, ADDRESSES_V4 + tlv(3, bytes(4))): "its checksum is wrong",
    v2(1, 0x11, ADDRESSES_V4 + tlv(3, b"")): "its checksum is wrong",
    summed(0x11, ADDRESSES_V4).replace(b"\xcb", b"\xcc"): "its checksum is wrong",
}


@pytest.mark.parametrize(("data", "header"), GOOD.items())
def test_whole(data: bytes, header: ProxyHeader) -> None:
    parser = ProxyHeaderParser()
    assert parser.receive_data(data + b"GET /") == header
    assert parser.trailing_data == b"GET /"


@pytest.mark.parametrize(("data", "header"), [pair for pair in GOOD.items() if len(pair[0]) < 1000])
def test_at_every_split(data: bytes, header: ProxyHeader) -> None:
    for split in range(len(data)):
        parser = ProxyHeaderParser()
        assert parser.receive_data(data[:split]) is None
        assert parser.begun == (split > 0)
        assert parser.receive_data(data[split:]) == header
        assert parser.trailing_data == b""


@pytest.mark.parametrize(("data", "header"), [pair for pair in GOOD.items() if len(pair[0]) < 1000])
def test_byte_by_byte(data: bytes, header: ProxyHeader) -> None:
    parser = ProxyHeaderParser()
    for at in range(len(data) - 1):
        assert parser.receive_data(data[at : at + 1]) is None
    assert parser.receive_data(data[-1:]) == header


@pytest.mark.parametrize(("data", "reason"), BAD.items())
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_bad(data: bytes, reason: str, step: int) -> None:
    parser = ProxyHeaderParser()
    with pytest.raises(RemoteProtocolError, match=f"^a bad PROXY header: {reason.replace('(', '')}$"):
        for at in range(0, len(data), step):
            assert parser.receive_data(data[at : at + step]) is None


@pytest.mark.parametrize("data", [data for data in GOOD if data.startswith(V2_BEGIN) and b"\x03\x00\x04" in data])
def test_a_checksum_finds_every_flipped_bit(data: bytes) -> None:
    kind = data.index(b"\x03\x00\x04")  # without it there is no checksum
    for bit in [bit for bit in range(16 * 8, len(data) * 8) if bit // 8 != kind]:
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RemoteProtocolError):
            ProxyHeaderParser().receive_data(bytes(wrong))
            raise AssertionError(f"bit {bit}")


def test_the_checksum_is_that_of_the_rfc() -> None:
    # RFC 3720 appendix B.4, and the check value of every catalogue.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(b"123456789") == 0xE3069283


def outcome(*pieces: bytes) -> tuple[ProxyHeader | None, bytes] | str:
    """A header and what is behind it, or why there is none."""
    parser, header, behind = ProxyHeaderParser(), None, b""
    for piece in pieces:
        if header is not None:
            behind += piece
            continue
        try:
            header = parser.receive_data(piece)
        except RemoteProtocolError as error:
            return str(error)
        behind = parser.trailing_data
    return header, behind


def test_any_bytes_come_to_the_same_however_they_are_cut() -> None:
    chance = random.Random(1)
    known = [data for data in (*GOOD, *BAD) if len(data) < 1000]
    found = set()
    for _ in range(5000):
        data = bytearray(chance.choice(known) + chance.randbytes(chance.randrange(5)))
        for _ in range(chance.randrange(3)):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(2)] = chance.randbytes(chance.randrange(3))
        cut, other = sorted((chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)))
        whole = outcome(bytes(data))
        assert outcome(bytes(data[:cut]), bytes(data[cut:other]), bytes(data[other:])) == whole, data
        found.add(type(whole))
    assert found == {str, tuple}
