"""The servers that can be measured. A new one is one more entry in SERVERS.

Each runs one worker, without an access log, on uvloop where there is a choice, and otherwise by its defaults.
"""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """What a server's command line is built from."""

    python: str
    app: str
    host: str
    port: int


@dataclass(frozen=True)
class Server:
    """One server: its name in the report, the distribution its version is read from, and its command line."""

    name: str
    distribution: str
    argv: Callable[[Launch], list[str]]
    ours: bool = False  # runs in the interpreter of the benchmark, not in --peer-python
    default: bool = True  # measured when --servers is not given
    uvloop: bool = True  # its event loop, whose version matters as much as its own


def _address(launch: Launch) -> list[str]:
    return ["--host", launch.host, "--port", str(launch.port)]


def _floor(launch: Launch) -> list[str]:
    return [launch.python, "-m", "bench.load.floor", launch.host, str(launch.port)]


def _esg(launch: Launch) -> list[str]:
    options = ["--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
    return [launch.python, "-m", "esg", launch.app, *_address(launch), *options]


def _uvicorn(launch: Launch) -> list[str]:
    options = ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
    return [launch.python, "-m", "uvicorn", launch.app, *_address(launch), *options]


def _peregrine(launch: Launch) -> list[str]:
    # It takes uvloop when installed, and logs no access unless asked.
    options = ["--protocol", "asgi", "--workers", "1", "--no-auto-venv", "--log-level", "warning"]
    return [launch.python, "-m", "peregrine", *_address(launch), *options, launch.app]


def _freastal(launch: Launch) -> list[str]:
    # No choice of loop: it runs asyncio inside a libuv loop of its own.
    return [launch.python, "-m", "bench.load.run_freastal", launch.app, launch.host, str(launch.port)]


def _granian(launch: Launch) -> list[str]:
    options = ["--interface", "asgi", "--http", "1", "--loop", "uvloop", "--workers", "1"]
    return [launch.python, "-m", "granian", *_address(launch), *options, "--no-access-log", launch.app]


def _weft(launch: Launch) -> list[str]:
    options = ["--protocol", "asgi", "--workers", "1", "--no-auto-venv", "--log-level", "warning"]
    return [launch.python, "-m", "weft", *_address(launch), *options, launch.app]


SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        Server("floor", "uvloop", _floor, ours=True, uvloop=False),
        Server("esg", "esg-server", _esg, ours=True),
        Server("uvicorn", "uvicorn", _uvicorn),
        Server("peregrine", "peregrine-server", _peregrine),
        Server("freastal", "freastal", _freastal, uvloop=False),
        Server("granian", "granian", _granian, default=False),
        Server("weft", "weft-server", _weft, default=False, uvloop=False),
    )
}

_PROBE = """
import importlib.metadata as metadata, json, platform, sys, sysconfig
options = sysconfig.get_config_var("CONFIG_ARGS") or ""
built = [name for flag, name in (("--enable-optimizations", "PGO"), ("--with-lto", "LTO")) if flag in options]
python = platform.python_implementation() + " " + platform.python_version()
found = {"python": f"{python} ({' and '.join(built) or 'built without PGO or LTO'})"}
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


def versions(pythons: dict[str, str]) -> dict[str, str]:
    """What the report calls the version of each server that is installed in its interpreter."""
    named: dict[str, str] = {}
    for name, server in SERVERS.items():
        here = installed(pythons[name])
        if server.distribution in here:
            prefix = "uvloop " if server.distribution == "uvloop" else ""
            named[name] = prefix + here[server.distribution]
            if server.uvloop:
                named[name] += f", uvloop {here.get('uvloop', 'missing')}"
    return named
