"""A short form of bench/soak.py: reloads, kills and recycling under load; only a killed worker loses requests."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from bench.soak import Family, Judge, Size, complaints, keep_asking

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")


def soak(run: Callable[..., Any], *options: str) -> tuple[int, int, int]:
    """How many answers, of how many workers, how many of them recycled."""
    process = run(sys.executable, "-m", "bench.soak", "--verbose", "--seconds=4", "--connections=100", *options)
    assert process.find("exit status", 0, 60) is not None, process.told()
    assert process.wait() == 0, process.told()
    assert "failures: 0;" in process.told()
    counts = re.search(r"(\d+) answers of (\d+) workers, (\d+) recycled", process.told())
    assert counts is not None
    answers, workers, recycled = map(int, counts.groups())
    return answers, workers, recycled


def test_reloads_and_kills(run: Callable[..., Any]) -> None:
    answers, workers, _ = soak(run, "--hangups=3", "--kills=1", "--loop=uvloop")
    assert answers > 1000
    assert workers > 2


def test_recycling(run: Callable[..., Any]) -> None:
    answers, workers, recycled = soak(
        run, "--hangups=0", "--kills=0", "--requests=100", "--loop=asyncio", "--preload", "--reuse-port"
    )
    assert answers > 1000
    assert workers > 2
    assert recycled > 0


# -- The judge itself ------------------------------------------------------------------------------------------------

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n00000007"


def judged(answer: bytes, *, closes: bool = True, killed: bool = False) -> Judge:
    """What the judge says of a server that gives this answer to the second request of a connection."""

    async def main() -> Judge:
        judge, asked = Judge(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)
            await reader.readuntil(b"\r\n\r\n")
            judge.over = True
            if killed:
                judge.killed[7] = time.monotonic()
            writer.write(answer)
            asked.set()
            if not closes:
                await reader.read()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            client = asyncio.ensure_future(keep_asking(judge, server.sockets[0].getsockname()[1], b"/"))
            await asked.wait()
            if not closes:
                client.cancel()
            await asyncio.wait([client])
        return judge

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "closes", "why"),
    [
        (b"", True, "ended under a request"),
        (ANSWER[:-1], True, "ended under a request"),
        (ANSWER.replace(b"200 OK", b"503 Service Unavailable"), True, "an answer that is none"),
        (ANSWER + b"0", True, "an answer that is none"),
        (b"", False, "not answered"),
    ],
    ids=["none", "half", "another", "more", "never"],
)
def test_lost_requests_are_seen(answer: bytes, closes: bool, why: str) -> None:
    (failure,) = judged(answer, closes=closes).failures
    assert why in failure


def test_what_a_killed_worker_loses_is_excused() -> None:
    judge = judged(b"", killed=True)
    assert (judge.failures, judge.excused) == ([], 1)


def test_a_connection_that_is_refused_is_seen() -> None:
    async def main() -> Judge:
        judge = Judge()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and does not listen
            client = asyncio.ensure_future(keep_asking(judge, taken.getsockname()[1], b"/"))
            while not judge.failures:
                await asyncio.sleep(0)
            judge.over = True
            await client
        return judge

    assert "was not to be had" in asyncio.run(main()).failures[0]


@pytest.mark.parametrize(
    ("after", "complaint"),
    [
        (Size(20, 10, 42, 16), None),
        (Size(21, 10, 30, 16), "the parent grows"),
        (Size(18, 11, 30, 16), "the parent leaks descriptors"),
        (Size(18, 10, 43, 16), "workers grow"),
        (Size(18, 10, 30, 17), "workers leak descriptors"),
    ],
)
def test_what_is_left_is_seen(after: Size, complaint: str | None) -> None:
    assert [*complaints(Judge(), Size(18, 10, 30, 16), after)] == ([complaint] if complaint else [])


def test_zombies_are_seen() -> None:
    """Of a parent that buries nobody."""
    program = "import os, sys; os.fork() or os._exit(0); print('forked', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"forked\n"
        family = Family.__new__(Family)
        family.pid = parent.pid
        while not family.zombies():
            os.sched_yield()
        (child,) = family.children()
        assert family.zombies() == [child]
        assert family.size().parent_descriptors >= 3
        assert family.size().parent > 1
