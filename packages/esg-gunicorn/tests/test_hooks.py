"""What gunicorn's hooks and loggers are told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from esg_gunicorn.hooks import Request, Response, watched
from gunicorn.config import Config as Settings
from gunicorn.glogging import Logger

SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/a b",
    "raw_path": b"/a%20b",
    "query_string": b"c=d",
    "http_version": "1.1",
    "scheme": "https",
    "client": ("192.0.2.1", 1234),
    "headers": [(b"host", b"test.example"), (b"user-agent", b"test")],
}


class Worker:
    """As much of a worker as is asked for here."""

    def __init__(self, log: type[Logger] = Logger, **hooks: Any) -> None:
        self.cfg = Settings()
        for name, hook in hooks.items():
            self.cfg.set(name, hook)
        self.log = log(self.cfg)


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"x-app", b"yes")]})
    await send({"type": "http.response.body", "body": b"abc", "more_body": True})
    await send({"type": "http.response.body", "body": b"de"})


def run(application: Any) -> list[str]:
    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(application(SCOPE, None, send))
    return sent


def test_a_request() -> None:
    request = Request(SCOPE)
    assert (request.method, request.path, request.query, request.uri) == ("GET", "/a%20b", "c=d", "/a%20b?c=d")
    assert (request.version, request.scheme, request.remote_addr) == ((1, 1), "https", ("192.0.2.1", 1234))
    assert request.headers == [("HOST", "test.example"), ("USER-AGENT", "test")]
    environ = request.environ()
    assert (environ["REMOTE_ADDR"], environ["HTTP_USER_AGENT"], environ["RAW_URI"]) == (
        "192.0.2.1",
        "test",
        request.uri,
    )


def test_a_client_without_an_address() -> None:
    request = Request({**SCOPE, "client": None})
    assert request.remote_addr == ()
    assert request.environ()["REMOTE_ADDR"] == ""


def test_a_response() -> None:
    response = Response()
    assert response.status == "500 Internal Server Error"
    response.note({"type": "http.response.start", "status": 799})
    assert (response.status, response.headers, response.sent) == ("799", [], 0)


def test_nothing_stands_in_between_where_nobody_asks() -> None:
    assert watched(app, Worker(), "auto") is app


def test_hooks_are_called_before_and_after() -> None:
    calls: list[Any] = []

    def before(worker: Any, req: Any) -> None:
        calls.append(("before", req.method, req.path))

    def after(worker: Any, req: Any, environ: Any, resp: Any) -> None:
        calls.append(("after", req.uri, environ["REQUEST_METHOD"], resp.status, resp.headers, resp.sent))

    application = watched(app, Worker(pre_request=before, post_request=after), "auto")
    assert run(application) == ["http.response.start", "http.response.body", "http.response.body"]
    assert calls == [
        ("before", "GET", "/a%20b"),
        ("after", "/a%20b?c=d", "GET", "404 Not Found", [("x-app", "yes")], 5),
    ]


def test_a_logger_is_told_of_an_application_that_raises() -> None:
    seen: list[Any] = []

    class Own(Logger):  # type: ignore[misc]
        def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
            seen.append((resp.status, req.method, request_time.total_seconds() >= 0))

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("broken on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        run(watched(broken, Worker(Own), "auto"))
    assert seen == [("500 Internal Server Error", "GET", True)]
