"""Where a server listens: many places, UNIX sockets, sockets of others, systemd's among them; what systemd is told."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from .conftest import ACTIVATED, PATIENCE, Answer, Start, To, left_open


def get(place: str, target: str = "/") -> Answer:
    with To(place) as wire:
        wire.request(target, close=True)
        return wire.answer()


def scope(place: str) -> dict[str, Any]:
    """What the application sees of a connection to there."""
    told: dict[str, Any] = json.loads(get(place).body)
    return told


@pytest.fixture
def backlog(program: Callable[[str], str]) -> Callable[[str], int]:
    """What the system has as the backlog of the socket at a place."""
    ss = program("ss")

    def ask(place: str) -> int:
        name = place.removeprefix("unix:").removeprefix("http://")
        rows = subprocess.run([ss, "-lnHxt"], capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
        (found,) = (row.split() for row in rows.splitlines() if name in row.split())
        return int(found[found.index(name) - 1])

    return ask


# -- Many places


def test_every_place_has_its_own_address(start: Start, loop: str, tmp_path: Path) -> None:
    binds = ("127.0.0.1:0", "127.0.0.2:0", f"unix:{tmp_path}/one")
    arguments = [argument for bind in binds for argument in ("--bind", bind)]
    server = start(*arguments, "--uds", f"{tmp_path}/two", "--loop", loop)
    assert [urlsplit(place).hostname for place in server.places[:2]] == ["127.0.0.1", "127.0.0.2"]
    assert server.places[2:] == [f"unix:{tmp_path}/one", f"unix:{tmp_path}/two"]
    for place in server.places[:2]:
        told, url = scope(place), urlsplit(place)
        assert (told["server"], told["client"][0]) == ([url.hostname, url.port], "127.0.0.1")
    for place in server.places[2:]:
        assert scope(place) == {"client": None, "server": [place[5:], None], "scheme": "http"}
    server.stop()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [("--host", "::", "--port", "0"), ("--bind", "[::]:0")])
def test_the_ipv6_wildcard_serves_both_families(start: Start, options: tuple[str, str]) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    (place,) = start(*options).places
    port = urlsplit(place).port
    assert scope(f"http://127.0.0.1:{port}")["client"][0] == "::ffff:127.0.0.1"
    assert scope(f"http://[::1]:{port}")["server"] == ["::1", port]


@pytest.mark.parametrize("asked", [7, 2048])
def test_backlog(start: Start, loop: str, backlog: Callable[[str], int], tmp_path: Path, asked: int) -> None:
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    server = start("--bind", "127.0.0.1:0", "--uds", f"{tmp_path}/s", "--backlog", str(asked), "--loop", loop)
    assert [backlog(place) for place in server.places] == [min(asked, most)] * 2


# -- UNIX sockets


def test_an_access_log_without_addresses(start: Start, tmp_path: Path) -> None:
    server = start("--uds", f"{tmp_path}/s")
    assert get(f"unix:{tmp_path}/s", "/nothing?x").status == 200
    assert '"GET /nothing?x HTTP/1.1" 200 OK' in server.wait_for("/nothing?x")


def test_two_servers_at_one_socket(start: Start, tmp_path: Path) -> None:
    first = start("--uds", f"{tmp_path}/s")
    message = start("--uds", f"{tmp_path}/s", serves=False).refusal()
    assert message == f"Cannot listen on unix:{tmp_path}/s: another program is using it; stop it or choose another path"
    assert get(f"unix:{tmp_path}/s").status == 200
    first.stop()


def test_after_a_crash(start: Start, tmp_path: Path) -> None:
    first = start("--uds", f"{tmp_path}/s", "--uds-mode", "600")
    first.signal(signal.SIGKILL)
    first.wait()
    assert (tmp_path / "s").is_socket()
    second = start("--uds", f"{tmp_path}/s", "--uds-mode", "640")
    assert get(f"unix:{tmp_path}/s").status == 200
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o640
    second.stop()
    assert not (tmp_path / "s").exists()


def test_a_successor_may_come_before_the_end(start: Start, tmp_path: Path) -> None:
    """Its file is another one, and stays."""
    first = start("--uds", f"{tmp_path}/s")
    (tmp_path / "s").unlink()
    second = start("--uds", f"{tmp_path}/s")
    first.stop()
    assert get(f"unix:{tmp_path}/s").status == 200
    second.stop()


# -- Sockets that others have opened


@pytest.mark.parametrize("option", ["--fd=3", "--bind=fd://3"])
def test_descriptors_of_either_family(
    start: Start, loop: str, backlog: Callable[[str], int], tmp_path: Path, option: str
) -> None:
    before = left_open("tcp()", f"unix({f'{tmp_path}/s'!r})")
    server = start(option, "--bind", "fd:4", "--backlog", "99", "--loop", loop, before=before)
    unix, tcp = sorted(server.places, reverse=True)
    assert scope(unix) == {"client": None, "server": [f"{tmp_path}/s", None], "scheme": "http"}
    assert scope(tcp)["server"] == ["127.0.0.1", urlsplit(tcp).port]
    assert [backlog(unix), backlog(tcp)] == [99, 99]
    server.stop()
    assert (tmp_path / "s").is_socket()  # whoever has made it may want it again


@pytest.mark.parametrize(
    ("sock", "reason"),
    [
        ("socket.socket(type=socket.SOCK_DGRAM)", "it is a SOCK_DGRAM socket, not a stream"),
        ("socket.socketpair()[0]", "it is a connection, not a listening socket"),
        ("open('/dev/null')", "it is no socket"),
    ],
)
def test_other_descriptors(start: Start, sock: str, reason: str) -> None:
    message = start("--fd", "3", before=left_open(sock), serves=False).refusal()
    assert message == f"Cannot listen on fd 3: {reason}"


def test_sockets_of_systemd_are_found(start: Start) -> None:
    server = start("--port", "0", before=left_open("tcp()", "tcp()", more=ACTIVATED))
    assert len(server.places) == 2
    assert {get(place).status for place in server.places} == {200}


def test_sockets_of_systemd_by_name(start: Start, tmp_path: Path) -> None:
    server = start(
        "--bind", "systemd:api", "--uds", f"{tmp_path}/s", before=left_open("tcp()", "tcp()", more=ACTIVATED)
    )
    assert len(server.places) == 2
    assert {get(place).status for place in server.places} == {200}


def test_sockets_of_systemd_for_somebody_else(start: Start) -> None:
    server = start("--port", "0", before=left_open("tcp()", more="env.update(LISTEN_PID='1', LISTEN_FDS='1')"))
    assert len(server.places) == 1
    message = start("--bind", "systemd", serves=False).refusal()
    assert message == "systemd has opened no sockets for this process: start it by a .socket unit"


def test_systemds_own_activation(start: Start, program: Callable[[str], str], tmp_path: Path) -> None:
    """It starts the server when the first client comes, who waits and is served."""
    activate = program("systemd-socket-activate")
    server = start(before=(activate, "-l", f"{tmp_path}/s"), serves=False)
    server.wait_for("Listening on")
    assert scope(f"unix:{tmp_path}/s")["server"] == [f"{tmp_path}/s", None]
    server.stop()


# -- With workers


def test_workers_at_every_place(start: Start, backlog: Callable[[str], int], tmp_path: Path) -> None:
    binds = ("--bind", "127.0.0.1:0", "--bind", "fd:3", "--uds", f"{tmp_path}/s", "--backlog", "99", "--workers", "2")
    server = start(*binds, before=left_open("tcp()"))
    assert len(server.places) == 3
    for place in server.places:
        assert [get(place).status for _ in range(5)] == [200] * 5
        assert backlog(place) == 99
    assert scope(f"unix:{tmp_path}/s") == {"client": None, "server": [f"{tmp_path}/s", None], "scheme": "http"}
    worker = int(server.wait_for("is ready").partition("[")[2].partition("]")[0])
    with server.says("is ready"):
        os.kill(worker, signal.SIGKILL)
    assert get(f"unix:{tmp_path}/s").status == 200
    server.signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM, server.told()
    assert not list(tmp_path.iterdir())


def test_workers_serve_both_families(start: Start) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    (place,) = start("--host", "::", "--port", "0", "--workers", "2").places
    port = urlsplit(place).port
    assert scope(f"http://127.0.0.1:{port}")["client"][0] == "::ffff:127.0.0.1"
    assert scope(f"http://[::1]:{port}")["server"] == ["::1", port]


def test_workers_take_the_sockets_of_systemd(start: Start) -> None:
    server = start("--workers", "2", before=left_open("tcp()", "tcp()", more=ACTIVATED))
    assert len(server.places) == 2
    assert {get(place).status for place in server.places} == {200}


def test_a_socket_for_each_worker(start: Start, program: Callable[[str], str], tmp_path: Path) -> None:
    server = start("--bind", "127.0.0.1:0", "--uds", f"{tmp_path}/s", "--reuse-port", "--workers", "3")
    after = 0
    for _ in range(3):
        after = server.lines.index(server.wait_for("is ready", after)) + 1
    port = urlsplit(server.places[0]).port
    command = [program("ss"), "-ltnH", f"sport = :{port}"]
    rows = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    assert len(rows.splitlines()) == 3
    assert [get(server.places[0]).status for _ in range(30)] == [200] * 30
    assert get(f"unix:{tmp_path}/s").status == 200
    server.stop()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [(), ("--workers", "2"), ("--workers", "2", "--reuse-port")])
def test_a_stop_refuses_whoever_comes_late(start: Start, tmp_path: Path, options: tuple[str, ...]) -> None:
    """While requests are finished nobody is left to wait at a socket where no one accepts."""
    server = start("--bind", "127.0.0.1:0", "--uds", f"{tmp_path}/s", *options)
    with To(server.places[0]) as wire:
        wire.request("/body", "POST", headers=("Content-Length: 1", "Expect: 100-continue"), close=True)
        assert wire.head().status == 100
        server.signal(signal.SIGTERM)
        for place in server.places:
            wait_until_refused(place)
        wire.send(b"x")
        assert wire.answer().status == 200
    assert server.wait() == -signal.SIGTERM, server.told()
    assert not list(tmp_path.iterdir())


def wait_until_refused(place: str) -> None:
    deadline = time.monotonic() + PATIENCE / 2
    while time.monotonic() < deadline:
        try:
            To(place).socket.close()
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except ConnectionResetError:
            continue  # it was just being closed
    raise AssertionError(f"{place} is still open")


# -- What systemd is told


class Manager:
    """systemd's end of a notification socket."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.bind(path.replace("@", "\0"))

    def told(self) -> list[str]:
        return self.socket.recv(4096).decode().split("\n")


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(f"@esg-listening-{os.getpid()}" if request.param == "abstract" else f"{tmp_path}/notify")
    yield manager
    manager.socket.close()


