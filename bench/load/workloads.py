"""What is sent to the servers, and the goals of ESG. A new workload is one more entry in WORKLOADS."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """CPU per request of `server` divided by that of `reference` must stay within `limit`."""

    server: str
    reference: str
    limit: float
    strict: bool = False  # below the limit, not at it

    def met(self, figure: float) -> bool:
        return figure < self.limit if self.strict else figure <= self.limit

    def __str__(self) -> str:
        return f"{self.server} {'<' if self.strict else '<='} {self.limit:g} x {self.reference}"


@dataclass(frozen=True)
class Extra(Goal):
    """CPU per request of `server` beyond that of `reference`, in microseconds, must stay within `limit`."""

    def __str__(self) -> str:
        return f"{self.server} {'<' if self.strict else '<='} {self.reference} + {self.limit:g} us"


@dataclass(frozen=True)
class Probe:
    """The request that proves, before measuring, that a server does the work: it answers 200 and `answer`."""

    answer: bytes = b""
    method: str = "GET"
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    fields: tuple[tuple[str, str], ...] = ()  # what the answer's head has to say, values in lower case
    keeps: bool = True  # the connection serves another request


@dataclass(frozen=True)
class Talk:
    """What is said on each of many connections: a message, and again when it has come back."""

    size: int
    text: bool = False
    deflate: bool = False
    connections: int = 32


@dataclass(frozen=True)
class Workload:
    """One kind of load: the application, how wrk loads it, how the answer is checked, and the goals.

    Where there is talk it is WebSockets, and the client has its own proof.
    """

    name: str
    app: str
    goals: tuple[Goal, ...]
    probe: Probe = Probe()
    talk: Talk | None = None
    path: str = "/"
    wrk: tuple[str, ...] = ("-c64", "-t1")
    script: str | None = None  # a Lua script for wrk, relative to this folder
    tls: bool = False
    servers: tuple[str, ...] | None = None  # those that are measured unless others are named; None for the usual ones

    @property
    def unit(self) -> str:
        return "message" if self.talk else "request"

    @property
    def scheme(self) -> str:
        return ("ws" if self.talk else "http") + "s" * self.tls

    @property
    def deflate(self) -> bool:
        return self.talk is not None and self.talk.deflate


KIB = 1024
CLOSE = (("connection", "close"),)
# All but the floor, which has no protocol for it.
REAL = ("esg", "uvicorn", "peregrine")

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload(
            name="hello",
            app="bench.apps.hello:app",
            probe=Probe(answer=b"Hello, world!"),
            goals=(
                Goal("esg", "uvicorn", 0.52),
                Goal("esg", "floor", 1.35),
                Goal("esg", "peregrine", 1.0, strict=True),
            ),
        ),
        Workload(
            name="limits",
            app="bench.apps.hello:app",
            probe=Probe(answer=b"Hello, world!"),
            servers=("esg", "esg-unlimited"),
            goals=(Goal("esg", "esg-unlimited", 1.03),),
        ),
        Workload(
            name="access-log",
            app="bench.apps.hello:app",
            probe=Probe(answer=b"Hello, world!"),
            servers=("esg", "esg-logged", "uvicorn", "uvicorn-logged"),
            goals=(Extra("esg-logged", "esg", 1.5), Goal("esg-logged", "uvicorn-logged", 0.35)),
        ),
        Workload(
            name="gunicorn",
            app="bench.apps.hello:app",
            probe=Probe(answer=b"Hello, world!"),
            servers=("esg", "gunicorn-esg", "gunicorn-uvicorn", "gunicorn-asgi"),
            goals=(Goal("gunicorn-esg", "esg", 1.03),),
        ),
        Workload(
            name="upload",
            app="bench.apps.bodies:count",
            probe=Probe(answer=b"%d" % (1024 * KIB), method="POST", body=b"x" * 1024 * KIB),
            script="post_1m.lua",
            wrk=("-c16", "-t1"),
            servers=("floor", *REAL),
            goals=(Goal("esg", "uvicorn", 0.25), Goal("esg", "peregrine", 1.0)),
        ),
        Workload(
            name="echo",
            app="bench.apps.bodies:echo",
            probe=Probe(answer=b"x" * KIB, method="POST", body=b"x" * KIB),
            script="post_1k.lua",
            servers=REAL,
            goals=(Goal("esg", "uvicorn", 0.42), Goal("esg", "peregrine", 1.0)),
        ),
        Workload(
            name="chunks",
            app="bench.apps.bodies:chunks",
            probe=Probe(answer=b"x" * 64 * KIB, fields=(("transfer-encoding", "chunked"),)),
            servers=REAL,
            goals=(Goal("esg", "uvicorn", 0.45), Goal("esg", "peregrine", 1.0, strict=True)),
        ),
        Workload(
            name="large",
            app="bench.apps.bodies:large",
            probe=Probe(answer=b"x" * 1024 * KIB, fields=(("content-length", str(1024 * KIB)),)),
            wrk=("-c16", "-t1"),
            servers=("floor", *REAL),
            goals=(Goal("esg", "peregrine", 1.0),),
        ),
        Workload(
            name="connect",
            app="bench.apps.hello:app",
            probe=Probe(answer=b"Hello, world!", headers=CLOSE, fields=CLOSE, keeps=False),
            script="close.lua",
            servers=REAL,
            goals=(Goal("esg", "uvicorn", 0.62),),
        ),
        Workload(
            name="tls",
            app="bench.apps.hello:app",
            tls=True,
            probe=Probe(answer=b"Hello, world!"),
            servers=("esg", "esg-loop-tls", "uvicorn", "peregrine"),
            goals=(Goal("esg", "uvicorn", 0.45), Goal("esg", "peregrine", 1.0, strict=True)),
        ),
        Workload(
            name="tls-large",
            app="bench.apps.bodies:large",
            tls=True,
            probe=Probe(answer=b"x" * 1024 * KIB, fields=(("content-length", str(1024 * KIB)),)),
            wrk=("-c16", "-t1"),
            servers=("esg", "esg-loop-tls", "uvicorn", "peregrine"),
            goals=(Goal("esg", "uvicorn", 1.0),),
        ),
        Workload(
            name="tls-connect",
            app="bench.apps.hello:app",
            tls=True,
            probe=Probe(answer=b"Hello, world!", headers=CLOSE, fields=CLOSE, keeps=False),
            script="close.lua",
            servers=("esg", "esg-loop-tls", "uvicorn", "peregrine"),
            goals=(Goal("esg", "uvicorn", 1.0),),
        ),
        Workload(
            name="pathsend",
            app="bench.apps.files:app",
            path="/file",  # nginx would look for an index at /
            probe=Probe(answer=bytes(range(256)) * 4 * 10 * KIB),
            wrk=("-c16", "-t1"),
            servers=("esg", "nginx"),
            goals=(Goal("esg", "nginx", 1.25),),
        ),
        Workload(
            name="ws-small",
            app="bench.apps.messages:echo",
            talk=Talk(size=64),
            servers=("floor", *REAL),
            goals=(Goal("esg", "uvicorn", 0.55), Goal("esg", "peregrine", 1.0)),
        ),
        Workload(
            name="ws-large",
            app="bench.apps.messages:echo",
            talk=Talk(size=64 * KIB),
            servers=("floor", *REAL, "weft"),
            goals=(
                Goal("esg", "uvicorn", 0.7),
                Goal("esg", "peregrine", 1.0, strict=True),
                Goal("esg", "weft", 1.0, strict=True),
            ),
        ),
        Workload(
            name="ws-deflate",
            app="bench.apps.messages:echo",
            talk=Talk(size=KIB, text=True, deflate=True),
            servers=REAL,
            goals=(Goal("esg", "uvicorn", 0.6),),
        ),
    )
}
