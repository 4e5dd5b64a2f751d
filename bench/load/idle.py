"""What an idle connection costs in memory: ``python -m bench.load.idle --help``.

Every server gets connections that ask for one hello world each and then stay, or WebSockets that send one message and
get it back. What its memory grew by is divided by their number. The bare protocol has the same transports of the same
loop and nothing else: what a server has beyond that is its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from bench.arguments import add_outcome, add_peer_python, finish, log, names, refuse, whole

from . import cputime
from .probes import prove
from .process import HOST, InvalidRun, ServerProcess
from .report import about, row
from .servers import SERVERS, Launch, Server, installed, pythons, versions
from .wire import HANDSHAKE, OFFER, framed, is_whole_frame
from .workloads import WORKLOADS, Talk, Workload

PROGRAM = "python -m bench.load.idle"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
HELLO = WORKLOADS["hello"]
# Each server that is measured, and how it is told to keep a connection for ten minutes without a word.
KEEP = {
    "floor": (),
    "esg": ("--timeout-keep-alive", "600", "--ws-ping-interval", "0"),
    "uvicorn": ("--timeout-keep-alive", "600", "--ws-ping-interval", "600"),
    "peregrine": ("--keep-alive", "600000", "--ws-ping-interval", "0"),
}
WARM = 200  # connections that are there before it is measured: pools and caches are filled


@dataclass(frozen=True)
class Kind:
    """What a connection has done before it is idle, and the goal: bytes beyond those of the bare protocol."""

    workload: Workload
    goal: int | None = None  # None: the figure is for the reader


KINDS = {
    "http": Kind(HELLO, 4096),
    "websocket": Kind(replace(WORKLOADS["ws-small"], talk=Talk(size=64)), 6144),
    "websocket-deflate": Kind(WORKLOADS["ws-deflate"]),
}
# Seconds in which a server may put away what it needs only for requests.
SETTLE = 2.5

Sizes = Mapping[str, list[float]]  # bytes a connection of every server, one number a round


def main() -> int:
    options = _parser().parse_args()
    kind = KINDS[options.kind]
    _allow_files(options.connections + WARM + 100)
    interpreters = pythons(options.peer_python)
    here = versions(interpreters)
    sizes: dict[str, list[float]] = {name: [] for name in options.servers or KEEP if name in here}
    try:
        for _ in range(options.rounds):
            for name, found in sizes.items():
                found.append(_measure(kind, _patient(SERVERS[name]), interpreters[name], options.connections))
                log(f"{name} {found[-1]:,.0f} bytes")
    except (InvalidRun, OSError) as error:
        return refuse(f"INVALID: {name}: {error}")
    word, verdict = _verdict(kind, sizes)
    header = about(PROGRAM, sorted({installed(interpreters[name])["python"] for name in sizes}))
    unit = kind.workload.unit
    header.append(f"{options.connections} connections, each idle after one {unit}; {options.rounds} rounds, medians")
    name = "idle" if kind is KINDS["http"] else f"idle-{options.kind}"
    text = _render(name, header, sizes, here, verdict)
    print(text)
    return finish(name, text, [word or "PASS"], options)


# -- Measuring


def _measure(kind: Kind, server: Server, python: str, connections: int) -> float:
    # The bare protocol has the transport and nothing else, whatever is sent.
    workload = HELLO if server.name == "floor" else kind.workload
    talk = workload.talk
    begin = _http if talk is None else partial(_websocket, talk)
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(ServerProcess(server, python, workload, min(os.sched_getaffinity(0))))
        process.wait_ready(prove)
        idle = [stack.enter_context(begin(process.port)) for _ in range(WARM)]
        time.sleep(SETTLE)
        before = _memory(process.pid)
        idle += [stack.enter_context(begin(process.port)) for _ in range(connections)]
        time.sleep(SETTLE)
        size = (_memory(process.pid) - before) / connections
        _check_open(idle)
        return size


def _patient(server: Server) -> Server:
    """The server, with connections that stay idle for longer than this takes."""

    def argv(launch: Launch) -> list[str]:
        return [*server.argv(launch), *KEEP[server.name]]

    return replace(server, argv=argv)


def _http(port: int) -> socket.socket:
    sock = socket.create_connection((HOST, port), timeout=10)
    sock.sendall(REQUEST)
    _read_until(sock, lambda data: data.endswith(HELLO.probe.answer))
    return sock


def _websocket(talk: Talk, port: int) -> socket.socket:
    """A WebSocket whose one message has come back."""
    sock = socket.create_connection((HOST, port), timeout=10)
    offer = f"Sec-WebSocket-Extensions: {OFFER}\r\n" if talk.deflate else ""
    sock.sendall(HANDSHAKE.format(offer).encode())
    head = _read_until(sock, lambda data: data.endswith(b"\r\n\r\n"))
    if b" 101 " not in head or (b"permessage-deflate" in head) != talk.deflate:
        raise InvalidRun(f"not the answer to the handshake that was wanted: {head!r}")
    sock.sendall(framed(talk))
    _read_until(sock, is_whole_frame)
    return sock


def _read_until(sock: socket.socket, is_whole: Callable[[bytes], bool]) -> bytes:
    answer = b""
    while not is_whole(answer):
        if not (data := sock.recv(65536)):
            raise InvalidRun("the server closed a connection before its answer was whole")
        answer += data
    return answer


def _check_open(idle: Iterable[socket.socket]) -> None:
    """Raises InvalidRun if the server has closed a connection: its memory was not counted."""
    for sock in idle:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            raise InvalidRun(f"an idle connection has something to read: {sock.recv(100)!r}")


def _memory(pid: int) -> int:
    """Private memory of the server and its children, in bytes."""
    total = 0
    for process in cputime.tree(pid):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Dirty:", "Private_Clean:")):
                total += int(line.split()[1]) * 1024
    return total


def _allow_files(wanted: int) -> None:
    """Raises the limit of open files, which the servers inherit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, most)))


