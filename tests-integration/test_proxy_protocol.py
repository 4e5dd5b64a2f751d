"""The PROXY protocol: raw bytes, and HAProxy and nginx that speak it."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.sync.client import connect as connect_websocket

from .conftest import PATIENCE, Process, Serve, Server, Start, Wire

V1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443\r\n"
V1_IPV6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + bytes((203, 0, 113, 7, 198, 51, 100, 1)) + b"\xc8\x22\x01\xbb"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"
CLIENT = ["203.0.113.7", 51234]

HAPROXY_CONF = """
global
    hard-stop-after 5s
    nbthread 1
defaults
    mode {mode}
    timeout connect 5s
    timeout client 20s
    timeout server 20s
    retries 0
frontend front
    bind 127.0.0.1:{port}
    default_backend esg
backend esg
    server esg {upstream} {options}
"""

NGINX_CONF = """
load_module {module};
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 64; }}
stream {{
    server {{
        listen 127.0.0.1:{port};
        proxy_pass {upstream};
        proxy_protocol on;
    }}
}}
"""
NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


@pytest.fixture(scope="module")
def server(serve_module: Serve, loop: str) -> Server:
    return serve_module("--proxy-protocol", "--loop", loop, "listening:app", test_app=True, faults=True)


def scope(wire: Wire) -> dict[str, Any]:
    wire.request()
    told: dict[str, Any] = json.loads(wire.answer().body)
    return told


@pytest.mark.parametrize(
    ("header", "client"),
    [(V1, CLIENT), (V2, CLIENT), (V1_IPV6, ["2001:db8::7", 51234])],
    ids=["1", "2", "1 with IPv6"],
)
def test_the_client_that_is_named(server: Server, header: bytes, client: list[Any]) -> None:
    with server.connect() as wire:
        wire.send(header)
        assert scope(wire) == {"client": client, "server": ["127.0.0.1", server.port], "scheme": "http"}
        assert scope(wire)["client"] == client  # the header is there once, for all requests


def test_websockets(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
        sock.sendall(V2)
        end = '203.0.113.7:51234 - "WEBSOCKET / HTTP/1.1" 1000'
        with server.says(end), connect_websocket(f"ws://127.0.0.1:{server.port}/", sock=sock) as websocket:
            told = json.loads(websocket.recv())
            assert (told["client"], told["scheme"]) == (CLIENT, "ws")


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"], ids=["LOCAL", "UNKNOWN"])
def test_a_proxy_that_speaks_for_itself(server: Server, header: bytes) -> None:
    with server.connect() as wire:
        wire.send(header)
        assert scope(wire)["client"] == list(wire.socket.getsockname())


def test_the_access_log_has_the_client(server: Server) -> None:
    with server.says('203.0.113.7:51234 - "GET /logged HTTP/1.1" 200 OK'), server.connect() as wire:
        wire.send(V1)
        wire.request("/logged")
        wire.answer()


@pytest.mark.parametrize("header", [V1, V2], ids=["1", "2"])
def test_byte_by_byte(server: Server, header: bytes) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    with server.connect() as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in header + request:
            wire.send(bytes([byte]))
        assert json.loads(wire.answer().body)["client"] == CLIENT


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", V1.replace(b"TCP4", b"TCP5"), b"\x16\x03\x01"])
def test_anything_else_is_cut_off(server: Server, sent: bytes) -> None:
    with server.says("a bad PROXY header: "), server.connect() as wire:
        wire.send(sent)
        assert wire.is_over()


def test_a_header_that_does_not_come(serve: Serve) -> None:
    server = serve("--proxy-protocol", "--timeout-request-head", "1", "listening:app", test_app=True)
    with server.connect() as wire:
        wire.send(V1[:20])
        assert wire.is_over()
    server.wait_for("a PROXY header that came too slowly (timeout_request_head is 1)")


def test_peers_that_are_not_trusted(serve: Serve) -> None:
    server = serve("--proxy-protocol", "--proxy-protocol-from", "203.0.113.0/24", "listening:app", test_app=True)
    with server.connect() as wire:
        assert wire.is_over()
    server.wait_for("it may not send a PROXY header (proxy_protocol_from)")


def test_without_the_option_it_is_an_unknown_method(serve: Serve) -> None:
    server = serve("listening:app", test_app=True)
    with server.connect() as wire:
        wire.send(V1 + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.answer().status == 501


def test_who_is_forwarded_for_is_asked_of_the_client(serve: Serve) -> None:
    """A peer that may send a PROXY header is not what X-Forwarded-For is believed of: that is the client it names."""
    server = serve("--proxy-protocol", "--forwarded-allow-ips", "127.0.0.1", "listening:app", test_app=True)
    for header, client in ((V1, CLIENT), (LOCAL, ["192.0.2.1", 0])):
        with server.connect() as wire:
            wire.send(header)
            wire.request(headers=("X-Forwarded-For: 192.0.2.1",))
            assert json.loads(wire.answer().body)["client"] == client


# -- Below TLS


@pytest.fixture(scope="module", params=["asyncio's own", "uvloop's own", "aiofastnet on uvloop"])
def secure_server(
    request: pytest.FixtureRequest, serve_module: Serve, tmp_path_factory: pytest.TempPathFactory
) -> Server:
    """A server with a certificate; its ``tls`` trusts it."""
    transport, _, loop = request.param.partition(" on ")
    loop = loop or transport.partition("'")[0]
    for module in ("uvloop", "aiofastnet"):
        if module in request.param:
            pytest.importorskip(module)
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("tls")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "own.pem")
    server = serve_module(
        *("--proxy-protocol", "--timeout-request-head", "2", "--loop", loop, "--ssl-certfile", str(folder / "own.pem")),
        *("--ssl-transport", transport if transport == "aiofastnet" else "loop", "listening:app"),
        test_app=True,
    )
    server.tls = ssl.create_default_context()
    authority.configure_trust(server.tls)
    return server


class Behind(Wire):
    """A TLS connection with a PROXY header before it: the first flight is the header and the client's hello in one."""

    def __init__(self, server: Server, header: bytes) -> None:
        assert server.tls is not None
        self.socket = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        self.buffer, self.header = b"", header
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = server.tls.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.until_done(self.tls.do_handshake)

    def until_done(self, step: Callable[[], Any]) -> Any:
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                result = step()
                self.flush()
                return result
            self.flush()
            data = self.socket.recv(65536)
            self.incoming.write(data) if data else self.incoming.write_eof()

    def flush(self) -> None:
        header, self.header = self.header, b""
        self.socket.sendall(header + self.outgoing.read())

    def send(self, data: bytes) -> None:
        self.until_done(lambda: self.tls.write(data))

    def read(self) -> bytes:
        return bytes(self.until_done(lambda: self.tls.read(65536)))


