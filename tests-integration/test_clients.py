"""Real clients: curl, httpx, wrk, and nginx in front as a reverse proxy."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest


@pytest.fixture(scope="module")
def server(serve_module: Any) -> Any:
    return serve_module("wire:app", "--no-access-log", test_app=True)


# -- curl


@pytest.fixture
def curl(program: Any) -> Any:
    path = program("curl")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        # -q: no configuration of whoever runs the test.
        command = [path, "-q", "--silent", "--show-error", "--verbose", "--noproxy", "*", "--max-time", "20"]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=30, check=True)

    return run


def test_curl_keeps_the_connection(server: Any, curl: Any) -> None:
    done = curl(server.url + "/hello", server.url + "/peer")
    assert done.stdout.startswith("hello")
    assert done.stdout.removeprefix("hello").isdigit()
    assert "Re-using existing" in done.stderr


def test_curl_uploads(server: Any, curl: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789" * 300_000)
    done = curl("-T", str(tmp_path / "file"), server.url + "/echo", "--output", str(tmp_path / "back"))
    assert "100 Continue" in done.stderr
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()


def test_curl_uploads_chunked(server: Any, curl: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789" * 30_000)
    done = curl("-T", str(tmp_path / "file"), "-H", "Transfer-Encoding: chunked", server.url + "/echo")
    assert done.stdout == "0123456789" * 30_000


def test_curl_http_1_0(server: Any, curl: Any) -> None:
    done = curl("--http1.0", server.url + "/chunked")
    assert done.stdout == "one two three"
    assert "transfer-encoding" not in done.stderr.lower()


def test_curl_head(server: Any, curl: Any) -> None:
    done = curl("--head", server.url + "/hello", server.url + "/chunked")
    assert done.stdout.count("HTTP/1.1 200 OK") == 2
    assert "content-length: 5" in done.stdout
    assert "Re-using existing" in done.stderr


# -- httpx


@pytest.fixture
def client(server: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


def test_httpx_json(client: httpx.Client) -> None:
    sent = {"text": "größer", "numbers": list(range(100))}
    assert client.post("/echo", json=sent).json() == sent


def test_httpx_streams_both_ways(client: httpx.Client) -> None:
    parts = [bytes([number]) * 10_000 for number in range(50)]
    with client.stream("POST", "/echo", content=iter(parts)) as answer:
        assert b"".join(answer.iter_bytes()) == b"".join(parts)


def test_httpx_keeps_the_connection(client: httpx.Client) -> None:
    assert len({client.get("/peer").text for _ in range(20)}) == 1


@pytest.mark.parametrize("status", [200, 204, 304, 404, 500])
def test_httpx_status(client: httpx.Client, status: int) -> None:
    answer = client.get(f"/status?{status}")
    assert answer.status_code == status
    assert answer.text == ("" if status in (204, 304) else "not for everyone")


# -- wrk


@pytest.mark.parametrize("path", ["/hello", "/chunked"])
def test_wrk(serve: Any, loop: str, program: Any, path: str) -> None:
    server = serve("wire:app", "--loop", loop, "--no-access-log", test_app=True)
    command = [program("wrk"), "--threads", "1", "--connections", "16", "--duration", "1s", server.url + path]
    report = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    # wrk speaks of errors and of answers other than 2xx and 3xx only when there were any.
    assert "Socket errors" not in report
    assert "Non-2xx" not in report
    done = re.search(r"(\d+) requests in", report)
    assert done is not None, report
    assert int(done[1]) > 100


# -- nginx


@pytest.fixture(scope="module")
def nginx(server: Any, front: Any) -> Iterator[httpx.Client]:
    """A client of an nginx that stands in front of the server."""
    with httpx.Client(base_url=front("nginx", server).url, timeout=20) as client:
        yield client


def test_nginx_keeps_its_connection_to_us(nginx: httpx.Client) -> None:
    assert len({nginx.get("/peer").text for _ in range(20)}) == 1


def test_nginx_passes_requests(nginx: httpx.Client) -> None:
    assert nginx.get("/target?a=b%20c").text == "/target?a=b%20c"
    assert json.loads(nginx.get("/host", headers={"Host": "test.example"}).text) == ["test.example", "/host"]
    assert nginx.head("/hello").headers["content-length"] == "5"
    assert nginx.get("/status?204").status_code == 204


def test_nginx_passes_bodies(nginx: httpx.Client) -> None:
    body = bytes(range(256)) * 8192
    assert nginx.post("/echo", content=body).content == body
    assert nginx.post("/echo", content=iter([body, body])).content == body + body


def test_nginx_passes_streams(server: Any, nginx: httpx.Client) -> None:
    with nginx.stream("GET", "/stream?nginx") as answer:
        parts = answer.iter_raw()
        assert next(parts) == b"first"
        assert server.get("/open?nginx").body == b"open"
        assert b"".join(parts) == b"second"
