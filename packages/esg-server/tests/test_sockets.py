from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from esg import sockets
from esg.config import StartupError


@pytest.fixture
def bound() -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    sockets.close(opened)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def test_free_port(bound: list[socket.socket]) -> None:
    bound += sockets.bind("127.0.0.1", 0)
    (sock,) = bound
    assert sock.getsockname()[0] == "127.0.0.1"
    assert sockets.place(sock) == f"127.0.0.1:{sock.getsockname()[1]}"
    assert not sock.getblocking()


def test_does_not_listen_yet(bound: list[socket.socket]) -> None:
    bound += sockets.bind("127.0.0.1", 0)
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(bound[0].getsockname())


@ipv6
def test_ipv6(bound: list[socket.socket]) -> None:
    bound += sockets.bind("::1", 0)
    assert sockets.place(bound[0]) == f"[::1]:{bound[0].getsockname()[1]}"


@ipv6
def test_the_ipv6_wildcard_takes_ipv4(bound: list[socket.socket]) -> None:
    bound += sockets.bind("::", 0)
    bound[0].listen()
    with socket.create_connection(("127.0.0.1", bound[0].getsockname()[1])) as client:
        assert client.getpeername()[0] == "127.0.0.1"


@ipv6
def test_every_interface(bound: list[socket.socket]) -> None:
    bound += sockets.bind("", 0)
    assert {sock.getsockname()[0] for sock in bound} == {"0.0.0.0", "::"}
    assert len({sock.getsockname()[1] for sock in bound}) == 1


def test_unix_socket_is_named(tmp_path: Any) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        assert sockets.place(sock) == f"unix:{tmp_path}/s"


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartupError) as caught:
            sockets.bind("127.0.0.1", port)
    reason = "another program is using it; stop that one or choose another port"
    assert str(caught.value) == f"Cannot listen on 127.0.0.1:{port}: {reason}"


def test_unknown_host() -> None:
    with pytest.raises(StartupError, match="^Cannot listen on no.such.host.invalid:80: "):
        sockets.bind("no.such.host.invalid", 80)


def test_foreign_address() -> None:
    with pytest.raises(StartupError) as caught:
        sockets.bind("198.51.100.1", 80)
    assert str(caught.value) == "Cannot listen on 198.51.100.1:80: this machine has no such address"


def two_addresses(first: str, second: str) -> Any:
    families = {True: socket.AF_INET6, False: socket.AF_INET}
    return lambda *args, **options: [
        (families[":" in host], socket.SOCK_STREAM, 6, "", (host, 0)) for host in (first, first, second)
    ]


def test_one_absent_address_of_several(bound: list[socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", two_addresses("198.51.100.1", "127.0.0.1"))
    bound += sockets.bind("both", 0)
    assert [sock.getsockname()[0] for sock in bound] == ["127.0.0.1"]


def test_all_addresses_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", two_addresses("198.51.100.1", "203.0.113.1"))
    with pytest.raises(StartupError, match="this machine has no such address$"):
        sockets.bind("both", 0)


def test_other_reasons_are_the_systems_own() -> None:
    error = sockets.cannot_listen("x:1", OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
    assert str(error) == "Cannot listen on x:1: Too many open files"
