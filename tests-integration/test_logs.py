"""What a server writes down: the logs of real processes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import APPS, PATIENCE, ROOT, Process, Server, Wire
from .test_websockets import ask, close_frame, echoes, join, read_close

Serve = Callable[..., Server]

SLOW, SLOW_JSON = (str(APPS / name) for name in ("slow_log.json", "slow_json_log.json"))
ACCESS = re.compile(r'INFO:     127\.0\.0\.1:\d+ - "GET /hello HTTP/1\.1" 200 OK')


def test_trace(serve: Serve) -> None:
    # The application refuses lifespan, which is shown at this level.
    server = serve("wire:app", "--log-level", "trace", test_app=True, faults=True)
    with server.connect() as wire:
        wire.request("/hello", "POST", body=b"\x1bbody", close=True)
        wire.answer()
    name = server.wait_for("Started scope={'type': 'http'").partition(" - ASGI")[0].removeprefix("TRACE:    ")
    assert name.startswith("127.0.0.1:")
    server.wait_for(f"{name} - ASGI [2] Send {{'type': 'http.response.start', 'status': 200, 'headers': '<...>'}}")
    server.wait_for(f"{name} - ASGI [2] Completed")


def test_a_line_comes_at_once(serve: Serve) -> None:
    server = serve("wire:app", test_app=True)
    with server.says('"GET /hello HTTP/1.1" 200 OK'):
        server.get("/hello")


def test_fast_lines_are_those_of_logging(serve: Serve) -> None:
    """The same answers, noted past ``logging`` and, as the handler has a filter, by it; in text and in JSON."""
    seen = []
    for arguments in ([], ["--log-config", SLOW], ["--log-format", "json"], ["--log-config", SLOW_JSON]):
        server = serve("wire:app", *arguments, test_app=True)
        for target in ('/hello?a="b"', "/status?404", "/hello?\\x", "/hello?%0a"):
            server.get(target)
        server.wait_for("%0a")
        lines = [re.sub(r"127\.0\.0\.1:\d+", "CLIENT", line) for line in server.lines]
        seen.append([line for line in lines if "GET" in line and "CLIENT" in line][:4])
    assert len(seen[0]) == 4
    assert seen[0] == seen[1]
    fast, slow = ([json.loads(line) for line in lines] for lines in seen[2:])
    for fields in fast + slow:
        del fields["time"], fields["duration"], fields["pid"]
    assert fast == slow


def test_errors_stand_behind_the_lines_before_them(serve: Serve) -> None:
    server = serve("wire:app", test_app=True)
    for _ in range(5):
        server.get("/hello")
    assert sum(bool(ACCESS.fullmatch(line)) for line in server.said_since(0)) == 5


def test_what_is_printed_comes_along(serve: Serve) -> None:
    """As with a handler of ``logging``, which flushes the stream that print writes to."""
    app = "tests-integration/apps/printing.py"
    assert Path(app).is_file()
    server = serve("printing:app", test_app=True)
    server.get("/one")
    server.wait_for('"GET /one HTTP/1.1" 200 OK')
    assert [line for line in server.lines if "/one" in line][0] == "printed /one"


def test_a_file_that_is_rotated(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "access"
    options = ("--access-log-file", str(path), "--access-log-format", "%(m)s %(U)s %(D)s")
    server = serve("wire:app", *options, test_app=True)
    server.get("/hello")
    server.get("/host")  # so soon behind the other that its line waits for more
    path.rename(tmp_path / "access.1")
    with server.says("Reloaded"):
        server.signal(signal.SIGHUP)
    server.get("/target")
    server.until(lambda: path.exists() and "GET /target" in path.read_text())
    assert re.fullmatch(r"GET /hello \d+\nGET /host \d+\n", (tmp_path / "access.1").read_text())
    assert not [line for line in server.lines if "/hello" in line]


def test_nothing_is_lost_at_a_stop_and_lines_of_workers_are_whole(serve: Serve, tmp_path: Path) -> None:
    """Many connections to two processes that write to one file: a line for each request, none in another."""
    path, requests, connections = tmp_path / "access", 200, 8
    server = serve("wire:app", "--workers", "2", "--access-log-file", str(path), test_app=True)

    def ask(name: int) -> None:
        with server.connect() as wire:
            for number in range(requests):
                wire.request(f"/hello?{name}-{number}-{'x' * 200}")
                wire.answer()

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    server.stop()
    lines = path.read_text().splitlines()
    assert len(lines) == requests * connections
    pattern = re.compile(r'INFO:     127\.0\.0\.1:\d+ - "GET /hello\?(\d+-\d+)-x{200} HTTP/1\.1" 200 OK')
    found = {match[1] for match in map(pattern.fullmatch, lines) if match}
    assert len(found) == requests * connections


def test_a_reader_that_stops_reading_stops_nobody_else() -> None:
    """Nobody reads stdout: requests are answered, 1 MiB of lines is kept, and it is told how many others were lost."""
    command = [sys.executable, "-m", "esg", "wire:app", "--app-dir", str(APPS), "--port", "0"]
    size, count = 3000, 600
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        bound = threading.Timer(PATIENCE, process.kill)
        bound.start()
        try:
            port = next(int(found[1]) for line in process.stderr if (found := re.search(r"http://127.*:(\d+) ", line)))
            with Wire(port) as wire:
                for number in range(count):
                    wire.request(f"/hello?{number}-{'x' * size}")
                    assert wire.answer().status == 200
            lines: list[str] = []
            reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
            reader.start()
            lost = next(int(found[1]) for line in process.stderr if (found := re.search(r"(\d+) lines of the", line)))
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
            reader.join(PATIENCE)
        finally:
            bound.cancel()
            process.kill()
    assert lost > 0
    assert len(lines) == count - lost
    assert all(re.fullmatch(rf'INFO: .* "GET /hello\?\d+-x{{{size}}} HTTP/1.1" 200 OK\n', line) for line in lines)


def test_a_program_that_forgets_to_shut_down_loses_no_line(tmp_path: Path) -> None:
    path = tmp_path / "access"
    program = f"""
        import asyncio, esg
        from examples.hello import app

        async def main():
            server = esg.Server(esg.Config(app, port=0, access_log_file={str(path)!r}, loop="asyncio"))
            await server.startup()
            for _ in range(3):
                reader, writer = await asyncio.open_connection(*server.addresses[0])
                writer.write(b"GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
                await reader.read()
                writer.close()

        asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, timeout=PATIENCE, stderr=-1)
    assert done.returncode == 0, done.stderr
    assert path.read_text().count('"GET / HTTP/1.1" 200 OK') == 3


