"""Soak: workers are reloaded, killed and recycled under load, and a client that retries nothing counts what it lost.

``python -m bench.soak --help``. The judge keeps connections for as long as it is let, asks again the moment it has its
answer, and takes a connection that ends under a request, or an answer that is not whole, for a failure. A failure is
excused only where it belongs to a worker that was killed: its connections say who served them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.arguments import whole

ROOT = Path(__file__).parents[1]
PATIENCE = 30.0
PAGE = os.sysconf("SC_PAGE_SIZE")
# Where the last kill was so long ago, nobody has a connection to that worker any more, in seconds.
AFTERMATH = 2.0
# What the parent, and a worker that has served 200 connections at once, may have grown by, in MiB.
PARENT_GROWTH, WORKER_GROWTH = 2, 12


@dataclass
class Judge:
    """What the clients saw."""

    answers: Counter[int] = field(default_factory=Counter)
    """How many each process gave."""
    failures: list[str] = field(default_factory=list)
    excused: int = 0
    killed: dict[int, float] = field(default_factory=dict)
    """When each process was killed."""
    over: bool = False
    tls: ssl.SSLContext | None = None

    def judge(self, why: str, worker: int | None, begun: float) -> None:
        """A request had no answer: by whose fault?"""
        # Who was accepted, but never answered, does not know by whom.
        recently = any(begun - AFTERMATH <= at for at in self.killed.values())
        if worker in self.killed or (worker is None and recently):
            self.excused += 1
        else:
            self.failures.append(f"{why} (worker {worker})")


@dataclass(frozen=True)
class Size:
    """What the processes take: MiB and descriptors of the parent, and of the worker that has most."""

    parent: int
    parent_descriptors: int
    worker: int
    worker_descriptors: int

    def has_more_open_than(self, other: Size) -> bool:
        return self.parent_descriptors > other.parent_descriptors or self.worker_descriptors > other.worker_descriptors


class Client(asyncio.Protocol):
    """One connection, with one request after another until it ends."""

    def __init__(self, judge: Judge, path: bytes) -> None:
        self.judge = judge
        self.request = b"GET %s HTTP/1.1\r\nHost: soak\r\n\r\n" % path
        self.worker: int | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.begun = time.monotonic()
        self.waiting = False
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.waiting = True
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, mark, body = self.buffer.partition(b"\r\n\r\n")
        if not mark or len(body) < 8:
            return
        self.waiting, self.buffer = False, b""
        if not head.startswith(b"HTTP/1.1 200 ") or len(body) > 8:
            self.judge.failures.append(f"an answer that is none: {head!r}")
        self.worker = int(body)
        self.judge.answers[self.worker] += 1
        if self.judge.over or b"connection: close" in head.lower():
            self.transport.close()
        else:
            self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if self.waiting:
            self.judge.judge(f"a connection that ended under a request: {error!r}", self.worker, self.begun)
        if not self.ended.done():
            self.ended.set_result(None)


async def keep_asking(judge: Judge, port: int, path: bytes) -> None:
    """One client: a connection after the other."""
    loop = asyncio.get_running_loop()
    while not judge.over:
        begun = time.monotonic()
        try:
            _, client = await loop.create_connection(lambda: Client(judge, path), "127.0.0.1", port, ssl=judge.tls)
        except OSError as error:
            judge.judge(f"a connection that was not to be had: {error!r}", None, begun)
            continue
        try:
            await client.ended
        except asyncio.CancelledError:
            judge.failures.append(f"a request that is not answered in {PATIENCE:g} s (worker {client.worker})")
            client.waiting = False
            client.transport.abort()
            raise


class Family:
    """The server: a parent and its workers, as the system shows them."""

    def __init__(self, arguments: Sequence[str], *, tls: bool) -> None:
        command = [sys.executable, "-m", "esg", "bench.apps.who:app", "--port=0", "--no-access-log", *arguments]
        self.folder = tempfile.TemporaryDirectory(prefix="esg-soak-")
        self.trust: ssl.SSLContext | None = None
        if tls:
            self.trust, certificate = _certify(Path(self.folder.name))
            command.append(f"--ssl-certfile={certificate}")
        self.log = Path(self.folder.name, "log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = self.process.pid

    def port(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(r"running on https?://[\d.]+:(\d+)", self.log.read_text())):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit(f"The server did not start:\n{self.log.read_text()}")
            time.sleep(0.02)
        return int(found[1])

    def children(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def zombies(self) -> list[int]:
        return [pid for pid in self.children() if _stat(pid)[0] == "Z"]

    def size(self) -> Size:
        children = self.children()
        return Size(
            _memory(self.pid),
            _descriptors(self.pid),
            max(map(_memory, children), default=0),
            max(map(_descriptors, children), default=0),
        )

    def size_at_rest(self, most: Size) -> Size:
        """Its size once it has no more descriptors than before, or when patience is at its end.

        Who has closed a connection is faster than who has it closed; and a worker may still be replaced, for which the
        parent has a channel more.
        """
        deadline = time.monotonic() + PATIENCE
        while (size := self.size()).has_more_open_than(most) and time.monotonic() < deadline:
            time.sleep(0.05)
        return size

    def wait_until_ready(self, workers: int) -> bool:
        """Wait until so many have said so; whether it came to that."""
        return _wait(lambda: self.log.read_text().count("] is ready") >= workers)

    def settle(self, workers: int) -> bool:
        """Wait until there are just so many processes, which leave nothing behind; whether it came to that."""
        return _wait(lambda: len(self.children()) == workers and not self.zombies())

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            self.folder.cleanup()


def _certify(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A certificate in a file of the folder, and what trusts it."""
    import trustme

    authority = trustme.CA()
    path = folder / "certificate.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context, path


