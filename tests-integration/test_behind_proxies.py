"""nginx and HAProxy as the guide sets them up: their files as they stand, but for addresses and certificates.

Clients come from 127.0.0.2, which nobody trusts; the proxies from 127.0.0.1, which is trusted unless something else is.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from websockets.sync.client import connect

from .conftest import APPS, PATIENCE, ROOT, Process

EXAMPLES = ROOT / "examples/proxies"
CLIENT = ("127.0.0.2", 0)
SPOOFS = {
    "X-Forwarded-For": "10.0.0.1",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Port": "81",
    "X-Forwarded-Host": "evil.example",
    "Forwarded": "for=10.0.0.1;proto=http;host=evil.example",
}

# Round the file of the guide: what Debian's nginx.conf says, with folders of the test's.
NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {site};
}}
"""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def free_ports(count: int) -> list[int]:
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in socks]
    for sock in socks:
        sock.close()
    return ports


Changes = dict[str, str]


class Behind:
    """A proxy that is set up as the guide says, in front of a server of the guide's command line."""

    def __init__(self, kind: str, upstream: str, certificate: str, folder: Path, find: Any, changes: Changes) -> None:
        self.kind = kind
        self.http_port, self.port = free_ports(2)
        self.url = f"https://localhost:{self.port}"
        text = (EXAMPLES / {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[kind]).read_text()
        places = {
            "nginx": {
                "listen 80;": f"listen 127.0.0.1:{self.http_port};",
                "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
                "/etc/ssl/example.pem": certificate,
                "/etc/ssl/private/example.key": certificate,
                "server 127.0.0.1:8000;": f"server {upstream};",
            },
            "haproxy": {
                "bind :80\n": f"bind 127.0.0.1:{self.http_port}\n",
                "bind :443 ssl": f"bind 127.0.0.1:{self.port} ssl",
                "/etc/ssl/example.pem": certificate,
                "server one 127.0.0.1:8000": f"server one {upstream}",
            },
        }[kind]
        for old, new in {**places, **changes}.items():
            assert old in text, f"{old!r} is not in the file of the guide"
            text = text.replace(old, new)
        site = folder / f"{kind}.conf"
        site.write_text(text)
        if kind == "nginx":
            main = folder / "main.conf"
            main.write_text(NGINX.format(folder=folder, site=site))
            command = [find("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(main)]
        else:
            command = [find("haproxy"), "-db", "-f", str(site)]
        self.process = Process(*command)

    def wait_until_it_serves(self, trust: ssl.SSLContext) -> None:
        deadline = time.monotonic() + PATIENCE
        with httpx.Client(verify=trust) as client:
            while True:
                assert self.process.popen.poll() is None and time.monotonic() < deadline, self.process.told()
                try:
                    if client.get(self.url).status_code in (200, 404):
                        return
                except httpx.TransportError:
                    pass


Start = Callable[..., Behind]


@pytest.fixture(scope="module")
def behind(
    authority: trustme.CA, trust: ssl.SSLContext, program: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """Start a proxy by its name, in front of an address."""
    started: list[Behind] = []
    certificate = tmp_path_factory.mktemp("certificate") / "all.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))

    def start(kind: str, upstream: str, changes: Changes | None = None) -> Behind:
        folder = tmp_path_factory.mktemp(kind)
        started.append(Behind(kind, upstream, str(certificate), folder, program, changes or {}))
        started[-1].wait_until_it_serves(trust)
        return started[-1]

    yield start
    for each in started:
        each.process.close()


@pytest.fixture(scope="module")
def server(serve_module: Any) -> Any:
    arguments = ("--timeout-keep-alive", "75", "--readiness-path", "/ready")
    return serve_module("whose:app", *arguments, test_app=True)


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def proxy(request: pytest.FixtureRequest, behind: Start, server: Any) -> Behind:
    return behind(request.param, f"127.0.0.1:{server.port}")


def client_of(trust: ssl.SSLContext, address: str = CLIENT[0]) -> httpx.Client:
    if sys.platform != "linux":
        pytest.skip("only Linux has more than one address of its own without asking")
    return httpx.Client(transport=httpx.HTTPTransport(verify=trust, local_address=address), follow_redirects=False)


def ask(url: str, trust: ssl.SSLContext, **headers: str) -> Any:
    with client_of(trust) as client:
        answer = client.get(url, headers=headers)
    assert answer.status_code == 200
    return answer.json()


@pytest.mark.parametrize("spoofs", [{}, SPOOFS], ids=["honest", "spoofed"])
def test_the_client_as_it_is(proxy: Behind, server: Any, trust: ssl.SSLContext, spoofs: Any) -> None:
    with server.says(f'{CLIENT[0]}:0 - "GET /a?b HTTP/1.1" 200'):
        told = ask(f"{proxy.url}/a?b", trust, **spoofs)
    assert told["client"] == list(CLIENT)
    assert told["scheme"] == "https"
    assert told["server"] == ["127.0.0.1", proxy.port]
    # nginx's $host has no port.
    assert told["hosts"] == ["localhost" if proxy.kind == "nginx" else f"localhost:{proxy.port}"]
    fields = {name for name, _ in told["fields"]}
    assert not fields & {"forwarded", "x-forwarded-host"}


def test_clients_that_share_a_connection_to_the_server(proxy: Behind, trust: ssl.SSLContext) -> None:
    with client_of(trust, "127.0.0.2") as one, client_of(trust, "127.0.0.3") as other:
        seen = [client.get(proxy.url).json()["client"][0] for client in (one, other) * 5]
    assert seen == ["127.0.0.2", "127.0.0.3"] * 5


def test_websockets(proxy: Behind, server: Any, trust: ssl.SSLContext) -> None:
    spoofs = {**SPOOFS, "Origin": "https://evil.example"}
    url = proxy.url.replace("https", "wss", 1)
    with (
        server.says(f'{CLIENT[0]}:0 - "GET / HTTP/1.1" 101'),
        connect(url, ssl=trust, additional_headers=spoofs, source_address=CLIENT) as websocket,
    ):
        told = json.loads(websocket.recv())
    assert (told["client"], told["scheme"]) == (list(CLIENT), "wss")


def test_the_other_port_leads_to_tls(proxy: Behind, trust: ssl.SSLContext) -> None:
    with client_of(trust) as client:
        answer = client.get(f"http://localhost:{proxy.http_port}/a?b", headers={"Host": "www.example"})
    assert (answer.status_code, answer.headers["location"]) == (301, "https://www.example/a?b")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has more than one address of its own without asking")
def test_two_in_a_row(behind: Start, server: Any, trust: ssl.SSLContext) -> None:
    """HAProxy, then nginx, which adds to the list; and a client that begins one."""
    appending = {"X-Forwarded-For $remote_addr;": "X-Forwarded-For $proxy_add_x_forwarded_for;"}
    inner = behind("nginx", f"127.0.0.1:{server.port}", appending)
    verify = {f"127.0.0.1:{inner.port} check inter 1s": f"127.0.0.1:{inner.port} ssl verify none"}
    outer = behind("haproxy", f"127.0.0.1:{inner.port}", {"    option httpchk GET /ready\n": "", **verify})
    told = ask(outer.url, trust)
    assert told["client"] == list(CLIENT)
    assert ["x-forwarded-for", f"{CLIENT[0]}, 127.0.0.1"] in told["fields"]
    # Past the outer one, a client tells a tale, to which nginx adds whom it has seen.
    told = ask(inner.url, trust, **{"X-Forwarded-For": "198.51.100.1"})
    assert told["client"] == list(CLIENT)
    assert ["x-forwarded-for", f"198.51.100.1, {CLIENT[0]}"] in told["fields"]


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_over_a_unix_socket(
    kind: str, behind: Start, trust: ssl.SSLContext, tmp_path: Path, run: Callable[..., Process]
) -> None:
    path = tmp_path / "esg.sock"
    options = ["--uds", str(path), "--readiness-path", "/ready"]
    server = run(sys.executable, "-m", "esg", "--app-dir", str(APPS), "whose:app", *options)
    server.wait_for("ESG running on")
    proxy = behind(kind, f"unix:{path}" if kind == "nginx" else f"unix@{path}")
    told = ask(proxy.url, trust, **SPOOFS)
    assert (told["client"], told["scheme"], told["server"]) == (list(CLIENT), "https", [str(path), None])
    server.wait_for(f'{CLIENT[0]}:0 - "GET / HTTP/1.1" 200')


def test_forwarded_by_haproxy(behind: Start, serve: Any, trust: ssl.SSLContext) -> None:
    server = serve("whose:app", "--forwarded-headers", "Forwarded", "--readiness-path", "/ready", test_app=True)
    field = r"for=%[src];proto=https;host=\"%[req.hdr(host)]\""
    changes = {"del-header Forwarded\n": f'set-header Forwarded "{field}"\n'}
    proxy = behind("haproxy", f"127.0.0.1:{server.port}", changes)
    told = ask(proxy.url, trust, **SPOOFS)
    assert (told["client"], told["scheme"]) == (list(CLIENT), "https")
    assert told["hosts"] == [f"localhost:{proxy.port}"]
    assert told["server"] == ["127.0.0.1", server.port]


STRIPPING = {"location / {": "location /api/ {", "proxy_pass http://esg;": "proxy_pass http://esg/;"}


@pytest.mark.parametrize("app", ["starlette", "fastapi", "django"])
def test_a_path_that_the_proxy_strips(app: str, behind: Start, serve: Any, trust: ssl.SSLContext) -> None:
    """Frameworks find their routes, and the URLs that they make are what clients use."""
    server = serve("--factory", f"rooted:{app}", "--root-path", "/api", test_app=True)
    proxy = behind("nginx", f"127.0.0.1:{server.port}", STRIPPING)
    url = "https://localhost/api/item/7"
    assert ask(f"{proxy.url}/api/item/7", trust) == {"url": url, "path": "/api/item/7"}
    assert ask(f"{proxy.url}/api/", trust) == {"url": url, "path": "/api/"}


@pytest.mark.parametrize("root", ["", "/"])
def test_a_root_path_of_nothing(root: str, serve: Any) -> None:
    server = serve("--factory", "rooted:starlette", "--root-path", root, test_app=True)
    told = json.loads(server.get("/item/7").body)
    assert told == {"url": "http://test.example/item/7", "path": "/item/7"}


@pytest.mark.parametrize("name", ["nginx.conf", "haproxy.cfg"])
def test_the_guide_shows_the_files(name: str) -> None:
    assert f"```\n{(EXAMPLES / name).read_text()}```" in (ROOT / "docs/guide.md").read_text()
