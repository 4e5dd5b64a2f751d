"""One application in Starlette and in FastAPI, with what frameworks do on top of ASGI."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from .conftest import PATIENCE


@pytest.fixture(scope="module", params=["starlette", "fastapi"])
def app(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return f"examples.frameworks.{request.param}_app:app"


@pytest.fixture(scope="module")
def server(serve_module: Any, app: str) -> Any:
    return serve_module(app, "--lifespan", "on", faults=True)


@pytest.fixture
def client(server: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


def test_json(client: httpx.Client) -> None:
    answer = client.post("/double", json={"number": 21})
    assert (answer.status_code, answer.json()) == (200, {"double": 42})


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_form_with_a_file(client: httpx.Client, size: int) -> None:
    files = {"file": ("numbers.bin", bytes(size), "application/octet-stream")}
    answer = client.post("/upload", data={"title": "Zahlen"}, files=files)
    assert answer.json() == {"title": "Zahlen", "name": "numbers.bin", "size": size}


def test_streaming(client: httpx.Client) -> None:
    with client.stream("GET", "/countdown/1000") as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        lines = list(answer.iter_lines())
    assert lines == [str(number) for number in range(1000, 0, -1)]


def test_a_client_that_leaves_a_stream(serve: Any, app: str) -> None:
    # A server of its own: it stops only once the application has ended, and its log must be clean then.
    server = serve(app)
    with server.connect() as wire:
        wire.request("/countdown/300000")
        assert wire.head().status == 200
    assert server.get("/sent").status == 200
    server.stop()


def test_background_task(client: httpx.Client) -> None:
    before = client.get("/sent").json()
    assert client.post("/notify/somebody").status_code == 202
    # The next request of a connection may begin while the task runs. Both frameworks run it in a thread: the two tasks
    # may end in either order.
    assert client.post("/notify/anybody").status_code == 202
    deadline = time.monotonic() + PATIENCE
    while len(sent := client.get("/sent").json()) < len(before) + 2:
        assert time.monotonic() < deadline, sent
    assert sent[: len(before)] == before
    assert sorted(sent[len(before) :]) == ["anybody", "somebody"]


def test_exception_handler(client: httpx.Client) -> None:
    answer = client.get("/buy")
    assert (answer.status_code, answer.json()) == (409, {"detail": "out of stock"})


def test_unhandled_exception(server: Any, client: httpx.Client) -> None:
    with server.says("RuntimeError: broken on purpose"):
        answer = client.get("/broken")
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert client.get("/sent").status_code == 200


def test_not_found(client: httpx.Client) -> None:
    assert client.get("/nothing/here").status_code == 404
    assert client.get("/double").status_code == 405


def test_head(client: httpx.Client) -> None:
    # Starlette answers HEAD where there is GET, FastAPI only where it is asked to.
    assert client.head("/sent").status_code in (200, 405)
    assert client.get("/sent").status_code == 200


def test_state_of_the_lifespan(client: httpx.Client) -> None:
    assert isinstance(client.get("/sent").json(), list)
