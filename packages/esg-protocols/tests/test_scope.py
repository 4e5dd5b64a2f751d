"""The scope, item for item (ASGI HTTP specification, "HTTP Connection Scope")."""

from __future__ import annotations

import asyncio
import copy
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Play = Callable[..., None]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
EXTENSIONS = {
    "http.response.early_hint",
    "http.response.pathsend",
    "http.response.trailers",
    "http.response.zerocopysend",
}


class Scopes:
    """An app that keeps its scopes as they came."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert type(scope) is dict
        self.all.append(copy.deepcopy(scope))
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})


def test_the_scope_of_a_plain_request(play: Play) -> None:
    app = Scopes()

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.answer()
        (scope,) = app.all
        host, port = scope.pop("client")
        assert (host, type(port)) == ("127.0.0.1", int)
        host, port = scope.pop("server")
        assert (host, type(port)) == ("127.0.0.1", int)
        assert scope == {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": "1.1",
            "scheme": "http",
            "method": "GET",
            "root_path": "",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "headers": [(b"host", b"a")],
            "extensions": {name: {} for name in EXTENSIONS},
        }

    play(app, case)


def test_the_scope_of_a_request_with_everything(play: Play) -> None:
    app = Scopes()

    async def case(client: Any) -> None:
        await client.send(
            b"PATCH /caf%C3%A9%2Fx/%zz?a=b%20c&%C3 HTTP/1.0\r\n"
            b"Host: example:80\r\nCookie: a=1\r\nCOOKIE: b=2\r\nX-Odd:  \xff value \t\r\nX-Empty:\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        await client.answer("PATCH")
        (scope,) = app.all
        assert scope["method"] == "PATCH"
        assert scope["http_version"] == "1.0"
        assert scope["path"] == "/café/x/%zz"
        assert scope["raw_path"] == b"/caf%C3%A9%2Fx/%zz"
        assert scope["query_string"] == b"a=b%20c&%C3"
        assert scope["headers"] == [
            (b"host", b"example:80"),
            (b"cookie", b"a=1"),
            (b"cookie", b"b=2"),
            (b"x-odd", b"\xff value"),
            (b"x-empty", b""),
            (b"content-length", b"0"),
        ]

    play(app, case)


def test_requests_of_one_connection_share_nothing(play_steps: Play) -> None:
    app = Scopes()

    async def spoiling(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        scope["headers"].clear()
        scope["asgi"].clear()
        scope["extensions"]["http.response.pathsend"]["spoilt"] = True
        scope["state"]["count"] += 1
        scope["state"]["new"] = True
        scope["extra"] = True
        scope["query_string"] = b"spoilt"

    async def case(client: Any) -> None:
        await client.send(GET.replace(b"/ ", b"/?first "))
        await client.answer()
        await client.send(GET)
        await client.answer()
        first, second = app.all
        assert first["query_string"] == b"first"
        assert second["query_string"] == b""
        assert second["headers"] == [(b"host", b"a")]
        assert second["asgi"] == {"version": "3.0", "spec_version": "2.5"}
        assert second["extensions"]["http.response.pathsend"] == {}
        assert "extra" not in second

    play_steps(spoiling, case, state={"count": 0})


@pytest.mark.parametrize(
    ("root", "target", "path", "raw_path"),
    [
        ("/api", b"/a%20b?c", "/api/a b", b"/api/a%20b"),
        ("/api", b"/", "/api/", b"/api/"),
        ("/a b/\u00fc", b"/c", "/a b/\u00fc/c", b"/a%20b/%C3%BC/c"),
        ("", b"/api", "/api", b"/api"),
        ("/api", b"*", "*", b"*"),
    ],
)
def test_the_root_path_comes_before_the_path(
    root: str, target: bytes, path: str, raw_path: bytes, play_steps: Play
) -> None:
    app = Scopes()

    async def case(client: Any) -> None:
        await client.send(b"OPTIONS %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
        await client.answer()
        (scope,) = app.all
        assert (scope["root_path"], scope["path"], scope["raw_path"]) == (root, path, raw_path)

    play_steps(app, case, settings={"root_path": root})


def test_inner_dicts_that_are_kept_are_not_shared(play_steps: Play) -> None:
    """Those of a scope that is gone serve again, those that somebody holds or has changed do not."""
    kept: list[Any] = []
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        extensions = scope["extensions"]
        seen.append((dict(scope["asgi"]), dict(scope["state"]), set(extensions), [*extensions.values()] == [{}] * 4))
        if scope["path"] == "/keep":
            kept.extend((scope["asgi"], scope["state"], extensions))
        elif scope["path"] == "/keep/inner":
            kept.append(extensions["http.response.trailers"])
        elif scope["path"] == "/spoil":
            scope["asgi"]["version"] = scope["state"]["a"] = None
            extensions["http.response.pathsend"]["a"] = 1
        elif scope["path"] == "/replace":
            extensions["http.response.pathsend"] = {}
            extensions.update({"tls": extensions.pop("http.response.trailers")})
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async def case(client: Any) -> None:
        paths = (b"/", b"/", b"/keep", b"/", b"/spoil", b"/", b"/keep", b"/", b"/keep/inner", b"/", b"/replace", b"/")
        for path in paths:
            await client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path, more=True)
            await client.answer()
            for inner in kept:
                inner["mine"] = True
        assert seen == [({"version": "3.0", "spec_version": "2.5"}, {"a": 1}, EXTENSIONS, True)] * len(paths)

    play_steps(app, case, state={"a": 1})


def test_the_state_is_a_shallow_copy(play_steps: Play) -> None:
    states = []
    shared: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        states.append(scope["state"])
        scope["state"]["count"] += 1
        scope["state"]["shared"].append(1)
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async def case(client: Any) -> None:
        for _ in range(3):
            await client.send(GET)
            await client.answer()
        assert [state["count"] for state in states] == [1, 1, 1]
        assert shared == [1, 1, 1]
        assert client.context.state == {"count": 0, "shared": shared}

    play_steps(app, case, state={"count": 0, "shared": shared})


def test_no_state_unless_there_is_a_lifespan(play_fake: Play) -> None:
    app = Scopes()

    async def case(client: Any) -> None:
        await client.send(GET)
        client.context.state = {"set": "later"}
        await client.send(GET)
        await client.answers(["GET"] * 2)
        assert "state" not in app.all[0]
        assert app.all[1]["state"] == {"set": "later"}

    play_fake(app, case)


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"http://other:81/path?x", b"other:81"),
        (b"https://OTHER/path?x", b"OTHER"),
    ],
)
def test_an_absolute_target_stands_for_host(target: bytes, host: bytes, play: Play) -> None:
    app = Scopes()

    async def case(client: Any) -> None:
        await client.send(b"GET " + target + b" HTTP/1.1\r\nX-A: 1\r\nHost: ignored\r\nX-B: 2\r\n\r\n")
        await client.answer()
        (scope,) = app.all
        assert scope["path"] == "/path"
        assert scope["query_string"] == b"x"
        assert scope["headers"] == [(b"host", host), (b"x-a", b"1"), (b"x-b", b"2")]

    play(app, case)


def test_the_asterisk(play: Play) -> None:
    app = Scopes()

    async def case(client: Any) -> None:
        await client.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.answer("OPTIONS")
        assert (app.all[0]["path"], app.all[0]["raw_path"]) == ("*", b"*")

    play(app, case)


class Named:
    """A socket as far as the scope looks at it."""

    def __init__(self, family: int) -> None:
        self.family = family


UNIX = getattr(socket, "AF_UNIX", None)


@pytest.mark.parametrize(
    ("extra", "client", "server"),
    [
        ({"peername": ("10.0.0.1", 5), "sockname": ("10.0.0.2", 6)}, ("10.0.0.1", 5), ("10.0.0.2", 6)),
        ({"peername": ("::1", 5, 0, 0), "sockname": ("::1", 6, 0, 0)}, ("::1", 5), ("::1", 6)),
        ({"peername": ["::1", 5], "sockname": ["::1", 6]}, ("::1", 5), ("::1", 6)),
        ({"peername": None, "sockname": None}, None, None),
        ({"peername": "", "sockname": "/run/a.sock", "socket": Named(UNIX or -1)}, None, ("/run/a.sock", None)),
        ({"peername": "", "sockname": "", "socket": Named(UNIX or -1)}, None, None),
        ({"peername": "", "sockname": b"\0esg", "socket": Named(UNIX or -1)}, None, ("\0esg", None)),
    ],
    ids=["IPv4", "IPv6", "lists", "none", "unix", "unnamed unix", "abstract unix"],
)
@pytest.mark.skipif(UNIX is None, reason="there are no UNIX sockets here")
def test_client_and_server(extra: Any, client: Any, server: Any, play_fake: Play) -> None:
    app = Scopes()

    async def case(first: Any) -> None:
        other = await first.another(extra=extra)
        await other.send(GET)
        await other.answer()
        assert app.all[0]["client"] == client
        assert app.all[0]["server"] == server

    play_fake(app, case)


def test_a_client_without_an_address_in_the_access_log(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        other = await client.another(extra={"peername": ""})
        await other.send(GET)
        await other.answer()
        assert client.accesses[0].args[0] == ""

    play_fake(Scopes(), case, access_log=True)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no UNIX sockets here")
def test_a_real_unix_socket(play_socket: Play, tmp_path: Path) -> None:
    app = Scopes()
    path = str(tmp_path / "socket")

    async def case(client: Any) -> None:
        server = await client.wiring.loop.create_unix_server(client.wiring._protocol, path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(GET)
        assert (await reader.readline()).startswith(b"HTTP/1.1 204 ")
        writer.close()
        await writer.wait_closed()
        server.close()
        assert app.all[0]["client"] is None
        assert app.all[0]["server"] == (path, None)

    play_socket(app, case)


FORWARDED = b"GET / HTTP/1.1\r\nHost: a\r\n%s: x\r\n\r\n"


@pytest.mark.parametrize("name", [b"Forwarded", b"X-Forwarded-For", b"x-forwarded-something-else"])
def test_a_trusted_peer_speaks_for_others(name: bytes, play_steps: Play) -> None:
    app = Scopes()
    asked: list[Any] = []

    def forward(scope: Any) -> None:
        scope["client"] = ("other", 0)
        scope["scheme"] = "https"

    def forwarded(client: Any, server: Any) -> Any:
        asked.append((client, server))
        return forward

    async def case(client: Any) -> None:
        for request in [GET, FORWARDED % name, GET, FORWARDED % b"Forwarding", FORWARDED % b"X-Forward-For"]:
            await client.send(request)
            await client.answer()
        # Only where there is such a field, and only once for each connection who may speak.
        (peer,) = asked
        assert [scope["client"] for scope in app.all] == [peer[0], ("other", 0), peer[0], peer[0], peer[0]]
        assert [scope["scheme"] for scope in app.all] == ["http", "https", "http", "http", "http"]
        assert peer[1] == app.all[0]["server"]
        names = [record.args[0].partition(":")[0] for record in client.accesses]
        assert names == [peer[0][0], "other", peer[0][0], peer[0][0], peer[0][0]]

    play_steps(app, case, forwarded=forwarded, access_log=True)


def test_a_peer_that_is_not_trusted_speaks_for_itself(play_steps: Play) -> None:
    app = Scopes()

    async def case(client: Any) -> None:
        await client.send(FORWARDED % b"Forwarded")
        await client.answer()
        assert app.all[0]["client"][0] == "127.0.0.1"

    play_steps(app, case, forwarded=lambda client, server: None)


def test_the_scheme_is_that_of_the_transport(play_fake: Play) -> None:
    app = Scopes()

    async def case(client: Any) -> None:
        secure = await client.another(extra={"sslcontext": object()})
        await secure.send(GET)
        await secure.answer()
        await client.send(GET)
        await client.answer()
        assert [scope["scheme"] for scope in app.all] == ["https", "http"]

    play_fake(app, case)
