"""The servers that can be measured. A new one is one more entry in SERVERS.

Each runs one worker, on uvloop where there is a choice, without an access log where its name does not say so, and
otherwise by its defaults.
"""

from __future__ import annotations

import functools
import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .certificate import paths
from .workloads import Workload

# Debian keeps it where only root's PATH looks.
_NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@dataclass(frozen=True)
class Launch:
    """What a server's command line is built from."""

    python: str
    workload: Workload
    host: str
    port: int
    folder: str  # for what the server needs to write; it goes when the server does


@dataclass(frozen=True)
class Server:
    """One server: its name in the report, the distribution its version is read from, and its command line."""

    name: str
    distribution: str
    argv: Callable[[Launch], list[str]]
    ours: bool = False  # runs in the interpreter of the benchmark, not in --peer-python
    default: bool = True  # measured when --servers is not given
    uvloop: bool = True  # its event loop, whose version matters as much as its own
    program: bool = False  # not a Python distribution: a program that tells its version with -v


def _address(launch: Launch) -> list[str]:
    return ["--host", launch.host, "--port", str(launch.port)]


def _tls(launch: Launch, certificate: str, key: str) -> list[str]:
    """What a server is told of TLS, in its own words for a certificate and its key."""
    if not launch.workload.tls:
        return []
    here = paths(launch.folder)
    return [certificate, here[0], key, here[1]]


def _floor(launch: Launch) -> list[str]:
    return [launch.python, "-m", "bench.load.floor", launch.workload.app, launch.host, str(launch.port)]


def _esg(launch: Launch) -> list[str]:
    options = ["--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
    tls = _tls(launch, "--ssl-certfile", "--ssl-keyfile")
    return [launch.python, "-m", "esg", launch.workload.app, *_address(launch), *options, *tls]


def _logged(argv: list[str]) -> list[str]:
    """With an access log by default, which goes to the file that a server's output is kept in."""
    return [option for option in argv if option not in ("--no-access-log", "--log-level", "warning")]


def _esg_logged(launch: Launch) -> list[str]:
    return _logged(_esg(launch))


def _uvicorn_logged(launch: Launch) -> list[str]:
    return _logged(_uvicorn(launch))


def _esg_loop_tls(launch: Launch) -> list[str]:
    return [*_esg(launch), "--ssl-transport", "loop"]


def _esg_unlimited(launch: Launch) -> list[str]:
    timeouts = [f"--timeout-{name}=0" for name in ("request-head", "request-body", "write", "keep-alive")]
    # An idle connection must not end between two requests of the probe.
    return [*_esg(launch), *timeouts[:-1], "--timeout-keep-alive=3600", "--minimum-rate=0"]


def _nginx(launch: Launch) -> list[str]:
    """nginx as it comes from Debian, but for what a benchmark of one file needs."""
    module = importlib.import_module(launch.workload.app.partition(":")[0])
    folder = launch.folder
    config = f"""
        daemon off; worker_processes 1; pid {folder}/pid; error_log stderr;
        events {{ worker_connections 768; }}
        http {{
            access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
            client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
            uwsgi_temp_path {folder}; scgi_temp_path {folder};
            server {{ listen {launch.host}:{launch.port};
                location = {launch.workload.path} {{ alias {module.FILE}; }} }}
        }}
    """
    Path(folder, "nginx.conf").write_text(config)
    return [_NGINX or "nginx", "-c", f"{folder}/nginx.conf", "-e", "stderr"]


def _uvicorn(launch: Launch) -> list[str]:
    options = ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
    tls = _tls(launch, "--ssl-certfile", "--ssl-keyfile")
    return [launch.python, "-m", "uvicorn", launch.workload.app, *_address(launch), *options, *tls]


def _gunicorn(launch: Launch, worker: str) -> list[str]:
    options = ["-w", "1", "-k", worker, "-b", f"{launch.host}:{launch.port}", "--log-level", "warning"]
    return [launch.python, "-m", "gunicorn", *options, "--no-control-socket", launch.workload.app]


def _gunicorn_esg(launch: Launch) -> list[str]:
    return _gunicorn(launch, "esg.workers.ESGWorker")


def _gunicorn_uvicorn(launch: Launch) -> list[str]:
    return _gunicorn(launch, "uvicorn_worker.UvicornWorker")


def _gunicorn_asgi(launch: Launch) -> list[str]:
    return [*_gunicorn(launch, "asgi"), "--asgi-loop", "uvloop"]


def _peregrine(launch: Launch) -> list[str]:
    # It takes uvloop when installed, and logs no access unless asked.
    options = ["--protocol", "asgi", "--workers", "1", "--no-auto-venv", "--log-level", "warning"]
    if launch.workload.deflate:
        options.append("--ws-compress")
    tls = _tls(launch, "--tls-cert", "--tls-key")
    return [launch.python, "-m", "peregrine", *_address(launch), *options, *tls, launch.workload.app]


def _freastal(launch: Launch) -> list[str]:
    # No choice of loop: it runs asyncio inside a libuv loop of its own.
    return [launch.python, "-m", "bench.load.run_freastal", launch.workload.app, launch.host, str(launch.port)]


def _granian(launch: Launch) -> list[str]:
    options = ["--interface", "asgi", "--http", "1", "--loop", "uvloop", "--workers", "1"]
    options += ["--no-access-log", *_tls(launch, "--ssl-certificate", "--ssl-keyfile")]
    return [launch.python, "-m", "granian", *_address(launch), *options, launch.workload.app]


def _weft(launch: Launch) -> list[str]:
    options = ["--protocol", "asgi", "--workers", "1", "--no-auto-venv", "--log-level", "warning"]
    return [launch.python, "-m", "weft", *_address(launch), *options, launch.workload.app]


SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        Server("floor", "uvloop", _floor, ours=True, uvloop=False),
        Server("esg", "esg-server", _esg, ours=True),
        Server("esg-unlimited", "esg-server", _esg_unlimited, ours=True, default=False),
        Server("esg-logged", "esg-server", _esg_logged, ours=True, default=False),
        Server("esg-loop-tls", "esg-server", _esg_loop_tls, ours=True, default=False),
        Server("gunicorn-esg", "esg-gunicorn", _gunicorn_esg, ours=True, default=False),
        Server("uvicorn", "uvicorn", _uvicorn),
        Server("uvicorn-logged", "uvicorn", _uvicorn_logged, default=False),
        Server("gunicorn-uvicorn", "uvicorn-worker", _gunicorn_uvicorn, default=False),
        Server("gunicorn-asgi", "gunicorn", _gunicorn_asgi, default=False),
        Server("peregrine", "peregrine-server", _peregrine),
        Server("freastal", "freastal", _freastal, uvloop=False),
        Server("granian", "granian", _granian, default=False),
        Server("weft", "weft-server", _weft, default=False, uvloop=False),
        Server("nginx", "nginx", _nginx, default=False, uvloop=False, program=True),
    )
}

