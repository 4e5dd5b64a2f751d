"""nginx and HAProxy in front of a server.

Each keeps its connections to the server, as docs/guide.md says. Each numbers the requests that it has seen, and tells
the server (``X-Front-Id``, in place of whatever the client sent) as well as, in the answer, the client; it also says
what it took for the method and the target, and from which port the request came.
"""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import NamedTuple

NGINX_CONF = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    client_header_timeout {patience}s;
    client_body_timeout {patience}s;
    upstream esg {{
        server 127.0.0.1:{upstream} max_fails=0;
        keepalive 1;
    }}
    server {{
        listen 127.0.0.1:{port};
        add_header X-Front-Id $request_id always;
        location / {{
            proxy_pass http://esg;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Front-Id $request_id;
            proxy_set_header X-Front-Method $request_method;
            proxy_set_header X-Front-Target $request_uri;
            proxy_set_header X-Front-Client $remote_port;
            proxy_buffering {buffering};
            proxy_request_buffering {buffering};
        }}
    }}
}}
"""

HAPROXY_CONF = """
global
    hard-stop-after 5s
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client {patience}s
    timeout http-request {patience}s
    timeout server 20s
    retries 0
frontend front
    bind 127.0.0.1:{port}
    unique-id-format %[uuid()]
    http-request set-header X-Front-Id %[unique-id]
    http-request set-header X-Front-Method %[method]
    http-request set-header X-Front-Target %[pathq]
    http-request set-header X-Front-Client %[src_port]
    http-response set-header X-Front-Id %[unique-id]
    default_backend esg
backend esg
    http-reuse always
    server esg 127.0.0.1:{upstream}
"""

ADDED = (b"x-front-id", b"x-front-method", b"x-front-target", b"x-front-client")
"""What they add to a request."""
NUMBERS = (b"x-front-id", b"x-app-id")
"""What an answer has of it: the proxy's number, and the one that the app was given."""


class Proxy(NamedTuple):
    """How a proxy is set up and run.

    Attributes:
        stop: the signal that lets it end in order, with status 0.
        fault: how a line begins, or what it holds, that should not be there.
    """

    name: str
    config: str
    arguments: tuple[str, ...]
    stop: int
    fault: str

    def configure(
        self, folder: Path, upstream: int, *, buffering: bool = False, patience: int = 20
    ) -> tuple[int, list[str]]:
        """Write its configuration; the port it will listen on, and its arguments.

        Args:
            upstream: the server's port.
            buffering: whether it takes a body whole before it passes it on; only nginx does.
            patience: seconds that a client may take for a request.
        """
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        config = folder / f"{self.name}.conf"
        onoff = "on" if buffering else "off"
        config.write_text(
            self.config.format(folder=folder, port=port, upstream=upstream, buffering=onoff, patience=patience)
        )
        return port, [argument.format(folder=folder, config=config) for argument in self.arguments]


NGINX = Proxy(
    "nginx",
    NGINX_CONF,
    ("-p", "{folder}", "-e", "stderr", "-c", "{config}"),
    signal.SIGQUIT,
    r"\[(error|crit|alert|emerg)\]",
)
HAPROXY = Proxy("haproxy", HAPROXY_CONF, ("-db", "-f", "{config}"), signal.SIGUSR1, r"^\[ALERT\]")
PROXIES = {proxy.name: proxy for proxy in (NGINX, HAPROXY)}
