"""Command lines of uvicorn's, as READMEs, Dockerfiles and guides have them, with ``esg`` in its place.

Each is started and answers a request; only ports are replaced by 0, and all interfaces by one.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import shlex
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import esg.cli
import pytest
import trustme
import uvicorn

from .conftest import PATIENCE, ROOT, Answer, Process, faults_in

# How many are started at the same time.
AT_ONCE = 4

FIRST_STEPS = """
uvicorn main:app
uvicorn main:app --reload
uvicorn main:app --host 0.0.0.0 --port 80
uvicorn asgi:app --host localhost --port 8000 --log-level debug
uvicorn --host 0.0.0.0 --port 5000 --log-level info --access-log main:app
python -m uvicorn app.main:app --host=0.0.0.0 --port=8000
python -m uvicorn main:app --loop auto --http auto --ws auto --lifespan auto --interface auto
uvicorn main:app --app-dir ""
uvicorn main:app --app-dir=app --port 8000
uvicorn --factory app.main:create_app --host 0.0.0.0
uvicorn app.main:create_app --factory --host 0.0.0.0 --port 8000 --proxy-headers --forwarded-allow-ips "*"
"""

DEVELOPMENT = """
uvicorn app.main:app --reload --reload-dir app --reload-dir core --port 8001
uvicorn app.main:app --reload --loop uvloop --http httptools --ws-ping-interval 60 --ws-ping-timeout 60
uvicorn main:app --reload --reload-include '*.html' --reload-exclude 'tests/*' --reload-delay 1.0 --use-colors
uvicorn asgi:app --env-file .env --log-level trace --no-use-colors
uvicorn main:app --reload --env-file=.env --timeout-keep-alive 300
uvicorn main:app --ssl-keyfile=./key.pem --ssl-certfile=./cert.pem
uvicorn --port 8443 --ssl-keyfile locked.pem --ssl-keyfile-password secret --ssl-certfile cert.pem main:app
uvicorn main:app --ssl-keyfile key.pem --ssl-certfile cert.pem --ssl-ca-certs ca.pem --ssl-cert-reqs 1 --ssl-version 17
uvicorn main:app --ssl-keyfile key.pem --ssl-certfile cert.pem --ssl-ciphers TLSv1
"""

CONTAINERS = """
uvicorn app.main:app --host 0.0.0.0 --port 80 --proxy-headers
uvicorn app.main:app --host 0.0.0.0 --port 80 --root-path /api/v1
uvicorn app.main:app --host 0.0.0.0 --port 8080 --workers 2 --loop uvloop --http httptools --no-access-log
uvicorn main:app --host 0.0.0.0 --port 8080 --workers 1 --loop uvloop --http httptools
uvicorn main:app --workers 2 --timeout-worker-healthcheck 30 --limit-max-requests 1000 --limit-max-requests-jitter 50
uvicorn main:app --host=0.0.0.0 --loop=uvloop --http=httptools --log-level=info --no-access-log --timeout-keep-alive=120
uvicorn app.main:app --timeout-keep-alive 75 --timeout-graceful-shutdown 30 --limit-max-requests 9999 --no-server-header
uvicorn app.main:app --limit-concurrency 100 --backlog 128 --forwarded-allow-ips '127.0.0.1,10.0.0.0/8'
uvicorn main:app --http h11 --h11-max-incomplete-event-size 65536 --no-server-header --no-date-header
uvicorn app.main:app --host 0.0.0.0 --log-config log_conf.yaml --use-colors
uvicorn app.main:app --log-config=logging.json --workers 1 --limit-concurrency 50 --limit-max-requests 100
uvicorn app.main:app --log-config log.ini
uvicorn app.main:app --proxy-headers --forwarded-allow-ips * --header X-Version:1.0 --header "Cache-Control: no-store"
uvicorn asgi:app --log-level=info --ws-ping-interval=70 --ws-ping-timeout=60 --no-access-log
uvicorn --uds uvicorn.sock main:app
uvicorn --uds nginx.sock --no-access-log --loop uvloop --http httptools --proxy-headers main:app
"""

FRAMEWORKS = """
uvicorn core.asgi:application --lifespan off
uvicorn core.asgi:application --host 0.0.0.0 --workers 2 --lifespan off --loop uvloop --http httptools
uvicorn asgi:app --lifespan on --interface asgi3 --ws none
uvicorn main:app --ws websockets --ws-max-size 1048576 --ws-max-queue 64 --ws-per-message-deflate false
uvicorn main:app --ws websockets-sansio --ws-per-message-deflate=true --reset-contextvars
uvicorn main:app --ws wsproto --loop asyncio
uvicorn --interface asgi2 old:app
uvicorn --interface wsgi old:wsgi
uvicorn main:app --http zttp --http2 --loop none
"""

LINES = [line for text in (FIRST_STEPS, DEVELOPMENT, CONTAINERS, FRAMEWORKS) for line in text.split("\n") if line]

# What some of them are told.
WORDS = {
    "httptools": "--http httptools has no meaning here",
    "--http h11": "--http h11 has no meaning here",
    "--http2": "--http2 has no meaning here",
    "--h11-max": "--h11-max-incomplete-event-size has no meaning here",
}

MAIN = """
import os

