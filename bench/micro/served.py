"""Instructions that the whole server takes for a request, counted by callgrind, and where they go.

A real process serves one client on one connection, or several that send at once, over uvloop where it is installed.
Counting starts when it has served some requests. Two runs differ by a few tens of instructions, so this shows what the
clock cannot on a shared machine. Instructions are not time: a system call costs none of them, and a copy is dear in
cache; copies are made in steps here, so that they count at all. What a processor's first caches would not have held can
be counted too: a server of many clients waits for that about as long as it works. Figures compare only with those of
the same interpreter and compiler.

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
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path

from bench.apps import bodies
from bench.arguments import names, refuse, whole
from bench.micro.instructions import COPY_IN_STEPS, ROOT
from bench.micro.websocket import masked

PROGRAM = "python -m bench.micro.served"
WARM = 20
# First caches as most processors have them; the last one, which must be told too, is as large as a second one.
CACHES = ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=524288,8,64"]
INSTRUCTIONS, CODE_MISSES, READ_MISSES, WRITE_MISSES = "Ir", "I1mr", "D1mr", "D1mw"
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
        rounds = max(1, load.count // options.clients)
        with tempfile.TemporaryDirectory() as folder:
            found = _count(load, rounds, Path(folder), options)
            _report(name, found, rounds * options.clients, options)
    return 0


def _report(name: str, found: Path, count: int, options: argparse.Namespace) -> None:
    costs = read_costs(found)
    print(f"{name}: {costs.total / count:,.0f} instructions a request", flush=True)
    if options.misses:
        code = read_costs(found, CODE_MISSES)
        data = read_costs(found, READ_MISSES).total + read_costs(found, WRITE_MISSES).total
        print(
            f"{name}: not in the cache {code.total / count:,.0f} times code, {data / count:,.0f} times data", flush=True
        )
    if options.profile:
        print("\n".join(_profile(costs, count)))


# -- Counting


def _count(load: Load, rounds: int, folder: Path, options: argparse.Namespace) -> Path:
    with _served(load, folder, options.misses) as (pid, port), ExitStack() as stack:
        kept = [] if load.alone else [stack.enter_context(_connected(port, load.first)) for _ in range(options.clients)]

        def serve(rounds: int) -> None:
            for _ in range(rounds):
                with ExitStack() as fresh:
                    clients = kept or [fresh.enter_context(_connected(port)) for _ in range(options.clients)]
                    for client in clients:
                        client.sendall(load.data)
                    for client in clients:
                        load.read(client)

        serve(WARM)
        _control(pid, "--instr=on")
        serve(WARM)
        _control(pid, "--zero")
        serve(rounds)
        _control(pid, "--instr=off")
        _control(pid, "--dump")
    return max(folder.glob("out.*"), key=lambda path: int(path.suffix[1:]))


@contextmanager
def _served(load: Load, folder: Path, misses: bool) -> Iterator[tuple[int, int]]:
    """The server's process and its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    command = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
    command += CACHES * misses
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
    """Instructions, or something else that was counted, by function: its own, and those of what it calls, too."""

    own: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    whole: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def total(self) -> int:
        return sum(self.own.values())


def read_costs(path: Path, event: str = INSTRUCTIONS) -> Costs:
    """Read what callgrind wrote; its own annotate splits a function by the files that were inlined into it."""
    events: list[str] = []
    costs, known = Costs(), dict[str, str]()
    function = called = ""
    is_call = False

    def name_of(text: str) -> str:
        number, _, name = text.partition(" ")
        if name:
            known[number] = re.sub(r"'\d+$", "", name)  # a recursion's depth
        return known[number]

    for line in path.read_text().splitlines():
        if line.startswith("events: "):
            events = line.split()[1:]
        kind, _, value = line.partition("=")
        if kind == "fn":
            function = name_of(value)
        elif kind == "cfn":
            called = name_of(value)
        elif kind == "calls":
            is_call = True
            costs.calls[called] += int(value.split()[0])
        elif re.fullmatch(r"[+\-*\d]\S*( \d+)+", line):
            # Those at the end that would be 0 are left out.
            cost = dict(zip(events, map(int, line.split()[1:]), strict=False)).get(event, 0)
            if not is_call:
                costs.own[function] += cost
            if function != called or not is_call:
                costs.whole[function] += cost
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
    parser.add_argument(
        "--clients", metavar="N", type=whole(1, 500), default=1, help="on so many connections at once; default: 1"
    )
    parser.add_argument(
        "--misses", action="store_true", help="also count what caches of 32 KiB for code and for data had not"
    )
    parser.add_argument("--profile", action="store_true", help="also show which functions take them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