# -- The report


def _beyond(sizes: Sizes, name: str) -> float | None:
    """Median over the rounds of what a server has beyond the bare protocol."""
    if not sizes.get(name) or not sizes.get("floor"):
        return None
    return median(one - floor for one, floor in zip(sizes[name], sizes["floor"], strict=True))


def _verdict(kind: Kind, sizes: Sizes) -> tuple[str, str]:
    """The word for it, empty where there is no goal, and the line."""
    beyond = _beyond(sizes, "esg")
    measured = "not measured" if beyond is None else f"{beyond:,.0f}"
    if kind.goal is None:
        return "", f"esg beyond the floor: {measured} bytes, no goal"
    word = "SKIP" if beyond is None else "PASS" if beyond <= kind.goal else "MISS"
    return word, f"{word} esg <= floor + {kind.goal} bytes ({measured})"


def _render(name: str, header: Iterable[str], sizes: Sizes, here: Mapping[str, str], verdict: str) -> str:
    lines = [row(("server", "version", "bytes/connection", "spread", "beyond the floor"))]
    lines.append(row(("---", "---", "---:", "---:", "---:")))
    for server, found in sizes.items():
        beyond = _beyond(sizes, server)
        numbers = (f"{median(found):,.0f}", f"{max(found) - min(found):,.0f}")
        lines.append(row((server, here[server], *numbers, "-" if beyond is None else f"{beyond:,.0f}")))
    sections = [f"# {name}: memory of a connection", "\n".join(f"- {line}" for line in header), "\n".join(lines)]
    return "\n\n".join([*sections, f"- {verdict}"]) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Memory of an idle connection.")
    add = parser.add_argument
    add("--kind", choices=KINDS, default="http", help="what the connections are (default: %(default)s)")
    add("--servers", type=names(KEEP), metavar="A,B", help=f"of {', '.join(KEEP)}, which are all without it")
    add("--connections", type=whole(100, 20_000), default=2000, metavar="N", help="besides 200 to begin with")
    add("--rounds", type=whole(1, 100), default=3, metavar="N", help="measurements of every server")
    add_peer_python(parser)
    add_outcome(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