async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = os.environ.get("GREETING", "hello").encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

def create_app():
    return app
"""

LIFESPAN = """
from main import app as hello

async def app(scope, receive, send):
    if scope["type"] != "lifespan":
        return await hello(scope, receive, send)
    for word in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{word}.complete"})
"""

OLD = """
import functools
from main import app as hello

def app(scope):
    return functools.partial(hello, scope)

def wsgi(environ, start_response):
    start_response("200 OK", [("content-length", "5")])
    return [b"hello"]
"""

LOGGING = """{"version": 1, "disable_existing_loggers": false, "root": {"level": "INFO", "handlers": ["all"]},
"handlers": {"all": {"class": "logging.StreamHandler"}}}"""

INI = """
[loggers]
keys=root
[handlers]
keys=all
[formatters]
keys=
[logger_root]
level=INFO
handlers=all
[handler_all]
class=StreamHandler
args=()
"""


@dataclass
class Outcome:
    """What became of a line."""

    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    status: int = 0
    lines: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as those lines have it."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in {
        "main.py": MAIN,
        "app/__init__.py": "",
        "app/main.py": MAIN,
        "core/__init__.py": "",
        "core/asgi.py": MAIN.replace("async def app", "async def application"),
        "asgi.py": LIFESPAN,
        "old.py": OLD,
        ".env": "GREETING='hello from .env'\n",
        "logging.json": LOGGING,
        "log_conf.yaml": LOGGING,
        "log.ini": INI,
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    write_certificates(folder)
    return folder


def write_certificates(folder: Path) -> None:
    """``cert.pem`` and ``key.pem``, the latter once more as ``locked.pem``, and whom they come from."""
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (folder / "locked.pem").write_bytes(locked)


@pytest.fixture(scope="module")
def outcome_of(folder: Path) -> Iterator[Callable[[str], Outcome]]:
    """All lines, started a few at a time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = {line: pool.submit(outcome, line, folder) for line in LINES}
        yield lambda line: outcomes[line].result()


def outcome(line: str, folder: Path) -> Outcome:
    process = Process(*command(line), cwd=folder, env={"PYTHONWARNINGS": "error"})
    try:
        with connect(process, folder) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n")
            head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
        process.signal(signal.SIGTERM)
        return Outcome(body, Answer(head).headers, process.wait(), process.lines)
    finally:
        process.close()


def command(line: str) -> list[str]:
    line = re.sub(r"^(python -m )?uvicorn ", f"{sys.executable} -m esg ", line)
    line = re.sub(r" --port[ =]\d+", "", line).replace(" 0.0.0.0", " 127.0.0.1").replace("=0.0.0.0", "=127.0.0.1")
    return shlex.split(line) + ([] if "--uds" in line else ["--port", "0"])


def connect(process: Process, folder: Path) -> socket.socket:
    """Wait until it serves, however its log is set up, and open a connection."""
    place = process.wait_for("running on ").partition("running on ")[2].split(" (")[0]
    scheme, _, address = place.partition(":")
    if scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(str(folder / address))
        return connection
    host, _, port = address.removeprefix("//").rpartition(":")
    connection = socket.create_connection((host.strip("[]"), int(port)), PATIENCE)
    if scheme == "https":
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        return context.wrap_socket(connection, server_hostname="127.0.0.1")
    return connection


@pytest.mark.parametrize("line", LINES)
def test_line(line: str, outcome_of: Callable[[str], Outcome]) -> None:
    found = outcome_of(line)
    assert found.body == (b"hello from .env" if ".env" in line else b"hello")
    assert found.status == -signal.SIGTERM
    assert not faults_in(found.lines), "\n".join(found.lines)
    for option, words in WORDS.items():
        assert any(words in said for said in found.lines) is (option in line), "\n".join(found.lines)
    assert ("server" in dict(found.headers)) is ("--no-server-header" not in line)
    assert ("cache-control", "no-store") in found.headers or "--header" not in line


def test_every_option_of_uvicorns() -> None:
    """By the name it has there, on the command line and from Python."""
    ours = {flag for param in esg.cli.main.params for flag in (*param.opts, *param.secondary_opts)}
    theirs = importlib.import_module("uvicorn.main").main.params
    assert len(theirs) == 52
    for param in theirs:
        assert ours >= {*param.opts, *param.secondary_opts}
    names = {field.name for field in dataclasses.fields(esg.Config)}
    assert names >= set(inspect.signature(uvicorn.run).parameters)
    # Functions called while serving are no options here.
    assert set(inspect.signature(uvicorn.Config).parameters) - names == {"callback_notify", "timeout_notify"}


def test_the_guide_for_those_who_move_names_every_option() -> None:
    page = (ROOT / "docs" / "uvicorn.md").read_text(encoding="utf-8")
    for param in importlib.import_module("uvicorn.main").main.params:
        for flag in param.opts if param.name != "app" else ["APP"]:
            assert f"`{flag}`" in page, flag