@pytest.mark.parametrize("header", [V1, V2], ids=["1", "2"])
def test_tls_behind_the_header(secure_server: Server, header: bytes) -> None:
    with Behind(secure_server, header) as wire:
        assert scope(wire) == {"client": CLIENT, "server": ["127.0.0.1", secure_server.port], "scheme": "https"}


def test_tls_behind_a_header_in_pieces(secure_server: Server) -> None:
    assert secure_server.tls is not None
    with Wire(secure_server.port) as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in V1:
            wire.send(bytes([byte]))
        wire.socket = secure_server.tls.wrap_socket(wire.socket, server_hostname="localhost")
        assert scope(wire)["client"] == CLIENT


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"\x16\x03\x01\x02\x00", "a bad PROXY header: there is none"),
        (V1[:9], "a PROXY header that came too slowly (timeout_request_head is 2)"),
    ],
    ids=["none", "late"],
)
def test_tls_without_a_header(secure_server: Server, sent: bytes, reason: str) -> None:
    with secure_server.says(reason), Wire(secure_server.port) as wire:
        wire.send(sent)
        assert wire.is_over()


def test_a_stop_while_a_header_is_awaited(serve: Serve, tmp_path: Path) -> None:
    """Before TLS: the server ends, and lets go of the connection."""
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    server = serve("--proxy-protocol", "--ssl-certfile", str(tmp_path / "own.pem"), "listening:app", test_app=True)
    with Wire(server.port) as wire:
        wire.send(V1[:9])
        server.stop()
        assert wire.is_over()


