"""--reload, with files written as editors write them: a real parent, its worker, and how soon the new code answers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]

PATIENCE = 20.0
APP = """
import os

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"one %d" % os.getpid()})
"""
# In the way of the real one: polling is what remains.
NO_WATCHFILES = "raise ImportError"


class Site:
    """An application under ``--reload``."""

    def __init__(self, start: Start, folder: Path, how: str, *arguments: str, example: str = APP) -> None:
        if how == "watchfiles":
            pytest.importorskip("watchfiles")
        else:
            (folder / "watchfiles.py").write_text(NO_WATCHFILES)
        self.process = start("example:app", "--reload", *arguments, example=example)
        self.file = folder / "example.py"
        self.port = self.process.port() if example == APP else 0

    def watches(self) -> Site:
        if not any("Watching for changes" in line for line in self.process.read):
            self.process.wait_for("Watching for changes")
        return self

    def get(self) -> str:
        """Which code answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=PATIENCE) as response:
            return str(response.read().decode()).split()[0]

    def until(self, answer: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.get() != answer:
            assert time.monotonic() < deadline

    def write(self, word: str) -> None:
        """As editors do: a file beside it, put in its place."""
        beside = self.file.with_suffix(".tmp")
        beside.write_text(APP.replace("one", word))
        beside.replace(self.file)

    def end(self) -> str:
        self.process.signal(signal.SIGTERM)
        status, _, err = self.process.end()
        assert status == -signal.SIGTERM, err
        return "".join(self.process.read) + str(err)


@pytest.fixture(params=["watchfiles", "polling"])
def site(request: pytest.FixtureRequest, start: Start, tmp_path: Path) -> Callable[..., Site]:
    def begin(*arguments: str, **more: Any) -> Site:
        return Site(start, tmp_path, request.param, *arguments, **more)

    return begin


def test_new_code_answers(site: Callable[..., Site]) -> None:
    served = site().watches()
    assert served.get() == "one"
    with socket.create_connection(("127.0.0.1", served.port)) as kept:
        kept.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert kept.recv(1000)
        served.write("two")
        assert "'example.py'" in served.process.wait_for("Reloading after changes in")
        served.until("two")  # the socket stays open meanwhile: nobody is refused
        assert kept.recv(1000) == b""
    served.end()


def test_mistakes_are_shown_and_mended(site: Callable[..., Site]) -> None:
    served = site().watches()
    served.file.write_text("def app(:")
    assert "SyntaxError" in served.process.wait_for("CRITICAL: Cannot import 'example:app'")
    served.process.wait_for("Waiting for changes")
    served.write("mended")
    served.until("mended")
    served.end()


@pytest.mark.once
def test_a_first_start_that_fails_waits_for_changes_too(site: Callable[..., Site]) -> None:
    served = site(example="import os\nos.kill(os.getpid(), 9)")
    served.process.wait_for("Waiting for changes")
    served.watches().write("up")
    served.port = served.process.port()
    assert served.get() == "up"
    served.end()


@pytest.mark.once
def test_a_storm_of_saves_is_one_reload(site: Callable[..., Site]) -> None:
    served = site().watches()
    for number in range(100):
        served.file.write_text(APP.replace("one", f"save{number}"))
    served.process.wait_for("Reloading after changes in")
    served.until("save99")
    said = served.end()
    assert said.count("Reloading after changes") <= 2  # a slow machine may stop between two saves


@pytest.mark.once
def test_a_directory_that_comes_back(site: Callable[..., Site], tmp_path: Path) -> None:
    """As when another branch is checked out and left."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "part.py").write_text("first = 1\n")
    served = site("--reload-dir=package").watches()
    shutil.rmtree(package)
    served.process.wait_for("Reloading after changes in 'package/part.py'")
    served.process.wait_for("is ready")
    package.mkdir()
    (package / "part.py").write_text("second = 2\n")
    served.process.wait_for("Reloading after changes in 'package/part.py'")
    served.process.wait_for("is ready")
    (package / "part.py").write_text("third = 3\n")
    served.process.wait_for("Reloading after changes in 'package/part.py'")
    assert served.get() == "one"
    served.end()


@pytest.mark.once
def test_the_working_directory_comes_back(site: Callable[..., Site], tmp_path: Path) -> None:
    served = site().watches()
    shutil.rmtree(tmp_path)
    served.process.wait_for("'example.py'")
    served.process.wait_for("Waiting for changes")
    tmp_path.mkdir()
    served.write("back")
    served.process.wait_for("is ready")
    assert served.get() == "back"
    served.end()


@pytest.mark.once
def test_a_save_as_the_watch_begins_among_others_that_do_not_count(site: Callable[..., Site], tmp_path: Path) -> None:
    """As of a log beside the application."""
    over = threading.Event()

    def log() -> None:
        while not over.wait(0.01):
            (tmp_path / "log").write_text("x")

    noise = threading.Thread(target=log)
    noise.start()
    try:
        served = site().watches()
        served.write("two")
        served.process.wait_for("Reloading after changes in")
        served.end()
    finally:
        over.set()
        noise.join()


def test_a_save_that_looks_like_the_one_before(site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same size and in the same second, which is all that Python compares its bytecode by."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    served = site().watches()
    before = served.file.stat()
    served.write("two")
    os.utime(served.file, ns=(before.st_atime_ns, before.st_mtime_ns))
    served.process.wait_for("Reloading after changes in")
    served.process.wait_for("is ready")
    assert served.get() == "two"
    served.end()


@pytest.mark.once
def test_includes_and_excludes(site: Callable[..., Site], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / ".venv").mkdir()
    served = site("--reload-include=*.html", "--reload-exclude=out", "--reload-exclude=skip*").watches()
    for name in ("out/a.py", ".venv/b.py", "skipped.py", "notes.txt"):
        (tmp_path / name).write_text("x = 1\n")
    (tmp_path / "page.html").write_text("<p>")
    assert served.process.wait_for("Reloading after changes in").strip().endswith("'page.html'")
    served.process.wait_for("is ready")
    served.end()


@pytest.mark.once
def test_the_old_code_is_not_waited_for_long(site: Callable[..., Site]) -> None:
    stuck = APP.replace(
        '    await send({"type": "http.response.s',
        '    await __import__(\'asyncio\').sleep(60)\n    await send({"type": "http.response.s',
    )
    served = site().watches()
    served.file.write_text(stuck)
    served.process.wait_for("is ready")
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        time.sleep(0.2)  # it is in work; nothing tells of it
        served.write("two")
        began = time.monotonic()
        served.process.wait_for("Reloading after changes in")
        served.process.wait_for("is ready")
        assert served.get() == "two"
        assert time.monotonic() - began < 10
    served.end()


@pytest.mark.once
def test_a_crash_waits_for_changes(site: Callable[..., Site]) -> None:
    served = site().watches()
    pid = int(Path(f"/proc/{served.process.popen.pid}/task/{served.process.popen.pid}/children").read_text())
    os.kill(pid, signal.SIGKILL)
    served.process.wait_for("Waiting for changes")
    served.write("two")
    assert served.get() == "two"
    served.end()


def test_workers_are_ignored_with_one_warning(start: Start) -> None:
    process = start("example:app", "--reload", "--workers=3")
    process.wait_for("WARNING:  --reload serves with one worker, not 3")
    process.port()
    process.signal(signal.SIGINT)
    assert process.end()[0] == 0


def test_no_such_directory(start: Start, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    status, _, err = start("example:app", "--reload", "--reload-dir=sourc").end()
    assert status == 3
    assert err.splitlines()[-1].startswith("CRITICAL: --reload-dir: there is no directory 'sourc'; did you mean 'sou")


def test_an_object_cannot_be_reloaded(start: Start) -> None:
    source = "import esg\nesg.run(print, reload=True, port=0)"
    status, _, err = start("example.py", esg=False, example=source).end()
    assert status == 3
    assert re.search(r'"module:attribute"', err.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="it asks for a process group")
def test_ctrl_c_reaches_all_and_ends_all(start: Start) -> None:
    process = start("example:app", "--reload")
    process.port()
    (child,) = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGINT)  # as the terminal does, to each of its processes
    process.signal(signal.SIGINT)
    status, _, err = process.end()
    assert status == 0
    assert "Traceback" not in err
