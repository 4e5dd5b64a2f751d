"""Over TLS: the ``tls`` extension of the scope, and files that the system cannot send by itself."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trustme
from esg_protocols.asgi import HTTPProtocol, ServerContext
from esg_protocols.asgi.tls import distinguished_name
from esg_protocols.settings import Settings
from esg_protocols.testing import FakeClock

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SERVER_CERT = "-----BEGIN CERTIFICATE-----\n(the server's own)\n-----END CERTIFICATE-----\n"


class TLS:
    """An authority, a server that trusts it, and clients with and without certificates of it."""

    def __init__(self) -> None:
        self.root = trustme.CA()
        self.between = self.root.create_child_ca()
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.root.issue_cert("localhost").configure_cert(self.server)
        self.root.configure_trust(self.server)
        self.server.verify_mode = ssl.CERT_OPTIONAL

    def client(self, identity: trustme.LeafCert | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.root.configure_trust(context)
        if identity is not None:
            identity.configure_cert(context)
        return context


@pytest.fixture(scope="module")
def tls() -> TLS:
    return TLS()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    if request.param == "asyncio":
        return asyncio.run
    return pytest.importorskip("uvloop").run  # type: ignore[no-any-return]


async def ask(
    app: Any,
    server: ssl.SSLContext | None,
    client: ssl.SSLContext | None,
    sent: bytes = GET,
    *,
    protocol: type[HTTPProtocol] = HTTPProtocol,
    **options: Any,
) -> bytes:
    """What comes back on one connection, on which the last request ends it."""
    loop = asyncio.get_running_loop()
    context = ServerContext(app, Settings(), loop=loop, **options)
    FakeClock(context)
    listener = await loop.create_server(lambda: protocol(context), "127.0.0.1", 0, ssl=server)
    port = listener.sockets[0].getsockname()[1]
    name = "localhost" if client else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    listener.close()
    await asyncio.wait_for(over(context), 20)
    return answer


async def over(context: ServerContext) -> None:
    while context.connections or context.tasks:
        await asyncio.sleep(0)


def test_a_tick_behind_the_clients_goodbye(tls: TLS, run: Any) -> None:
    """The client has answered our goodbye and the loop has not told of the end yet: a tick may fall between."""
    ticks: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    class Ticking(HTTPProtocol):
        def eof_received(self) -> Any:
            kept = super().eof_received()
            self.tick()
            ticks.append("behind the goodbye")
            return kept

    async def story() -> list[Any]:
        problems: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, problem: problems.append(problem))
        answer = await ask(app, tls.server, tls.client(), protocol=Ticking)
        assert answer.startswith(b"HTTP/1.1 200 ")
        return problems

    assert run(story()) == []
    assert ticks


class Scopes:
    def __init__(self) -> None:
        self.scope: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    def tls(self) -> dict[str, Any]:
        assert self.scope["scheme"] == "https"
        told: dict[str, Any] = self.scope["extensions"]["tls"]
        return told


def test_without_tls_there_is_no_such_extension(run: Any) -> None:
    app = Scopes()
    run(ask(app, None, None))
    assert app.scope["scheme"] == "http"
    assert "tls" not in app.scope["extensions"]


@pytest.mark.parametrize(
    ("version", "number", "suites"),
    [
        (ssl.TLSVersion.TLSv1_2, 0x0303, {0xC02B, 0xC02C, 0xC02F, 0xC030, 0xCCA8, 0xCCA9}),
        (ssl.TLSVersion.TLSv1_3, 0x0304, {0x1301, 0x1302, 0x1303}),
    ],
)
def test_version_and_cipher(version: ssl.TLSVersion, number: int, suites: set[int], tls: TLS, run: Any) -> None:
    app, client = Scopes(), tls.client()
    client.minimum_version = client.maximum_version = version
    assert run(ask(app, tls.server, client, server_cert=SERVER_CERT)).startswith(b"HTTP/1.1 204")
    told = app.tls()
    assert told["tls_version"] == number
    assert told["cipher_suite"] in suites
    assert told["server_cert"] == SERVER_CERT
    assert (told["client_cert_chain"], told["client_cert_name"], told["client_cert_error"]) == ([], None, None)


def test_what_the_server_does_not_know_is_none(tls: TLS, run: Any) -> None:
    app = Scopes()
    run(ask(app, tls.server, tls.client()))
    assert app.tls()["server_cert"] is None


def test_what_one_request_does_to_it_the_next_does_not_see(tls: TLS, run: Any) -> None:
    """Scopes have a dict each, even where the one before it serves again."""
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told = scope["extensions"]["tls"]
        seen.append(dict(told))
        path = scope["path"]
        if path == "/change":
            told["cipher_suite"] = "changed"
        elif path == "/add":
            told["more"] = True
        elif path == "/remove":
            del scope["extensions"]["tls"]
        elif path == "/keep":
            kept.append(told)
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    kept: list[dict[str, Any]] = []
    paths = ("/", "/", "/change", "/", "/add", "/", "/remove", "/", "/keep", "/change", "/")
    requests = b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths)
    answers = run(ask(app, tls.server, tls.client(), sent=requests + GET))
    assert answers.count(b"HTTP/1.1 204") == len(paths) + 1
    assert all(told == seen[0] for told in seen)
    assert kept == [seen[0]]


def test_the_certificate_of_the_client(tls: TLS, run: Any) -> None:
    app = Scopes()
    identity = tls.root.issue_cert("client.example", common_name="Jane, the #1", organization_name="A+B")
    run(ask(app, tls.server, tls.client(identity)))
    told = app.tls()
    assert told["client_cert_name"].startswith(r"CN=Jane\, the #1,OU=")
    assert told["client_cert_name"].endswith(r",O=A\+B")
    assert ssl.PEM_cert_to_DER_cert(told["client_cert_chain"][0]) == ssl.PEM_cert_to_DER_cert(
        identity.cert_chain_pems[0].bytes().decode()
    )


def test_the_chain_of_the_client(tls: TLS, run: Any) -> None:
    """All that it sent, where Python tells."""
    app, identity = Scopes(), tls.between.issue_cert("client.example")
    run(ask(app, tls.server, tls.client(identity)))
    sent = [ssl.PEM_cert_to_DER_cert(pem.bytes().decode()) for pem in identity.cert_chain_pems]
    told = [ssl.PEM_cert_to_DER_cert(pem) for pem in app.tls()["client_cert_chain"]]
    assert len(sent) == 2
    assert told == (sent if sys.version_info >= (3, 13) else sent[:1])


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ((), ""),
        (((("countryName", "UK"),), (("commonName", "x"),)), "CN=x,C=UK"),
        (((("commonName", "x"), ("userId", "y")),), "CN=x+UID=y"),
        (((("commonName", 'a"b,c;d<e>f\\g=h#i'),),), 'CN=a\\"b\\,c\\;d\\<e\\>f\\\\g=h#i'),
        (((("commonName", "#a"),),), "CN=\\#a"),
        (((("commonName", " a "),),), "CN=\\ a\\ "),
        (((("commonName", " "),),), "CN=\\ "),
        (((("commonName", "a\0b"),),), "CN=a\\00b"),
        (((("commonName", ""),),), "CN="),
        (((("emailAddress", "a@example.com"),),), "emailAddress=a@example.com"),
    ],
)
def test_distinguished_names(subject: Any, name: str) -> None:
    assert distinguished_name(subject) == name


@pytest.mark.parametrize("length", [True, False], ids=["length", "chunked"])
def test_a_file(length: bool, tmp_path: Path, tls: TLS, run: Any) -> None:
    content = os.urandom(1000) * 3000
    (tmp_path / "file").write_bytes(content)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"%d" % len(content))] if length else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if length:
            await send({"type": "http.response.pathsend", "path": str(tmp_path / "file")})
        else:
            with (tmp_path / "file").open("rb") as file:
                await send({"type": "http.response.zerocopysend", "file": file})

    head, _, body = run(ask(app, tls.server, tls.client())).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    if not length:
        size, _, body = body.partition(b"\r\n")
        assert int(size, 16) == len(content)
        assert body.endswith(b"\r\n0\r\n\r\n")
        body = body[:-7]
    assert body == content
