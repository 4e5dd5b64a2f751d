"""TLS through real processes, with each event loop's own and with aiofastnet's."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_websocket

from .apps import secure
from .conftest import Server, _serving, faults_in

MIB = 1024 * 1024
SOURCE = Path(secure.__file__).read_bytes()


class Authority:
    """Certificates in a folder, and clients that trust them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = trustme.CA()
        self.root.cert_pem.write_to_path(folder / "authority.pem")

    def issue(self, *names: str, file: str = "own") -> tuple[str, ...]:
        """The options for a new certificate; it takes the place of the one before it."""
        issued = self.root.issue_cert(*names)
        pair = [self.folder / f"{file}.pem", self.folder / f"{file}.key"]
        # As programs that renew certificates do: beside it, then in its place.
        for path, parts in zip(pair, (issued.cert_chain_pems, [issued.private_key_pem]), strict=True):
            new = path.with_suffix(path.suffix + ".new")
            new.write_bytes(b"".join(part.bytes() for part in parts))
            new.replace(path)
        return "--ssl-certfile", str(pair[0]), "--ssl-keyfile", str(pair[1])

    @property
    def path(self) -> str:
        return str(self.folder / "authority.pem")

    def client(self, identity: trustme.LeafCert | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.path)
        if identity is not None:
            identity.configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module", params=["asyncio's own", "uvloop's own", "aiofastnet on uvloop"])
