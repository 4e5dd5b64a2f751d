"""What an application sees: its task, its context, its scope; from its first step on, on both event loops."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

# Python 3.10 can only give a task a copy of a context: what the lifespan sets stays there.
LIFESPAN = "set in lifespan" if sys.version_info >= (3, 11) else "unset"


@pytest.fixture(scope="module")
def server(serve_module: Any, loop: str) -> Any:
    return serve_module("view:app", "--loop", loop, "--lifespan", "on", test_app=True)


def ask(server: Any, target: str) -> Any:
    answer = server.get(target)
    assert answer.status == 200
    return json.loads(answer.body)


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("/current-task", [True, True]),
        pytest.param(
            "/timeout",
            ["http.request", "timeout"],
            marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout came with Python 3.11"),
        ),
        ("/wait-for", ["http.request", "timeout"]),
        ("/task-group", ["http.request"]),
        ("/create-task", ["http.request", True, True]),
        ("/is-coroutine", [True, "http.request"]),
    ],
)
@pytest.mark.parametrize("query", ["", "?tasks"])
def test_the_first_step(server: Any, path: str, query: str, result: Any) -> None:
    assert ask(server, path + query) == result


def test_scope(server: Any) -> None:
    with server.connect() as wire:
        address = wire.socket.getsockname()
        wire.send(
            b"PUT /caf%C3%A9/%2F?q=%20a&b HTTP/1.1\r\nHOST: test.example\r\nX-Twice:  one \r\n"
            b"x-twice: t\xe9\r\nContent-Length: 2\r\n\r\nab"
        )
        seen = json.loads(wire.answer().body)
    assert seen["scope"] == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "http",
        "path": "/café//",
        "raw_path": "/caf%C3%A9/%2F",
        "query_string": "q=%20a&b",
        "root_path": "",
        "headers": [
            ["tuple", "host", "test.example"],
            ["tuple", "x-twice", "one"],
            ["tuple", "x-twice", "té"],
            ["tuple", "content-length", "2"],
        ],
        "client": list(address),
        "server": ["127.0.0.1", server.port],
        "state": {"name": "esg", "visits": seen["scope"]["state"]["visits"]},
        "extensions": {
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "http.response.trailers": {},
            "http.response.zerocopysend": {},
        },
    }
    assert seen["types"] == {
        "type": "str",
        "asgi": "dict",
        "http_version": "str",
        "method": "str",
        "scheme": "str",
        "path": "str",
        "raw_path": "bytes",
        "query_string": "bytes",
        "root_path": "str",
        "headers": "list",
        "client": "tuple",
        "server": "tuple",
        "state": "dict",
        "extensions": "dict",
    }


def test_scope_of_http_1_0(server: Any) -> None:
    with server.connect() as wire:
        wire.send(b"GET / HTTP/1.0\r\n\r\n")
        scope = json.loads(wire.answer().body)["scope"]
    assert (scope["http_version"], scope["headers"]) == ("1.0", [])


@pytest.mark.parametrize("pause", ["", "wait"])
def test_contexts_do_not_leak_on_one_connection(server: Any, pause: str) -> None:
    with server.connect() as wire:
        for query in ("a", pause or "b", "c"):
            wire.request(f"/context?{query}")
            assert json.loads(wire.answer().body) == ["unset", query, LIFESPAN]


@pytest.mark.parametrize("queries", [["a", "b", "c"], ["wait", "b", "wait", "d"], ["a"] * 40])
def test_contexts_do_not_leak_between_pipelined_requests(server: Any, queries: list[str]) -> None:
    with server.connect() as wire:
        wire.send(b"".join(f"GET /context?{q} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for q in queries))
        seen = [json.loads(wire.answer().body) for _ in queries]
    assert seen == [["unset", query, LIFESPAN] for query in queries]


def test_contexts_do_not_leak_through_a_body_that_came_late(server: Any) -> None:
    """The socket was paused: whoever resumes it must not lend the next request its context."""
    body = bytes(1024 * 1024)
    with server.connect() as wire:
        for query in ("wait", "b"):
            wire.request(f"/context?{query}", "POST", body=body[:200_000])
            assert json.loads(wire.answer().body) == ["unset", query, LIFESPAN]
        wire.request("/context?c")
        assert json.loads(wire.answer().body) == ["unset", "c", LIFESPAN]


def test_state_is_copied_for_each_request(server: Any) -> None:
    first, second = ask(server, "/state"), ask(server, "/state")
    assert [first[0], second[0]] == ["esg", "esg"]
    assert second[1] == first[1] + 1
