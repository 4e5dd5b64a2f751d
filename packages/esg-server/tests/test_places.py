from __future__ import annotations

from typing import Any

import pytest
from esg import Config
from esg.places import Activation, Address, Descriptor, Path, Place, parse


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        ("localhost", Address("localhost", None)),
        (":8000", Address("", 8000)),
        ("0.0.0.0:0", Address("0.0.0.0", 0)),
        ("[::1]:8000", Address("::1", 8000)),
        ("[::]", Address("::", None)),
        ("unix:/run/esg.sock", Path("/run/esg.sock")),
        ("unix:///run/esg.sock", Path("/run/esg.sock")),
        ("unix:esg.sock", Path("esg.sock")),
        ("unix:with:colon", Path("with:colon")),
        ("unix", Address("unix", None)),
        ("fd:3", Descriptor(3)),
        ("fd://0", Descriptor(0)),
        ("systemd", Activation(None)),
        ("systemd:web", Activation("web")),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert parse(text) == place


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty text names no place to listen on"),
        ("8000", "'8000': write a port behind a colon, as in :8000"),
        ("::1:8000", "'::1:8000': write an IPv6 address in brackets, as in [::1]:8000"),
        ("http://[::1]:80", "'http://[::1]:80' is no address to listen on: leave out http://"),
        ("host:", "'host:': '' is not the number of a port"),
        ("host:http", "'host:http': 'http' is not the number of a port"),
        ("host:-1", "'host:-1': '-1' is not the number of a port"),
        ("host:65536", "65536 is not a port, it must be 0 to 65535"),
        ("[::1]:", "'[::1]:': '' is not the number of a port"),
        ("unix:", "'unix:' names no file, as unix:/run/esg.sock does"),
        ("unix://", "'unix://' names no file, as unix:/run/esg.sock does"),
        ("fd://x", "'fd://x': 'x' is not the number of a descriptor"),
        ("fd:2147483648", "2147483648 is not a descriptor, it must be 0 to 2147483647"),
        ("fd:", "'fd:': '' is not the number of a descriptor"),
    ],
)
def test_what_is_no_place(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Config("example:app", bind=(text,))
    assert str(caught.value) == f"bind: {message}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"uds_mode": "rw"}, "uds_mode: 'rw' is no mode, write three octal digits as a text, as in '660'"),
        ({"uds_mode": "888"}, "uds_mode: '888' is no mode, write three octal digits as a text, as in '660'"),
        ({"uds_mode": 0o660}, "uds_mode: 432 is no mode, write three octal digits as a text, as in '660'"),
        ({"uds_owner": ":"}, "uds_owner: ':' is no owner, write user, user:group or :group"),
        ({"uds_owner": ""}, "uds_owner: '' is no owner, write user, user:group or :group"),
        (
            {"proxy_protocol_from": "10.0.0.1/8"},
            "proxy_protocol_from: '10.0.0.1/8' is one address of a network, which is '10.0.0.0/8'",
        ),
        ({"fd": -1}, "fd: -1 is not a descriptor, it must be 0 to 2147483647"),
        ({"fd": 2**63}, "fd: 9223372036854775808 is not a descriptor, it must be 0 to 2147483647"),
        ({"uds": ""}, "uds: '' names no file, as /run/esg.sock does"),
        ({"uds": "a\0b"}, "uds: 'a\\x00b' names no file, as /run/esg.sock does"),
        ({"backlog": 2**31}, "backlog: 2147483648 is not from 1 to 2147483647"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Config("example:app", **options)
    assert str(caught.value) == message
