"""What an option may say about where to listen: an address, a UNIX socket, a descriptor, systemd's sockets."""

from __future__ import annotations

import re
from typing import NamedTuple


class Address(NamedTuple):
    """TCP; without a port it is the one that ``port`` says."""

    host: str
    port: int | None


class Path(NamedTuple):
    """A UNIX socket."""

    path: str


class Descriptor(NamedTuple):
    """A socket that whoever started this process has left open."""

    number: int


class Activation(NamedTuple):
    """What systemd has opened: the sockets of that FileDescriptorName, or all."""

    name: str | None


Place = Address | Path | Descriptor | Activation

_BRACKETS = re.compile(r"\[([^\[\]]+)\](?::(.*))?")
# The system's int.
_MOST = 2**31 - 1
_OWNER = re.compile(r"[^:]+(:[^:]+)?|:[^:]+")


def parse(text: str) -> Place:
    """Read one place as ``--bind`` has it.

    Raises:
        ValueError: with what would do instead.
    """
    kind, colon, rest = text.partition(":")
    if "://" in text and kind not in ("unix", "fd"):
        raise ValueError(f"{text!r} is no address to listen on: leave out {kind}://")
    if kind == "unix" and colon:
        return _path(text, rest)
    if kind == "fd" and colon:
        number = _number(text, rest.removeprefix("//"), "descriptor")
        descriptor(number)
        return Descriptor(number)
    if kind == "systemd":
        return Activation(rest or None)
    return _address(text)


def port(value: int) -> None:
    """A check for an option."""
    if not 0 <= value <= 65535:
        raise ValueError(f"{value!r} is not a port, it must be 0 to 65535")


def descriptor(value: int) -> None:
    """A check for an option."""
    if not 0 <= value <= _MOST:
        raise ValueError(f"{value!r} is not a descriptor, it must be 0 to {_MOST}")


def path(value: str) -> None:
    """A check for an option."""
    if not value or "\0" in value:
        raise ValueError(f"{value!r} names no file, as /run/esg.sock does")


def bind(values: tuple[str, ...]) -> None:
    """A check for an option."""
    for text in values:
        parse(text)


def mode(value: str) -> None:
    """A check for an option."""
    if not isinstance(value, str) or not re.fullmatch(r"(0o?)?[0-7]{3}", value):
        raise ValueError(f"{value!r} is no mode, write three octal digits as a text, as in '660'")


def owner(value: str) -> None:
    """A check for an option."""
    if not _OWNER.fullmatch(value):
        raise ValueError(f"{value!r} is no owner, write user, user:group or :group")


def _path(text: str, path: str) -> Path:
    path = path.removeprefix("//")
    if not path or "\0" in path:
        raise ValueError(f"{text!r} names no file, as unix:/run/esg.sock does")
    return Path(path)


def _address(text: str) -> Address:
    found = _BRACKETS.fullmatch(text)
    if found is not None:
        host, number = found.groups()
    elif text.count(":") > 1:
        raise ValueError(f"{text!r}: write an IPv6 address in brackets, as in [::1]:8000")
    else:
        host, colon, number = text.partition(":")
        if not colon:
            number = None
    if not host and number is None:
        raise ValueError("an empty text names no place to listen on")
    if host.isdecimal():
        raise ValueError(f"{text!r}: write a port behind a colon, as in :{host}")
    return Address(host, None if number is None else _port(text, number))


def _port(text: str, digits: str) -> int:
    number = _number(text, digits, "port")
    port(number)
    return number


def _number(text: str, digits: str, what: str) -> int:
    if not (digits.isascii() and digits.isdecimal()):
        raise ValueError(f"{text!r}: {digits!r} is not the number of a {what}")
    return int(digits)
