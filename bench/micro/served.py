"""Instructions that the whole server takes for a request, counted by callgrind, and where they go.

A real process serves one client on one connection, over uvloop where it is installed. Counting starts when it has
served some requests. Two runs differ by a few tens of instructions, so this shows what the clock cannot on a shared
machine. Instructions are not time: a system call costs none of them, and a copy is dear in cache; copies are made in
steps here, so that they count at all. Figures compare only with those of the same interpreter and compiler.

Run: python -m bench.micro.served --help
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path

from bench.apps import bodies
from bench.arguments import names, refuse
from bench.micro.instructions import COPY_IN_STEPS, ROOT
from bench.micro.websocket import masked

PROGRAM = "python -m bench.micro.served"
WARM = 20
PATIENCE = 120.0
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
LAST = GET[:-2] + b"Connection: close\r\n\r\n"


def post(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def read_response(client: socket.socket) -> None:
    with HTTPResponse(client) as response:
        response.begin()
        response.read()


def read_to_the_end(client: socket.socket) -> None:
    while client.recv(4096):
        pass


def read_message(client: socket.socket) -> None:
    left = 66
    while left:
        left -= len(client.recv(left))


@dataclass(frozen=True)
class Load:
    """What is sent again and again, how its answer is read, and how often."""

    app: str
    data: bytes
    count: int
    read: Callable[[socket.socket], None] = read_response
    first: bytes = b""  # what is sent once, before
    logged: bool = False  # in an access log, in a file
    alone: bool = False  # each on a connection of its own


LOADS = {
    "hello": Load("bench.apps.hello:app", GET, 1000),
    "logged": Load("bench.apps.hello:app", GET, 1000, logged=True),
    "connect": Load("bench.apps.hello:app", LAST, 1000, read_to_the_end, alone=True),
    "echo": Load("bench.apps.bodies:echo", post(b"x" * 1024), 1000),
    "upload": Load("bench.apps.bodies:count", post(bodies.LARGE), 30),
    "chunks": Load("bench.apps.bodies:chunks", GET, 200),
    "large": Load("bench.apps.bodies:large", GET, 30),
    "websocket": Load("bench.apps.messages:echo", masked(0x81, b"x" * 64), 1000, read_message, UPGRADE),
}


def main() -> int:
    options = _parser().parse_args()
    if shutil.which("valgrind") is None:
        return refuse("valgrind is not installed (Debian and Ubuntu: apt install valgrind).")
    for name in options.load:
        load = LOADS[name]
        with tempfile.TemporaryDirectory() as folder:
            costs = read_costs(_count(load, Path(folder)))
        print(f"{name}: {sum(costs.own.values()) / load.count:,.0f} instructions a request", flush=True)
        if options.profile:
            print("\n".join(_profile(costs, load.count)))
    return 0


# -- Counting


def _count(load: Load, folder: Path) -> Path:
    with _served(load, folder) as (pid, port), _connected(port, load.first) as client:

        def requests(count: int) -> None:
            for _ in range(count):
                with _connected(port) if load.alone else nullcontext(client) as connection:
                    connection.sendall(load.data)
                    load.read(connection)

        requests(WARM)
        _control(pid, "--instr=on")
        requests(WARM)
        _control(pid, "--zero")
        requests(load.count)
        _control(pid, "--instr=off")
        _control(pid, "--dump")
    return max(folder.glob("out.*"), key=lambda path: int(path.suffix[1:]))


@contextmanager
def _served(load: Load, folder: Path) -> Iterator[tuple[int, int]]:
    """The server's process and its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    command = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
    command += [sys.executable, "-m", "esg", load.app, "--port", str(port)]
    command += ["--access-log-file", f"{folder}/access"] if load.logged else ["--no-access-log"]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT), "GLIBC_TUNABLES": COPY_IN_STEPS}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr
            while "running on" not in (line := process.stderr.readline()):
                if not line:
                    raise SystemExit("the server did not start")
            yield process.pid, port
        finally:
            process.terminate()


@contextmanager
def _connected(port: int, first: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if first:
            client.sendall(first)
            while b"\r\n\r\n" not in client.recv(4096):
                pass
        yield client


def _control(pid: int, action: str) -> None:
    command = ["callgrind_control", action, str(pid)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


# -- Where they go


@dataclass
class Costs:
    """Instructions by function: its own, and those of what it calls, too."""

    own: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    whole: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def read_costs(path: Path) -> Costs:
    """Read what callgrind wrote; its own annotate splits a function by the files that were inlined into it."""
    costs, known = Costs(), dict[str, str]()
    function = called = ""
    is_call = False

    def name_of(text: str) -> str:
        number, _, name = text.partition(" ")
        if name:
            known[number] = re.sub(r"'\d+$", "", name)  # a recursion's depth
        return known[number]

    for line in path.read_text().splitlines():
        kind, _, value = line.partition("=")
        if kind == "fn":
            function = name_of(value)
        elif kind == "cfn":
            called = name_of(value)
        elif kind == "calls":
            is_call = True
            costs.calls[called] += int(value.split()[0])
        elif found := re.fullmatch(r"[+\-*\d]\S* (\d+)", line):
            if not is_call:
                costs.own[function] += int(found[1])
            if function != called or not is_call:
                costs.whole[function] += int(found[1])
            is_call = False
    return costs


def _profile(costs: Costs, count: int) -> Iterator[str]:
    yield f"{'own':>9} {'whole':>9} {'calls':>7}"
    for name, own in sorted(costs.own.items(), key=lambda item: -item[1]):
        if own >= 10 * count or costs.whole[name] >= 100 * count:
            yield f"{own / count:9.1f} {costs.whole[name] / count:9.1f} {costs.calls[name] / count:7.1f} {name}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Instructions that the server takes for a request.")
    parser.add_argument(
        "--load", metavar="A,B", type=names(LOADS), default=list(LOADS), help=f"some of {', '.join(LOADS)}"
    )
    parser.add_argument("--profile", action="store_true", help="also show which functions take them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
