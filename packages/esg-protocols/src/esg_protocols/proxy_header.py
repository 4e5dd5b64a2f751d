"""The header of the PROXY protocol, versions 1 and 2, without I/O: on whose behalf a proxy has made a connection.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt; section numbers are of that document.
"""

from __future__ import annotations

import re
import socket
import struct
from typing import NamedTuple

from esg_protocols.errors import RemoteProtocolError

V1_BEGIN = b"PROXY "
V1_LONGEST = 107
"""Bytes of the longest line that version 1 can have, its end included (section 2.1)."""

V2_BEGIN = b"\r\n\r\n\0\r\nQUIT\n"
V2_LONGEST = 16384
"""Bytes behind the fixed part of version 2 that are taken: a client certificate finds room, the 65535 there may be do
not. They are kept until the header is whole."""

_FIXED = struct.Struct("!12sBBH")
_TLV = struct.Struct("!BH")
_LOCAL, _PROXY = 0, 1
_CRC32C = 0x03

_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
_IPV4, _IPV6 = struct.Struct("!4s4sHH"), struct.Struct("!16s16sHH")
_UNIX_SIZE = 216
# Family and transport of version 2 (section 2.2), for streams; other pairs are datagrams, or no pairs at all.
_ADDRESSES = {0x11: (socket.AF_INET, _IPV4), 0x21: (socket.AF_INET6, _IPV6)}
_UNIX = 0x31
# Pairs that nothing can be made of here, but that a proxy may send: the connection's own addresses hold (section 2.2).
_UNKNOWN = {0x00: 0, 0x12: _IPV4.size, 0x22: _IPV6.size, 0x32: _UNIX_SIZE}

Address = tuple[str, int]


class ProxyHeader(NamedTuple):
    """What a proxy says of its connection.

    Attributes:
        keeps_peer: it says nothing: it speaks for itself, as for a health check, or does not know. The addresses of the
            connection hold.
        source: the client's address and port; None when it has none, as on a UNIX socket.
        destination: what the client connected to; None likewise.
    """

    keeps_peer: bool = True
    source: Address | None = None
    destination: Address | None = None


class ProxyHeaderParser:
    """Takes the bytes of a new connection until its PROXY header is whole. It must be there: nothing is guessed.

    Attributes:
        trailing_data: what came behind the header, once it is whole.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self.trailing_data = b""

    @property
    def begun(self) -> bool:
        """Whether anything has come."""
        return bool(self._buffer)

    def receive_data(self, data: bytes) -> ProxyHeader | None:
        """Take in what was read.

        Returns:
            The header, or None as long as it is not whole.

        Raises:
            RemoteProtocolError: this is no PROXY header, or a wrong one: the connection is to be closed (section 2).
        """
        self._buffer += data
        if self._buffer[:12] == V2_BEGIN[: len(self._buffer)]:
            return self._read_v2()
        if self._buffer[:6] == V1_BEGIN[: len(self._buffer)]:
            return self._read_v1()
        raise _error("there is none")

    def _read_v1(self) -> ProxyHeader | None:
        end = self._buffer.find(b"\r\n", 0, V1_LONGEST)
        if end >= 0:
            return self._end(end + 2, _parse_v1(self._buffer[:end]))
        if len(self._buffer) >= V1_LONGEST:
            raise _error(f"it is longer than {V1_LONGEST} bytes")
        return None

    def _read_v2(self) -> ProxyHeader | None:
        if len(self._buffer) < _FIXED.size:
            return None
        _, version_and_command, pair, size = _FIXED.unpack_from(self._buffer)
        if version_and_command >> 4 != 2:
            raise _error(f"its version is {version_and_command >> 4}")
        if size > V2_LONGEST:
            raise _error(f"it is longer than {V2_LONGEST} bytes")
        end = _FIXED.size + size
        if len(self._buffer) < end:
            return None
        return self._end(end, _parse_v2(self._buffer[:end], version_and_command & 15, pair))

    def _end(self, size: int, header: ProxyHeader) -> ProxyHeader:
        self.trailing_data = self._buffer[size:]
        return header


def _error(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"a bad PROXY header: {reason}", 400)


# -- Version 1 (section 2.1)


def _parse_v1(line: bytes) -> ProxyHeader:
    _, family, *fields = line.split(b" ")
    if family == b"UNKNOWN":
        if b"\n" in line or b"\r" in line:
            raise _error("its line has two ends")
        return ProxyHeader()
    if family not in (b"TCP4", b"TCP6"):
        raise _error(f"its family is {family!r}")
    if len(fields) != 4:
        raise _error(f"it has {len(fields)} fields behind the family, not 4")
    kind = socket.AF_INET if family == b"TCP4" else socket.AF_INET6
    source, destination, source_port, destination_port = fields
    return ProxyHeader(
        False,
        (_read_host(kind, source), _read_port(source_port)),
        (_read_host(kind, destination), _read_port(destination_port)),
    )


def _read_host(family: int, text: bytes) -> str:
    """An address as the system writes it, which refuses leading zeros and shortened forms."""
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, text.decode("ascii")))
    except (OSError, ValueError):
        raise _error(f"{text!r} is not an address of its family") from None


def _read_port(text: bytes) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise _error(f"{text!r} is not a port")
    return int(text)


# -- Version 2 (section 2.2)


def _parse_v2(header: bytes, command: int, pair: int) -> ProxyHeader:
    if command == _LOCAL:
        return ProxyHeader()  # and all the rest is to be ignored
    if command != _PROXY:
        raise _error(f"its command is {command}")
    if pair in _ADDRESSES:
        family, layout = _ADDRESSES[pair]
        _check_rest(header, layout.size)
        source, destination, source_port, destination_port = layout.unpack_from(header, _FIXED.size)
        return ProxyHeader(
            False,
            (socket.inet_ntop(family, source), source_port),
            (socket.inet_ntop(family, destination), destination_port),
        )
    if pair == _UNIX:
        _check_rest(header, _UNIX_SIZE)
        return ProxyHeader(False)
    if pair in _UNKNOWN:
        _check_rest(header, _UNKNOWN[pair])
        return ProxyHeader()
    raise _error(f"its family and transport are {pair:#04x}")


def _check_rest(header: bytes, addresses: int) -> None:
    """Look at what stands behind the addresses: of all that, only a checksum matters (section 2.2.3)."""
    at = _FIXED.size + addresses
    if at > len(header):
        raise _error("it is too short for its addresses")
    while at < len(header):
        if at + _TLV.size > len(header):
            raise _error("its last field is cut off")
        kind, size = _TLV.unpack_from(header, at)
        at += _TLV.size
        if at + size > len(header):
            raise _error("its last field is cut off")
        if kind == _CRC32C:
            _check_sum(header, at, size)
        at += size


def _check_sum(header: bytes, at: int, size: int) -> None:
    if size != 4 or crc32c(header[:at] + bytes(4) + header[at + 4 :]) != int.from_bytes(header[at : at + 4], "big"):
        raise _error("its checksum is wrong")


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3720 appendix B.4, which zlib does not have."""
    if not _crc_table:
        _crc_table.extend(map(_crc_of_byte, range(256)))
    value = 0xFFFFFFFF
    for byte in data:
        value = _crc_table[(value ^ byte) & 255] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _crc_of_byte(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


# Made when the first checksum comes.
_crc_table: list[int] = []
