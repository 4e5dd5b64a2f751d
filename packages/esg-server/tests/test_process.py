"""The command as people run it: a process of its own, its lines, its signals and its exit code."""

from __future__ import annotations

import signal
import socket
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

Start = Callable[..., Any]

FAILS = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""

STUCK = """
import asyncio

async def app(scope, receive, send):
    print("entered", flush=True)
    await asyncio.Event().wait()
"""

CLEANS_UP = """
import atexit, asyncio

async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("cleaned up", flush=True)
    await send({"type": "lifespan.shutdown.complete"})
"""

UNASKED = """
async def app(scope, receive, send):
    more_body = {0}
    while more_body:
        message = await receive()
        more_body = message.get("more_body", False)
    await send({{"type": "http.response.start", "status": 200, "headers": [[b"content-type", b"text/plain"]]}})
    await send({{"type": "http.response.body", "body": b"hello"}})
"""

BLOCKS = """
import time
import esg

async def app(scope, receive, send):
    print("entered", flush=True)
    while not server.should_exit:
        pass
    print("asked", flush=True)
    while not server.force_exit:
        pass
    print("forced", flush=True)
    while True:
        time.sleep(1)

server = esg.Server(esg.Config(app, port=0, lifespan="off"))
server.run()
"""

BLOCKED_START = """
import os, signal, time

async def app(scope, receive, send):
    handle = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda *what: (handle(*what), os.write(1, b"asked\\n")))
    os.write(1, b"entered\\n")  # a print may be where the signal comes in, and then there is no other
    while True:
        time.sleep(0.01)
"""


def fetch(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/a?b=c", timeout=30) as response:
        return bytes(response.read())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_serves(start: Start, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    process = start("example:app", "--loop", loop)
    assert fetch(process.port()) == b"hello"
    assert '"GET /a?b=c HTTP/1.1" 200 OK' in process.wait_for("GET", "stdout")
    process.signal(signal.SIGTERM)
    status, out, err = process.end()
    assert status == -signal.SIGTERM
    assert [line.split(":")[0] for line in err.splitlines()] == ["INFO", "INFO"]
    assert out == ""


def test_variables_serve_too(start: Start) -> None:
    process = start(env={"ESG_APP": "example:app", "ESG_ACCESS_LOG": "0"})
    assert fetch(process.port()) == b"hello"
    process.signal(signal.SIGINT)
    assert process.end()[:2] == (0, "")


def test_run_from_main(start: Start) -> None:
    source = """
    import esg

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [[b"content-length", b"2"]]})
        await send({"type": "http.response.body", "body": b"ok"})

    if __name__ == "__main__":
        esg.run("example:app", host="127.0.0.1", port=0, log_level="info")
    """
    process = start("example.py", esg=False, example=source)
    assert fetch(process.port()) == b"ok"
    process.signal(signal.SIGINT)
    assert process.end()[0] == 0


@pytest.mark.parametrize("reads", [False, True])
def test_serves_an_application_that_takes_every_scope_for_http(start: Start, reads: bool) -> None:
    process = start("example:app", example=UNASKED.format(reads))
    assert fetch(process.port()) == b"hello"
    process.signal(signal.SIGINT)
    assert process.end()[0] == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -15), (signal.SIGINT, 0)])
def test_stops_the_application(start: Start, number: int, status: int) -> None:
    process = start("example:app", example=CLEANS_UP)
    process.port()
    process.signal(number)
    ended, out, err = process.end()
    assert (ended, out) == (status, "cleaned up\n")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["exmaple:app"], 3, "did you mean 'example:app'?"),
        (["example:ap"], 3, "did you mean 'example:app'?"),
        (["example"], 3, "write it as module:attribute, as in example:app"),
        (["example:app", "--host", "no.such.host.invalid"], 3, "Cannot listen on no.such.host.invalid:0: "),
        (["example:app", "--lifespan", "on"], 3, "Application startup failed: AssertionError"),
        (["example:app", "--prot", "1"], 2, "--port"),
        (["example:app", "--port", "x"], 2, "Invalid value for '--port'"),
        (["--config", "no.toml", "example:app"], 2, "--config: there is no file 'no.toml'"),
        (
            ["--ssl-certfile", "exmaple.py", "example:app"],
            3,
            "--ssl-certfile: there is no file 'exmaple.py'; did",
        ),
        ([], 2, "APP is missing, as in: esg example:app"),
    ],
)
def test_failures_end_with_one_clear_line(start: Start, arguments: list[str], status: int, line: str) -> None:
    ended, out, err = start(*arguments).end()
    assert (ended, out) == (status, "")
    problems = [text for text in err.splitlines() if text.startswith(("CRITICAL", "Error"))]
    assert len(problems) == 1
    assert line in problems[0]


@pytest.mark.parametrize(
    ("app", "status", "line"), [("example:app", 0, ""), ("exmaple:app", 3, "did you mean 'example:app'?")]
)
def test_check_serves_nothing(start: Start, app: str, status: int, line: str) -> None:
    ended, out, err = start("--check", app).end()
    assert ended == status
    assert out.startswith(f'app = "{app}"')
    assert line in err and "running on" not in err


def test_port_in_use(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, _, err = start("example:app", "--port", str(port)).end()
    assert status == 3
    assert err.splitlines()[-1].startswith(f"CRITICAL: Cannot listen on 127.0.0.1:{port}: another program")
    assert "Traceback" not in err


def test_the_applications_own_import_error(start: Start) -> None:
    status, _, err = start("example:app", example="import no_such_library").end()
    assert status == 3
    lines = err.splitlines()
    assert lines[0].startswith("CRITICAL: Cannot import 'example:app', its code raised ModuleNotFoundError")
    assert lines[-1] == "ModuleNotFoundError: No module named 'no_such_library'"
    assert sum('File "' in text for text in lines) == 1


def test_startup_failed(start: Start) -> None:
    status, _, err = start("example:app", example=FAILS).end()
    assert status == 3
    assert err.splitlines()[-1] == "CRITICAL: Application startup failed: no database"
    assert "Traceback" not in err


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 3), (signal.SIGTERM, -15)])
def test_a_signal_ends_a_stuck_startup(start: Start, loop: str, number: int, status: int) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    process = start("example:app", "--loop", loop, example=STUCK)
    process.wait_for("entered", "stdout")
    process.signal(number)
    ended, _, err = process.end()
    assert ended == status
    assert "Traceback" not in err


def test_a_second_signal_forces(start: Start) -> None:
    process = start("example:app", "--lifespan", "off", example=STUCK)
    port = process.port()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        process.wait_for("entered", "stdout")
        process.signal(signal.SIGTERM)
        process.wait_for("Waiting for connections to close. (CTRL+C to force quit)")
        process.signal(signal.SIGTERM)
        assert process.end()[0] == -signal.SIGTERM


def test_a_third_signal_ends_even_a_blocked_loop(start: Start) -> None:
    process = start("example.py", esg=False, example=BLOCKS)
    with socket.create_connection(("127.0.0.1", process.port())) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        for line in ("entered", "asked", "forced"):
            process.wait_for(line, "stdout")
            process.signal(signal.SIGINT)
        assert process.end()[0] == -signal.SIGINT


def test_a_second_signal_ends_a_start_that_is_blocked(start: Start) -> None:
    process = start("example:app", example=BLOCKED_START)
    for line in ("entered", "asked"):
        process.wait_for(line, "stdout")
        process.signal(signal.SIGINT)
    assert process.end()[0] == -signal.SIGINT
