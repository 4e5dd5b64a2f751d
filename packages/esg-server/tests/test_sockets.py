from __future__ import annotations

import contextlib
import errno
import os
import pwd
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from esg import sockets, systemd
from esg.config import Config, StartupError


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


# -- Everything that the options name


def unix_names(bound: list[socket.socket]) -> list[str]:
    return [sock.getsockname() for sock in bound if sock.family == socket.AF_UNIX]


def refused(**options: Any) -> str:
    """Why nothing can be bound."""
    with pytest.raises(StartupError) as caught:
        sockets.bind_all(Config("example:app", **options))
    return str(caught.value)


@pytest.fixture
def bind_all(bound: list[socket.socket]) -> Callable[..., list[socket.socket]]:
    def bind(**options: Any) -> list[socket.socket]:
        made = sockets.bind_all(Config("example:app", **options))
        bound.extend(made)
        return made

    return bind


BindAll = Callable[..., list[socket.socket]]


def test_host_and_port(bind_all: BindAll) -> None:
    (sock,) = bind_all(port=0)
    assert sock.getsockname()[0] == "127.0.0.1"


def test_many_places(bind_all: BindAll, tmp_path: Path) -> None:
    one, two, three = bind_all(bind=("127.0.0.1:0", f"unix:{tmp_path}/one"), uds=f"{tmp_path}/two")
    assert one.family == socket.AF_INET
    assert unix_names([two, three]) == [f"{tmp_path}/one", f"{tmp_path}/two"]


def test_a_place_named_twice_is_one(bind_all: BindAll, tmp_path: Path) -> None:
    assert len(bind_all(bind=(f"unix:{tmp_path}/s", f"unix:{tmp_path}/s"), uds=f"{tmp_path}/s")) == 1


def test_port_is_for_places_without_one(bind_all: BindAll) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    first, second = bind_all(bind=("127.0.0.1", "127.0.0.1:0"), port=port)
    assert first.getsockname() == ("127.0.0.1", port)
    assert second.getsockname()[1] != port