_PROBE = """
import importlib.metadata as metadata, json, platform, sys, sysconfig
options = sysconfig.get_config_var("CONFIG_ARGS") or ""
built = [name for flag, name in (("--enable-optimizations", "PGO"), ("--with-lto", "LTO")) if flag in options]
python = platform.python_implementation() + " " + platform.python_version()
# Debian builds with both, and keeps the flags of another build.
unknown = "the system's own build" if sys.base_prefix == "/usr" else "built without PGO or LTO"
found = {"python": f"{python} ({' and '.join(built) or unknown})"}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@functools.cache
def installed(python: str) -> dict[str, str]:
    """Versions of the servers that the interpreter has, and what it is itself under "python"."""
    argv = [python, "-c", _PROBE, *{server.distribution for server in SERVERS.values()}]
    output = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout
    found: dict[str, str] = json.loads(output)
    return found


def pythons(peers: str) -> dict[str, str]:
    """The interpreter of each server, by its name: that of the benchmark for ours, the given one for the peers."""
    return {name: sys.executable if server.ours else peers for name, server in SERVERS.items()}


def versions(pythons: dict[str, str]) -> dict[str, str]:
    """What the report calls the version of each server that is installed in its interpreter, or on this machine."""
    named: dict[str, str] = {}
    for name, server in SERVERS.items():
        if server.program:
            if _NGINX:
                named[name] = _told_by(_NGINX)
            continue
        here = installed(pythons[name])
        if server.distribution in here:
            prefix = "uvloop " if server.distribution == "uvloop" else ""
            named[name] = prefix + here[server.distribution]
            if server.uvloop:
                named[name] += f", uvloop {here.get('uvloop', 'missing')}"
    return named


def _told_by(program: str) -> str:
    told = subprocess.run([program, "-v"], check=True, capture_output=True, text=True, timeout=10).stderr
    return told.rpartition("/")[2].strip()
