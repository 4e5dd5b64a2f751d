from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from esg.systemd import Notifier


class Manager:
    """systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.bind(address.replace("@", "\0"))

    def told(self) -> list[str]:
        return self.socket.recv(4096).decode().split("\n")

    def is_told_nothing(self) -> bool:
        self.socket.setblocking(False)
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return True
        return False


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    manager = Manager(f"@esg-test-{os.getpid()}" if request.param == "abstract" else f"{tmp_path}/notify")
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    yield manager
    manager.socket.close()


def test_what_it_is_told(manager: Manager) -> None:
    notifier = Notifier.from_environment()
    notifier.ready("Serving")
    assert manager.told() == ["READY=1", "STATUS=Serving"]
    notifier.stopping()
    assert manager.told() == ["STOPPING=1", "STATUS=Shutting down"]
    notifier.status("So so")
    assert manager.told() == ["STATUS=So so"]


def test_reloading_has_the_time(manager: Manager) -> None:
    before = time.monotonic_ns() // 1000
    Notifier.from_environment().reloading()
    first, moment, status = manager.told()
    assert (first, status) == ("RELOADING=1", "STATUS=Reloading")
    assert moment.startswith("MONOTONIC_USEC=")
    assert before <= int(moment.partition("=")[2]) <= time.monotonic_ns() // 1000


def test_the_watchdog_is_told_in_half_of_the_time(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notifier = Notifier.from_environment()
    notifier.tick()
    assert manager.told() == ["WATCHDOG=1"]
    now = 104.0
    notifier.tick()
    assert manager.is_told_nothing()
    now = 105.0
    notifier.tick()
    assert manager.told() == ["WATCHDOG=1"]


@pytest.mark.parametrize("environment", [{}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}])
def test_no_watchdog_for_us(manager: Manager, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    Notifier.from_environment().tick()
    assert manager.is_told_nothing()


def test_nobody_wants_to_know(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "1")
    notifier = Notifier.from_environment()
    notifier.ready("Serving")
    notifier.tick()
    assert not caplog.messages


def test_systemd_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notifier(f"{tmp_path}/none").ready("Serving")
    assert caplog.messages == ["systemd cannot be told READY=1: [Errno 2] No such file or directory"]