def test_ready_and_stopping(start: Start, manager: Manager) -> None:
    server = start("--port", "0", env={"NOTIFY_SOCKET": manager.path})
    assert manager.told() == ["READY=1", f"STATUS=Serving on {server.places[0]}"]
    server.stop()
    assert manager.told() == ["STOPPING=1", "STATUS=Shutting down"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_reloading_and_the_watchdog(start: Start, tmp_path: Path, workers: str) -> None:
    manager = Manager(f"{tmp_path}/notify")
    with closing(manager.socket):
        environment = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "2000000"}
        server = start("--port", "0", "--workers", workers, env=environment)
        server.signal(signal.SIGHUP)
        told = [manager.told()]
        while len([lines for lines in told if lines[0] == "READY=1"]) < 2 or ["WATCHDOG=1"] not in told[-2:]:
            told.append(manager.told())
        first = [lines[0] for lines in told if lines != ["WATCHDOG=1"]]
        assert first == ["READY=1", "RELOADING=1", "READY=1"]
        (reloading,) = (lines for lines in told if lines[0] == "RELOADING=1")
        assert int(reloading[1].removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
        server.stop()


def test_a_loop_that_stands_still_is_silent(start: Start, tmp_path: Path) -> None:
    manager = Manager(f"{tmp_path}/notify")
    with closing(manager.socket):
        environment = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "2000000"}
        server = start("--port", "0", env=environment)
        with To(server.places[0]) as wire:
            wire.request("/block")
            while manager.told() != ["STATUS=blocking"]:
                pass
            manager.socket.settimeout(2.5)
            with pytest.raises(TimeoutError):
                manager.told()
            server.signal(signal.SIGKILL)


def test_not_ready_before_it_serves(start: Start, manager: Manager) -> None:
    start("--fd", "77", serves=False, env={"NOTIFY_SOCKET": manager.path}).refusal()
    manager.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.told()