def _wait(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _memory(pid: int) -> int:
    """MiB that a process has."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE // 2**20
    return 0


def _descriptors(pid: int) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def _stat(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [""]


def schedule(seconds: float, hangups: int, kills: int) -> Iterator[tuple[float, str]]:
    """When to do what, evenly spread, and not at the very ends."""
    events = [(seconds * (i + 1) / (hangups + 1), "hangup") for i in range(hangups)]
    events += [(seconds * (i + 0.6) / (kills + 0.2), "kill") for i in range(kills)]
    yield from sorted(events)


async def torment(judge: Judge, family: Family, seconds: float, hangups: int, kills: int) -> None:
    """Do what operators and accidents do, at the times for it."""
    begun = time.monotonic()
    turn = itertools.count()
    for at, what in schedule(seconds, hangups, kills):
        await asyncio.sleep(max(0.0, begun + at - time.monotonic()))
        if what == "hangup":
            os.kill(family.pid, signal.SIGHUP)
            continue
        there = [pid for pid in family.children() if judge.answers[pid]]
        if there:
            victim = there[next(turn) % len(there)]
            judge.killed[victim] = time.monotonic()
            os.kill(victim, signal.SIGKILL)
    await asyncio.sleep(max(0.0, begun + seconds - time.monotonic()))


async def soak(family: Family, options: argparse.Namespace) -> Judge:
    judge = Judge(tls=family.trust)
    port = family.port()
    paths = [b"/slow" if number % 4 == 0 else b"/" for number in range(options.connections)]
    clients = [asyncio.ensure_future(keep_asking(judge, port, path)) for path in paths]
    await torment(judge, family, options.seconds, options.hangups, options.kills)
    judge.over = True
    _, waiting = await asyncio.wait(clients, timeout=PATIENCE)
    for client in waiting:
        client.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return judge


def complaints(judge: Judge, before: Size, after: Size) -> Iterator[str]:
    """What is wrong with how it went, and with what is left."""
    yield from (f"{count} times: {why}" for why, count in Counter(judge.failures).most_common(10))
    if after.parent_descriptors > before.parent_descriptors:
        yield "the parent leaks descriptors"
    if after.worker_descriptors > before.worker_descriptors:
        yield "workers leak descriptors"
    if after.parent > before.parent + PARENT_GROWTH:
        yield "the parent grows"
    if after.worker > before.worker + WORKER_GROWTH:
        yield "workers grow"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, and say with the exit status whether anything was lost."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which stops the server too
    own = [
        f"--workers={options.workers}",
        f"--limit-max-requests={options.requests}",
        "--limit-max-requests-jitter=500",
    ]
    own += [f"--{name}" for name in ("preload", "reuse-port") if getattr(options, name.replace("-", "_"))]
    family = Family([*own, "--loop", options.loop], tls=options.tls)
    try:
        family.port()
        settled = family.wait_until_ready(options.workers) and family.settle(options.workers)
        before = family.size()
        judge = asyncio.run(soak(family, options))
        settled = family.settle(options.workers) and settled
        after = family.size_at_rest(before)
        log = family.log.read_text()
    finally:
        status = family.stop()
    replaced = log.count("(limit_max_requests)")
    print(f"{sum(judge.answers.values())} answers of {len(judge.answers)} workers, {replaced} recycled")
    print(f"failures: {len(judge.failures)}; on killed workers ({len(judge.killed)}): {judge.excused}")
    print(f"before: {before}")
    print(f"after: {after}; exit status {status}")
    wrong = [*complaints(judge, before, after)]
    wrong += ["processes that do not go, or zombies"] if not settled else []
    wrong += [f"it ended with {status}"] if status != -signal.SIGTERM else []
    wrong += ["a traceback is in the log"] if "Traceback" in log else []
    if wrong and options.verbose:
        print(log)
    for complaint in wrong:
        print("!!!", complaint)
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--seconds", type=whole(1, 3600), default=60)
    parser.add_argument("--connections", type=whole(1, 5000), default=200)
    parser.add_argument("--workers", type=whole(2, 64), default=2)
    parser.add_argument("--hangups", type=whole(0, 1000), default=20)
    parser.add_argument("--kills", type=whole(0, 1000), default=5)
    parser.add_argument("--requests", type=whole(100, 10**9), default=20_000, help="after which a worker is recycled")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="uvloop")
    parser.add_argument("--tls", action="store_true", help="needs trustme")
    parser.add_argument("--preload", action="store_true")
    parser.add_argument("--reuse-port", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="print the server's log when something is wrong")
    return parser


if __name__ == "__main__":
    sys.exit(main())
