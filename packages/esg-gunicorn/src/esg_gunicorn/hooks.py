"""What gunicorn's hooks and loggers are told of a request: objects with the attributes that they know."""

from __future__ import annotations

import datetime
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from esg.app import make_app
from gunicorn.glogging import Logger

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Request:
    """A request as gunicorn's hooks see one.

    Attributes:
        method, path, query: as sent, percent-encoded.
        uri: path and query.
        version: as in ``(1, 1)``.
        headers: pairs of names in upper case and values.
        scheme: http or https.
        remote_addr: host and port of the client, or an empty tuple.
        scope: the ASGI scope.
    """

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        self.scope = scope
        self.method: str = scope.get("method", "GET")
        self.path: str = scope["raw_path"].decode("latin-1")
        self.query: str = scope["query_string"].decode("latin-1")
        self.uri = f"{self.path}?{self.query}" if self.query else self.path
        self.version = tuple(int(part) for part in scope["http_version"].split("."))
        self.headers = [(name.decode("latin-1").upper(), value.decode("latin-1")) for name, value in scope["headers"]]
        self.scheme: str = scope["scheme"]
        self.remote_addr: tuple[Any, ...] = tuple(scope["client"] or ())

    def environ(self) -> dict[str, Any]:
        """The variables of CGI that loggers and hooks ask for."""
        host, port = self.remote_addr or ("", "")
        environ = {
            "REQUEST_METHOD": self.method,
            "RAW_URI": self.uri,
            "PATH_INFO": self.scope["path"],
            "QUERY_STRING": self.query,
            "SERVER_PROTOCOL": "HTTP/" + self.scope["http_version"],
            "REMOTE_ADDR": str(host),
            "REMOTE_PORT": str(port),
            "wsgi.url_scheme": self.scheme,
        }
        environ |= {"HTTP_" + name.replace("-", "_"): value for name, value in self.headers}
        return environ


class Response:
    """A response as gunicorn's hooks and loggers see one.

    Attributes:
        status: code and phrase, as in ``"200 OK"``.
        headers: pairs of names and values, as the application gave them.
        sent: bytes of the body.
    """

    def __init__(self) -> None:
        self.status_code = 500
        self.headers: list[tuple[str, str]] = []
        self.sent = 0

    @property
    def status(self) -> str:
        return f"{self.status_code} {_PHRASES.get(self.status_code, '')}".rstrip()

    def note(self, message: Message) -> None:
        """Take in what the application sends."""
        if message["type"] == "http.response.start":
            self.status_code = message["status"]
            self.headers = [
                (bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
                for name, value in message.get("headers", ())
            ]
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))


def failing(target: Callable[..., Any]) -> Callable[..., Any]:
    """In ASGI, what gunicorn serves in WSGI while it reloads code that cannot be compiled: 500, and the reason.

    Args:
        target: what gunicorn made, which always answers the same.
    """
    body = b"".join(target({}, lambda *_: None))

    async def failed(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for what in "startup", "shutdown":
                await receive()
                await send({"type": f"lifespan.{what}.complete"})
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return failed


def has_own_access_log(log: Any) -> bool:
    """Whether gunicorn's logger is of a class that does something of its own with requests, as statsd's does."""
    return type(log).access is not Logger.access


def watched(target: Any, worker: Any, interface: str) -> Any:
    """The application, watched where gunicorn wants to know of each request, and itself where it does not.

    Args:
        target: what gunicorn has imported.
        worker: whose hooks and logger are to be called.
        interface: how the application is called, as in ESG's option.

    Raises:
        StartupError: when it is no application.
    """
    before, after = _own(worker.cfg, "pre_request"), _own(worker.cfg, "post_request")
    logs = has_own_access_log(worker.log)
    if before is None and after is None and not logs:
        return target
    app = make_app(target, interface=interface)

    async def watching(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        request, response, begun = Request(scope), Response(), time.monotonic()

        async def noting(message: Message) -> None:
            response.note(message)
            await send(message)

        if before is not None:
            before(worker, request)
        try:
            await app(scope, receive, noting)
        finally:
            environ = request.environ()
            if logs:
                took = datetime.timedelta(seconds=time.monotonic() - begun)
                worker.log.access(response, request, environ, took)
            if after is not None:
                after(worker, request, environ, response)

    return watching


def _own(cfg: Any, name: str) -> Callable[..., Any] | None:
    """A hook of the user's, and None where gunicorn's own stands, which does next to nothing."""
    setting = cfg.settings[name]
    hook: Callable[..., Any] = setting.get()
    return None if hook is setting.default else hook