@pytest.mark.once
def test_haproxy_passes_on_tls(secure_server: Server, proxy: Callable[..., int]) -> None:
    port = haproxy(proxy, f"127.0.0.1:{secure_server.port}", "send-proxy-v2")
    with Wire(port, tls=secure_server.tls) as wire:
        told = scope(wire)
        assert (told["client"], told["scheme"]) == (list(wire.socket.getsockname()), "https")


# -- Real proxies


@pytest.fixture
def proxy(run: Callable[..., Process], program: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Start a proxy for streams, and say at which port."""
    started: list[tuple[Process, int]] = []

    def start(name: str, template: str, stop: int, *arguments: str, **values: Any) -> int:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        config = tmp_path / f"{name}.conf"
        config.write_text(template.format(folder=tmp_path, port=port, **values))
        started.append(
            (run(program(name), *(argument.format(folder=tmp_path) for argument in arguments), str(config)), stop)
        )
        wait_until_it_listens(started[-1][0], port)
        return port

    yield start
    for process, stop in started:
        process.signal(stop)
        assert process.wait() == 0, process.told()


def wait_until_it_listens(process: Process, port: int) -> None:
    """A program says nothing when it listens: try."""
    for _ in range(400):
        with socket.socket() as client:
            client.settimeout(PATIENCE)
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.popen.poll() is None, process.told()
        try:
            process.popen.wait(0.05)
        except Exception:
            continue
    raise AssertionError(process.told())


def haproxy(proxy: Callable[..., int], upstream: str, options: str, mode: str = "tcp") -> int:
    values = {"mode": mode, "upstream": upstream, "options": options}
    return proxy("haproxy", HAPROXY_CONF, signal.SIGUSR1, "-db", "-f", **values)


@pytest.mark.once
@pytest.mark.parametrize("mode", ["tcp", "http"])
@pytest.mark.parametrize(
    "options",
    ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"],
    ids=["1", "2", "2 with a checksum"],
)
def test_haproxy(server: Server, proxy: Callable[..., int], mode: str, options: str) -> None:
    port = haproxy(proxy, f"127.0.0.1:{server.port}", options, mode)
    with Wire(port) as wire:
        assert scope(wire)["client"] == list(wire.socket.getsockname())


@pytest.mark.once
@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2"])
def test_the_health_checks_of_haproxy(server: Server, proxy: Callable[..., int], options: str) -> None:
    before = len(server.lines)
    port = haproxy(proxy, f"127.0.0.1:{server.port}", f"{options} check inter 100ms")
    with Wire(port) as wire:
        assert scope(wire)["client"] == list(wire.socket.getsockname())
    assert not [line for line in server.lines[before:] if "WARNING" in line]


@pytest.mark.once
def test_haproxy_over_a_unix_socket(start: Start, proxy: Callable[..., int], tmp_path: Path) -> None:
    server = start("--uds", f"{tmp_path}/s", "--proxy-protocol")
    port = haproxy(proxy, f"{tmp_path}/s", "send-proxy-v2")
    with Wire(port) as wire:
        told = scope(wire)
        assert (told["client"], told["server"]) == (list(wire.socket.getsockname()), [f"{tmp_path}/s", None])
    server.stop()


@pytest.mark.once
def test_nginx(server: Server, proxy: Callable[..., int]) -> None:
    if not NGINX_STREAM.exists():
        pytest.skip("NGINX CANNOT PASS ON STREAMS, so nothing is known about it: apt-get install libnginx-mod-stream")
    upstream = f"127.0.0.1:{server.port}"
    arguments = ("-p", "{folder}", "-e", "stderr", "-c")
    port = proxy("nginx", NGINX_CONF, signal.SIGQUIT, *arguments, module=NGINX_STREAM, upstream=upstream)
    with Wire(port) as wire:
        assert scope(wire)["client"] == list(wire.socket.getsockname())