def test_what_is_not_used_is_said(bind_all: BindAll, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bind_all(uds=f"{tmp_path}/s", host="0.0.0.0", port=0)
    assert caplog.messages == [
        "--host 0.0.0.0 is not used: other options say where to listen; name it with --bind",
        "--port 0 is not used: other options say where to listen; name it with --bind",
    ]


def test_nothing_is_left_of_a_start_that_fails(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        message = refused(bind=(f"unix:{tmp_path}/s", f"127.0.0.1:{taken}"))
    assert f"127.0.0.1:{taken}: another program is using it" in message
    assert not (tmp_path / "s").exists()


# -- UNIX sockets


@pytest.mark.parametrize(
    ("options", "mode"),
    [({}, 0o666), ({"uds_mode": "600"}, 0o600), ({"uds_mode": "0o620"}, 0o620), ({"uds_owner": ":GROUP"}, 0o660)],
)
def test_mode(bind_all: BindAll, tmp_path: Path, options: dict[str, str], mode: int) -> None:
    options = {name: value.replace("GROUP", str(os.getgid())) for name, value in options.items()}
    bind_all(uds=f"{tmp_path}/s", **options)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == mode


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_owner_by_name(bind_all: BindAll, tmp_path: Path) -> None:
    somebody = pwd.getpwnam("nobody")
    bind_all(uds=f"{tmp_path}/s", uds_owner=f"nobody:{somebody.pw_gid}")
    found = (tmp_path / "s").stat()
    assert (found.st_uid, found.st_gid) == (somebody.pw_uid, somebody.pw_gid)


@pytest.mark.parametrize(("owner", "what"), [("no.one", "user 'no.one'"), (":no.group", "group 'no.group'")])
def test_unknown_owner(tmp_path: Path, owner: str, what: str) -> None:
    assert refused(uds=f"{tmp_path}/s", uds_owner=owner) == f"--uds-owner: this machine has no {what}"
    assert not (tmp_path / "s").exists()


def test_a_stale_socket_is_replaced(bind_all: BindAll, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/s")
    (sock,) = bind_all(uds=f"{tmp_path}/s")
    sock.listen()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/s")


@pytest.mark.parametrize("kind", ["listening", "bound", "datagram"])
def test_a_socket_in_use_is_not_replaced(tmp_path: Path, kind: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM) as other:
        other.bind(f"{tmp_path}/s")
        if kind == "listening":
            other.listen(1)
        expected = f"Cannot listen on unix:{tmp_path}/s: another program is using it; stop it or choose another path"
        assert refused(uds=f"{tmp_path}/s") == expected
        assert (tmp_path / "s").exists()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    assert refused(uds=f"{tmp_path}/s").endswith("/s: there is a file that is no socket; choose another path")
    assert (tmp_path / "s").read_text() == "precious"


def test_no_such_directory(tmp_path: Path) -> None:
    path = f"{tmp_path}/none/s"
    assert refused(uds=path) == f"Cannot listen on unix:{path}: there is no such directory"


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    assert refused(uds=f"{tmp_path}/{'s' * 200}").endswith(": AF_UNIX path too long")


def test_the_file_goes_in_the_end(tmp_path: Path) -> None:
    bound = sockets.bind_all(Config("example:app", uds=f"{tmp_path}/s"))
    sockets.close(bound)
    assert not (tmp_path / "s").exists()


def test_a_file_of_somebody_else_stays(tmp_path: Path) -> None:
    bound = sockets.bind_all(Config("example:app", uds=f"{tmp_path}/s"))
    (tmp_path / "s").unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"{tmp_path}/s")
        sockets.close(bound)
        assert (tmp_path / "s").exists()


def test_a_child_process_leaves_the_file(tmp_path: Path) -> None:
    bound = sockets.bind_all(Config("example:app", uds=f"{tmp_path}/s"))
    child = os.fork()
    if child == 0:
        sockets.close(bound)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (tmp_path / "s").exists()
    sockets.close(bound)
    assert not (tmp_path / "s").exists()


# -- Descriptors


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_descriptor(bind_all: BindAll, tmp_path: Path, family: int) -> None:
    made = socket.socket(family)
    made.bind(f"{tmp_path}/s" if family == socket.AF_UNIX else ("127.0.0.1", 0))
    name = made.getsockname()
    made.set_inheritable(True)
    (sock,) = bind_all(fd=made.detach())
    assert (sock.family, sock.getsockname(), sock.get_inheritable()) == (family, name, False)
    sockets.close([sock])
    assert family == socket.AF_INET or (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("file", "it is no socket"),
        ("closed", "it is not open"),
        ("datagram", "it is a SOCK_DGRAM socket, not a stream"),
        ("unbound", "it is a socket that is bound to no address"),
        ("connection", "it is a connection, not a listening socket"),
    ],
)
def test_unfit_descriptors(tmp_path: Path, kind: str, reason: str) -> None:
    with contextlib.ExitStack() as stack:
        number = stack.enter_context((tmp_path / "f").open("w")).fileno()
        if kind == "closed":
            stack.close()
        elif kind != "file":
            one, other = (
                socket.socketpair()
                if kind == "connection"
                else (socket.socket(type=socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM),) * 2
            )
            stack.enter_context(one)
            stack.enter_context(other)
            number = one.fileno()
        assert refused(fd=number) == f"Cannot listen on fd {number}: {reason}"
        if kind != "closed":
            os.fstat(number)  # it was not closed


# -- A listening socket for each worker


def test_sockets_of_ones_own(bind_all: BindAll, bound: list[socket.socket], tmp_path: Path) -> None:
    shared = bind_all(bind=("127.0.0.1:0", f"unix:{tmp_path}/s"), reuse_port=True)
    name = shared[0].getsockname()
    workers = [sockets.own(shared) for _ in range(2)]
    bound += [sock for worker in workers for sock in worker]
    for tcp, unix in workers:
        tcp.listen()
        assert (tcp.getsockname(), unix.getsockname()) == (name, shared[1].getsockname())
    for _ in range(100):
        with socket.create_connection(name) as client:
            client.getsockname()
    took = []
    for tcp, _ in workers:
        took.append(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                tcp.accept()[0].close()
                took[-1] += 1
    assert sum(took) == 100  # none waits at the shared socket, which does not listen
    assert min(took) > 0


def test_copies_without_being_asked(bind_all: BindAll, bound: list[socket.socket], tmp_path: Path) -> None:
    shared = bind_all(bind=("127.0.0.1:0", f"unix:{tmp_path}/s"))
    copies = sockets.own(shared)
    assert [sock.getsockname() for sock in copies] == [sock.getsockname() for sock in shared]
    sockets.close(copies)
    assert (tmp_path / "s").exists()
    assert shared[0].fileno() != -1


@ipv6
def test_both_families_once_more(bind_all: BindAll, bound: list[socket.socket]) -> None:
    shared = bind_all(bind=("[::]:0",), reuse_port=True)
    bound += sockets.own(shared)
    bound[-1].listen()
    with socket.create_connection(("127.0.0.1", bound[-1].getsockname()[1])) as client:
        assert client.getpeername()[0] == "127.0.0.1"


# -- systemd's sockets


@pytest.fixture
def activate(
    bound: list[socket.socket], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., None]]:
    """Open UNIX sockets in a row, as systemd does, with names, and say so in the environment."""
    opened: list[int] = []

    def activate(*names: str, pid: int | None = None) -> None:
        first = 100  # in a process of its own it is 3
        monkeypatch.setattr(systemd, "FIRST_DESCRIPTOR", first)
        for number, name in enumerate(names, first):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(f"{tmp_path}/{name}{number}")
                opened.append(os.dup2(sock.fileno(), number))
        monkeypatch.setenv("LISTEN_PID", str(pid or os.getpid()))
        monkeypatch.setenv("LISTEN_FDS", str(len(names)))
        monkeypatch.setenv("LISTEN_FDNAMES", ":".join(names))

    yield activate
    sockets.close(bound)  # before their numbers are closed
    for number in opened:
        with contextlib.suppress(OSError):
            os.close(number)


def test_systemds_sockets_come_before_host_and_port(
    bind_all: BindAll, activate: Callable[..., None], tmp_path: Path
) -> None:
    activate("web", "api")
    assert unix_names(bind_all()) == [f"{tmp_path}/web100", f"{tmp_path}/api101"]
    assert not [name for name in os.environ if name.startswith("LISTEN_")]


def test_systemds_sockets_by_name(bind_all: BindAll, activate: Callable[..., None], tmp_path: Path) -> None:
    activate("web", "api", "web")
    assert unix_names(bind_all(bind=("systemd:web",))) == [f"{tmp_path}/web100", f"{tmp_path}/web102"]


def test_sockets_of_another_process(bind_all: BindAll, activate: Callable[..., None]) -> None:
    activate("web", pid=1)
    assert [sock.family for sock in bind_all(port=0)] == [socket.AF_INET]


def test_a_name_that_systemd_does_not_know(activate: Callable[..., None]) -> None:
    activate("web", "api")
    expected = "systemd has opened no socket that is called 'wep', but these: web, api"
    assert refused(bind=("systemd:wep",)) == expected


def test_systemd_has_opened_nothing() -> None:
    expected = "systemd has opened no sockets for this process: start it by a .socket unit"
    assert refused(bind=("systemd",)) == expected


def test_systemd_speaks_nonsense(activate: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    activate("web")
    monkeypatch.setenv("LISTEN_FDS", "some")
    assert refused(bind=("systemd",)) == "LISTEN_FDS=some is not a number of sockets"