def options(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """An event loop and what encrypts, each in turn."""
    transport, _, loop = request.param.partition(" on ")
    loop = loop or transport.partition("'")[0]
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    if transport == "aiofastnet":
        pytest.importorskip("aiofastnet")
    return "--loop", loop, "--ssl-transport", transport if transport == "aiofastnet" else "loop"


Start = Callable[..., Server]

# asyncio's own before Python 3.11 takes a transport that its peer has closed for one that was forgotten.
FORGOTTEN = "ignore:unclosed transport <asyncio.sslproto:ResourceWarning"
ENV = {"PYTHONWARNINGS": f"error,{FORGOTTEN}" if sys.version_info < (3, 11) else "error"}


def _starting(authority: Authority, options: tuple[str, ...]) -> Iterator[Start]:
    started = _serving()
    serve = next(started)

    def start(*arguments: str, certificate: tuple[str, ...] | None = None, **others: Any) -> Server:
        certificate = certificate or authority.issue("localhost")
        arguments = (*options, "--log-level", "debug", *certificate, *arguments)
        server = serve("secure:app", *arguments, test_app=True, env=ENV, **others)
        server.tls = authority.client()
        return server

    try:
        yield start
        with contextlib.suppress(StopIteration):
            next(started)
    finally:
        started.close()


@pytest.fixture
def start(authority: Authority, options: tuple[str, ...]) -> Iterator[Start]:
    """Start a server with a certificate for localhost; in the end it must stop well."""
    yield from _starting(authority, options)


@pytest.fixture(scope="module")
def server(authority: Authority, options: tuple[str, ...]) -> Iterator[Server]:
    """One that the tests share."""
    for begin in _starting(authority, options):
        yield begin()


@pytest.fixture
def client(server: Server, authority: Authority) -> Iterator[httpx.Client]:
    with httpx.Client(verify=authority.client(), base_url=f"https://localhost:{server.port}", timeout=20) as client:
        yield client


# -- What works as without


def test_it_says_so(server: Server, client: httpx.Client) -> None:
    assert server.url.startswith("https://127.0.0.1:")
    told = client.get("/scope").json()
    assert (told["scheme"], told["http_version"]) == ("https", "1.1")
    tls = told["tls"]
    assert (tls["tls_version"], tls["client_cert_chain"]) == (0x0304, [])
    shown = ssl.get_server_certificate(("127.0.0.1", server.port))
    assert ssl.PEM_cert_to_DER_cert(tls["server_cert"]) == ssl.PEM_cert_to_DER_cert(shown)


@pytest.mark.parametrize("size", [0, 1, 16384, 100_000, 20 * MIB])
def test_bodies_of_any_size(size: int, client: httpx.Client) -> None:
    data = (secure.PATTERN * (size // len(secure.PATTERN) + 1))[:size]
    assert client.get(f"/download?{size}").content == data
    assert client.post("/upload", content=data).json() == [size, hashlib.sha256(data).hexdigest()]


@pytest.mark.parametrize("path", ["/path", "/file"])
def test_files(path: str, client: httpx.Client) -> None:
    assert client.get(path).content == SOURCE


def test_websockets(server: Server, authority: Authority) -> None:
    url = f"wss://localhost:{server.port}/"
    with connect_websocket(url, ssl=authority.client(), max_size=None) as websocket:
        assert websocket.recv() == "wss True"
        for message in ("text", b"bytes", os.urandom(3 * MIB)):
            websocket.send(message)
            assert websocket.recv() == message


def test_many_requests_at_once(server: Server, authority: Authority) -> None:
    async def ask() -> None:
        connector = aiohttp.TCPConnector(ssl=authority.client(), limit=20)
        async with aiohttp.ClientSession(f"https://localhost:{server.port}", connector=connector) as session:

            async def one(size: int) -> int:
                async with session.post("/upload", data=b"x" * size) as response:
                    return int((await response.json(content_type=None))[0])

            sizes = [number * 1000 for number in range(100)]
            assert await asyncio.gather(*(one(size) for size in sizes)) == sizes

    asyncio.run(ask())


# -- Handshakes that come to nothing


def raw(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def rest(connection: socket.socket) -> bytes:
    """Everything up to the end, however it ends."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            parts.append(data)
    return b"".join(parts)


def a_hello() -> bytes:
    """The first message of a client."""
    out = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "it speaks HTTP without TLS"),
        (b"\x16\x03\x01\x00\x04nope", "TLS handshake failed"),
        (os.urandom(200), "TLS handshake failed"),
        (a_hello()[:50], "TLS handshake failed"),
        (b"", "TLS handshake failed"),
    ],
    ids=["http", "not a handshake", "noise", "half a hello", "nothing"],
)
def test_a_handshake_that_fails_is_a_line_for_those_who_look(sent: bytes, why: str, server: Server) -> None:
    mark = len(server.lines)
    with raw(server) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        client = "{}:{}".format(*connection.getsockname())
        assert b"HTTP" not in rest(connection)
    assert why in server.wait_for(client, mark)
    assert server.get("/scope").status == 200
    assert not [line for line in server.lines[mark:] if not line.startswith(("DEBUG:", "INFO:", "app:"))]


def test_a_client_that_resets_in_the_handshake(server: Server) -> None:
    mark = len(server.lines)
    with raw(server) as connection:
        client = "{}:{}".format(*connection.getsockname())
        connection.sendall(a_hello())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert "TLS handshake failed" in server.wait_for(client, mark)
    assert server.get("/scope").status == 200
    assert not [line for line in server.lines[mark:] if not line.startswith(("DEBUG:", "INFO:", "app:"))]


def test_a_client_that_does_not_trust_the_server(server: Server) -> None:
    mark = len(server.lines)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://localhost:{server.port}/")
    assert "unknown ca" in server.wait_for("TLS handshake failed", mark)


def test_who_takes_too_long(start: Start, authority: Authority) -> None:
    server = start("--timeout-request-head", "0.3", "--timeout-keep-alive", "0.1")
    for sent in (b"", a_hello()[:50]):
        with raw(server) as connection:
            connection.sendall(sent)
            begun = time.monotonic()
            assert rest(connection) == b""
            assert 0.2 < time.monotonic() - begun < 5
            client = "{}:{}".format(*connection.getsockname())
        line = server.wait_for(client)
        assert line == f"WARNING:  {client}: a TLS handshake that took too long (timeout_request_head is 0.3)"
    # An idle connection ends in order.
    with strict(authority).wrap_socket(raw(server), server_hostname="localhost", suppress_ragged_eofs=False) as client:
        assert exchange(client, b"GET /scope HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200 OK")


# -- What is agreed on


def s_client(program: Any, server: Server, *arguments: str, say: bytes = b"") -> str:
    command = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{server.port}", *arguments]
    done = subprocess.run(command, input=say, capture_output=True, timeout=20, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


def test_what_is_not_agreed_on(server: Server, program: Any) -> None:
    for version in ("-tls1", "-tls1_1"):
        # At its lowest level of security OpenSSL's client would agree to them.
        told = s_client(program, server, version, "-cipher", "DEFAULT@SECLEVEL=0")
        assert "Cipher is (NONE)" in told, told
    for ciphers in ("aNULL", "eNULL", "RC4", "3DES", "EXPORT", "kRSA"):
        told = s_client(program, server, "-tls1_2", "-cipher", f"{ciphers}:@SECLEVEL=0")
        assert "Cipher is (NONE)" in told or "no cipher match" in told or "no ciphers available" in told, (
            ciphers,
            told,
        )
    told = s_client(program, server, "-tls1_2", "-comp", "-status")
    assert "Compression: NONE" in told, told
    assert "Secure Renegotiation IS supported" in told, told
    assert "TLS session ticket:" in told, told


def test_nobody_negotiates_again(server: Server, program: Any) -> None:
    told = s_client(program, server, "-tls1_2", say=b"R\n")
    assert "RENEGOTIATING" in told
    assert "no renegotiation" in told, told
    assert server.get("/scope").status == 200


def test_a_session_is_resumed(server: Server, authority: Authority) -> None:
    context = authority.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with context.wrap_socket(raw(server), server_hostname="localhost") as first:
        session = first.session
    with context.wrap_socket(raw(server), server_hostname="localhost", session=session) as second:
        assert second.session_reused


# -- Certificates of clients


@pytest.mark.parametrize("required", [True, False])
def test_certificates_of_clients(required: bool, start: Start, authority: Authority) -> None:
    server = start("--ssl-ca-certs", authority.path, "--ssl-cert-reqs", "2" if required else "1")
    identity = authority.root.issue_cert("jane@example.com", common_name="Jane")
    with httpx.Client(verify=authority.client(identity), base_url=f"https://localhost:{server.port}") as client:
        tls = client.get("/scope").json()["tls"]
    assert tls["client_cert_name"].startswith("CN=Jane,")
    own = ssl.PEM_cert_to_DER_cert(identity.cert_chain_pems[0].bytes().decode())
    assert ssl.PEM_cert_to_DER_cert(tls["client_cert_chain"][0]) == own
    if required:
        mark = len(server.lines)
        with pytest.raises((ssl.SSLError, httpx.HTTPError)):
            httpx.get(f"https://localhost:{server.port}/scope", verify=authority.client())
        assert "peer did not return a certificate" in server.wait_for("TLS handshake failed", mark)
    else:
        assert server.get("/scope").status == 200
    # Somebody else's authority has vouched for this one.
    stranger = trustme.CA().issue_cert("jane@example.com")
    with pytest.raises((ssl.SSLError, httpx.HTTPError)):
        httpx.get(f"https://localhost:{server.port}/scope", verify=authority.client(stranger))
    server.wait_for("certificate verify failed")


# -- Several certificates


def shown(server: Server, authority: Authority, name: str) -> str:
    """Who the server says that it is to a client that asks for ``name``."""
    context = authority.client()
    context.check_hostname = False
    with context.wrap_socket(raw(server), server_hostname=name or None) as connection:
        cert = connection.getpeercert()
        assert cert is not None
        ((_, told),) = cert["subjectAltName"]
        connection.sendall(b"GET /scope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        body = json.loads(rest(connection).partition(b"\r\n\r\n")[2])
        own = ssl.PEM_cert_to_DER_cert(body["tls"]["server_cert"])
        assert own == connection.getpeercert(binary_form=True)
    return str(told)


def test_the_name_chooses(options: tuple[str, ...], start: Start, authority: Authority) -> None:
    if "aiofastnet" in options:
        pytest.skip("aiofastnet serves one certificate, and says so")
    names = ("localhost", "shop.example", "*.wild.example")
    certificate = sum((authority.issue(name, file=f"sni{number}") for number, name in enumerate(names)), ())
    server = start(certificate=certificate)
    asked = ("localhost", "SHOP.example", "a.wild.example", "a.b.wild.example", "nobody.example", "")
    told = [shown(server, authority, name) for name in asked]
    assert told == ["localhost", "shop.example", "*.wild.example", "localhost", "localhost", "localhost"]


# -- New certificates


def serial(connection: ssl.SSLSocket) -> str:
    cert = connection.getpeercert()
    assert cert is not None
    return str(cert["serialNumber"])


def current(server: Server, authority: Authority) -> str:
    with authority.client().wrap_socket(raw(server), server_hostname="localhost") as connection:
        return serial(connection)


def test_new_certificates_are_taken_as_they_come(start: Start, authority: Authority) -> None:
    server = start("--ssl-reload-interval", "0.1", faults=True, certificate=authority.issue("localhost", file="new"))
    with server.connect() as kept:
        assert isinstance(kept.socket, ssl.SSLSocket)
        first = serial(kept.socket)
        with server.says("Certificates re-read"):
            authority.issue("localhost", file="new")
        second = current(server, authority)
        assert second != first
        # Who is there stays there.
        kept.request("/scope")
        told = json.loads(kept.answer().body)["tls"]["server_cert"]
        assert ssl.PEM_cert_to_DER_cert(told) == kept.socket.getpeercert(binary_form=True)
        assert shown(server, authority, "localhost") == "localhost"
    # A key that does not belong to the certificate: said once, and not taken.
    key = authority.folder / "new.key"
    right = key.read_text()
    with server.says("The certificates stay as they were: "):
        key.write_bytes(authority.root.issue_cert("other").private_key_pem.bytes())
    assert current(server, authority) == second
    mark = len(server.lines)
    with server.says("Certificates re-read"):
        key.write_text(right)
    assert current(server, authority) == second
    assert not faults_in(server.lines[mark:])
    assert len([line for line in server.lines if "stay as they were" in line]) == 1
    # Not there for a moment, as with some programs that renew.
    with server.says("there is no file"):
        key.unlink()
    assert current(server, authority) == second


def test_new_certificates_on_demand(start: Start, authority: Authority) -> None:
    certificate = authority.issue("localhost", file="demand")
    server = start("--ssl-reload-interval", "0", certificate=certificate, faults=True)
    first = current(server, authority)
    authority.issue("localhost", file="demand")
    with server.says("Certificates re-read"):
        server.signal(signal.SIGHUP)
    assert current(server, authority) != first
    with server.says("The certificates stay as they were: "):
        Path(certificate[3]).write_text("")
        server.signal(signal.SIGHUP)
    assert current(server, authority) != first


# -- The end of connections


def strict(authority: Authority) -> ssl.SSLContext:
    """A client that takes an end without a goodbye for an attack."""
    context = authority.client()
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    return context


def exchange(connection: ssl.SSLSocket, request: bytes) -> bytes:
    connection.sendall(request)
    parts = []
    while data := connection.recv(65536):
        parts.append(data)
    return b"".join(parts)


@pytest.mark.parametrize(
    "request_",
    [b"GET /scope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"GET /file HTTP/1.0\r\n\r\n"],
    ids=["length", "until the end"],
)
def test_the_server_says_goodbye(request_: bytes, server: Server, authority: Authority) -> None:
    plain = raw(server)
    with strict(authority).wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as connection:
        assert exchange(connection, request_).startswith(b"HTTP/1.1 200 OK")


def test_who_is_still_sending_gets_the_answer(server: Server) -> None:
    """To close under an upload would reset the connection, and the reset overtake the answer."""
    with server.connect() as wire:
        wire.request("/refuse", "POST", headers=("Content-Length: 600000",))
        wire.send(b"x" * 100_000)
        assert select.select([wire.socket], [], [], 20)[0]
        for _ in range(12):  # for longer than from one tick of the clock to the next
            wire.send(b"x" * 40_000)
            time.sleep(0.1)  # so that a reset would be here before the next
        answer = wire.answer()
    assert (answer.status, answer.body, answer.complete) == (413, b"too much", True)


def test_a_bad_request_is_answered(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nno field\r\n\r\n")
        answer = wire.answer()
        assert (answer.status, answer["connection"]) == (400, "close")


def test_a_client_that_says_goodbye_in_the_middle(server: Server, authority: Authority) -> None:
    connection = authority.client().wrap_socket(raw(server), server_hostname="localhost")
    with server.says("app: the client left"):
        with server.says("app: waiting"):
            connection.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        # asyncio's own before Python 3.11 closes its transport before it writes its goodbye there.
        with contextlib.suppress(*[ssl.SSLEOFError] * (sys.version_info < (3, 11))):
            connection.unwrap()
    connection.close()


@pytest.mark.parametrize("how", ["end", "reset"])
def test_a_client_that_leaves_without_a_word(how: str, server: Server) -> None:
    with server.says("app: the client left"), server.connect() as wire:
        with server.says("app: upload"):
            wire.request("/upload", "POST", headers=("Content-Length: 1000",))
            wire.send(b"x" * 500)
        if how == "reset":
            wire.reset()
    assert server.get("/scope").status == 200


def test_a_slow_client_gets_all_of_it(server: Server) -> None:
    """The end of the response is still in a buffer below TLS when the connection is closed."""

    def sent() -> int:
        return int(server.get("/sent").body)

    # As much as buffers hold while nobody reads: the application need not wait to send so much.
    with server.connect() as wire:
        wire.request("/download?50000000")
        wire.head()
        before, size = -1, sent()
        while size > before:
            time.sleep(0.2)
            before, size = size, sent()
    # Not on every connection do they hold the same.
    for fewer in range(4):
        if all_is_there_in_the_end(server, size - fewer * len(secure.PATTERN)):
            return
    pytest.fail(f"the application never ended, but {size} were taken before")


def all_is_there_in_the_end(server: Server, size: int) -> bool:
    """Read a response only when the server has had time to close behind it; false if it was too large for that."""
    mark = len(server.lines)
    with server.connect() as wire:
        wire.request(f"/download?{size}", close=True)
        if server.find(f'"GET /download?{size} HTTP/1.1" 200', mark, 1.0) is None:
            return False
        wire.head()
        time.sleep(2.2)  # two ticks of the server, in which it looks at connections that are closing
        assert len(wire.exactly(size)) == size
    return True


# -- The end of the server


def test_a_stop_does_not_wait_for_idle_clients(start: Start) -> None:
    server = start()
    with server.connect() as idle:
        idle.request("/scope")
        assert idle.answer().status == 200
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < 10  # at its next tick; not at the end of a graceful stop's time
        assert idle.is_over()


def test_a_stop_finishes_what_is_there(start: Start, authority: Authority) -> None:
    server = start()
    with raw(server) as never, server.connect() as busy:
        never.sendall(a_hello()[:50])
        with server.says("app: slow"):
            busy.request("/slow")
        server.signal(signal.SIGTERM)
        answer = busy.answer()
        assert (answer.body, answer["connection"], answer.complete) == (b"slow", "close", True)
        assert busy.is_over()
        assert server.wait() == -signal.SIGTERM


def test_a_stop_takes_in_who_waits(start: Start, authority: Authority) -> None:
    """A connection that the system has queued gets its handshake and an answer."""
    server = start()
    server.signal(signal.SIGSTOP)
    with raw(server) as waiting:
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGCONT)
        with authority.client().wrap_socket(waiting, server_hostname="localhost") as connection:
            answer = exchange(connection, b"GET /scope HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert server.wait() == -signal.SIGTERM


def test_a_stop_ends_in_time(start: Start, authority: Authority) -> None:
    server = start("--timeout-graceful-shutdown", "2")
    url = f"wss://localhost:{server.port}/"
    with connect_websocket(url, ssl=authority.client()) as websocket, server.connect() as busy:
        websocket.recv()
        with server.says("app: waiting"):
            busy.request("/wait")
        server.signal(signal.SIGTERM)
        assert busy.answer().status == 503
        busy.socket.close()
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert server.wait() == -signal.SIGTERM


# -- With other programs


def test_curl(server: Server, authority: Authority, program: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(secure.PATTERN * 50)
    url = f"https://localhost:{server.port}"
    usual = [program("curl"), "--silent", "--show-error", "--fail", "--cacert", authority.path]
    command = [*usual, "--data-binary", f"@{tmp_path / 'file'}", f"{url}/upload", f"{url}/scope", f"{url}/download?5"]
    told = subprocess.run(command, capture_output=True, timeout=20, check=True).stdout
    digest = hashlib.sha256(secure.PATTERN * 50).hexdigest()
    assert told.startswith(json.dumps([len(secure.PATTERN) * 50, digest]).encode() + b'{"scheme": "https"')