def test_a_handler_that_is_added_while_it_runs_gets_records(serve: Serve) -> None:
    server = serve("handling:app", test_app=True)
    server.get("/before")
    server.get("/add")
    server.get("/after")
    server.wait_for("RECORD GET /after 200")
    assert not [line for line in server.lines if line.startswith("RECORD GET /before")]
    server.wait_for('"GET /after HTTP/1.1" 200 OK')


def test_request_ids(serve: Serve) -> None:
    server = serve(
        "wire:app", "--request-id-header", "X-Request-ID", "--access-log-format", "%(U)s %(request_id)s", test_app=True
    )
    with server.connect() as wire:
        wire.request("/hello", headers=("X-Request-ID: given-by-a-proxy",))
        assert wire.answer()["x-request-id"] == "given-by-a-proxy"
        wire.request("/hello", headers=("X-Request-ID: bad value",))
        name = wire.answer()["x-request-id"]
    assert name is not None and re.fullmatch("[0-9a-f]{32}", name)
    server.wait_for("/hello given-by-a-proxy")
    server.wait_for(f"/hello {name}")


def test_errors_have_the_id_of_their_request(serve: Serve) -> None:
    server = serve("wire:app", "--request-id-header", "x-request-id", "--log-format", "json", test_app=True)
    with server.connect() as wire:
        wire.request("/raise-early", headers=("X-Request-ID: abc",), close=True)
        answer = wire.answer()
    assert (answer.status, answer["x-request-id"]) == (500, "abc")
    fields = json.loads(server.wait_for("Exception in ASGI application"))
    assert (fields["level"], fields["request_id"]) == ("ERROR", "abc")
    assert "Traceback (most recent call last):\n" in fields["exception"]


def test_websockets(serve: Serve) -> None:
    """A line for the handshake and one for the end, with the bytes of the messages and the time it was open."""
    options = ("--access-log-format", "%(m)s %(U)s %(s)s %(B)s %(L)s %(S)s %(request_id)s")
    server = serve("sockets:app", *options, "--request-id-header", "x-request-id", test_app=True)
    with server.connect() as wire:
        answer = join(wire, "/", "X-Request-ID: abc")
        assert answer["x-request-id"] == "abc"
        assert echoes(wire, b"hello")
        wire.send(close_frame(1001))
        assert read_close(wire)[0] == 1001
    with server.connect() as wire:
        assert ask(wire, "/respond").status == 401
    with server.connect() as wire:
        answer = ask(wire, "/deny", "X-Request-ID: abd")
        assert (answer.status, answer["x-request-id"]) == (403, "abd")
    patterns = [
        r"GET / 101 0 0\.\d{6} ws abc",
        r"WEBSOCKET / 1001 7 0\.\d{6} ws abc",
        r"GET /respond 401 8 0\.\d{6} ws [0-9a-f]{32}",
        r"GET /deny 403 9 0\.\d{6} ws abd",
    ]
    server.wait_for("GET /deny 403")
    lines = [line for line in server.lines if " ws " in line]
    assert len(lines) == 4 and all(map(re.fullmatch, patterns, lines)), lines


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--access-log-format", "%(durration)s"], 2, "did you mean %(duration)s?"),
        (["--log-config", "missing.yaml"], 3, "Cannot use the log configuration missing.yaml: there is no file"),
        (["--log-file", "no/such/dir/log"], 3, "Cannot write the log file 'no/such/dir/log': No such file"),
        (["--access-log-file", ""], 3, "Cannot write the log file '': No such file"),
        (["--log-config", SLOW, "--log-format", "json"], 2, "log_format: the log configuration says that"),
        (["--request-id-header", "x id"], 2, "'x id' is no name of a header field"),
    ],
)
def test_one_line_for_what_is_wrong(arguments: list[str], status: int, message: str) -> None:
    process = Process(sys.executable, "-m", "esg", "wire:app", "--app-dir", str(APPS), *arguments)
    try:
        assert process.wait() == status
        (line,) = process.lines
        assert message in line
    finally:
        process.close()
