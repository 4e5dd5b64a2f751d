"""Clients that would take a server down, against a real one with times that can be waited for.

Each attack is a row of the table at the end of the run: what came of it, in what time, at what price in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.once

MIB = 1024 * 1024
MOST_GROWN = 8 * MIB
MOST_SECONDS = 15.0
LARGE = 200 * MIB
KERNELS = 24 * MIB
"""What the kernel's own buffers, some MiB on each side, take of what nobody reads."""
HEAD = b"POST /take HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
HELLO = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
TIMES = [
    "--timeout-request-head=1",
    "--timeout-request-body=1",
    "--timeout-write=1",
    "--timeout-keep-alive=1",
]


@pytest.fixture(scope="module")
def server(serve_module: Any, loop: str, many_files: int) -> Any:
    server = serve_module("abuse:app", "--no-access-log", "--loop", loop, *TIMES, test_app=True)
    for target in ("/hello", "/chunked", "/tasks"):
        server.get(target)
    return server


@dataclasses.dataclass
class Outcome:
    """What came of an attack: what the server did, and how many bytes it took."""

    did: str = ""
    taken: int = 0


@pytest.fixture
def attack(server: Any, loop: str, attacks: list[Any]) -> Any:
    @contextlib.contextmanager
    def attack(name: str, server: Any = server, *, grown: float = MOST_GROWN) -> Iterator[Outcome]:
        """What happens inside is an attack. Behind it the server is well, has let go of everything, and nothing grew.

        Args:
            name: for the table.
            grown: bytes of memory that the server may take meanwhile, at the most.
        """
        outcome, mark, descriptors = Outcome(), len(server.lines), server.descriptors()
        server.forget_peak()
        before, began = server.memory(), time.monotonic()
        yield outcome
        seconds, more = time.monotonic() - began, max(server.peak_memory() - before, 0)
        server.until(lambda: server.descriptors() <= descriptors)
        assert not server.faults_since(mark)
        attacks.append((name, loop, outcome.did, f"{seconds:.2f}", f"{more / MIB:.1f}", f"{outcome.taken:,}"))
        assert seconds < MOST_SECONDS
        assert more < grown

    return attack


def counted(server: Any, name: str, number: int = 0) -> int:
    """How often something has happened, once it has so often."""
    return int(server.get(f"/counted?{name}-{number}").body)


def closed(answer: Any) -> str:
    assert answer["connection"] == "close"
    return f"{answer.status}, closed"


# -- Slow clients


def test_a_connection_on_which_nothing_comes(server: Any, attack: Any) -> None:
    with attack("connect, send nothing") as outcome:
        with server.says("(timeout_request_head is 1)"), server.connect() as wire:
            assert wire.is_over()
        outcome.did = "closed"


def dribble(wire: Any, byte: bytes) -> int:
    """Send a byte ten times a second until the server has had enough; how many that were."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while wire.is_silent(0.1):
            wire.send(byte)
            sent += len(byte)
    return sent


@pytest.mark.parametrize(
    ("begin", "byte", "limit"),
    [
        (b"\r\n", b"", "timeout_request_head"),
        (b"GET /", b"a", "timeout_request_head"),
        (HEAD, b"", "timeout_request_head"),
        (HEAD + b"X: ", b"x", "timeout_request_head"),
        (HEAD + b"Content-Length: 50000\r\n\r\n", b"", "timeout_request_body"),
        (HEAD + b"Content-Length: 50000\r\n\r\n", b"x", "timeout_request_body"),
        (CHUNKED, b"0", "timeout_request_body"),
        (CHUNKED + b"5;", b"x", "timeout_request_body"),
        (CHUNKED + b"ffff\r\n", b"x", "timeout_request_body"),
        (CHUNKED + b"0\r\nX: ", b"x", "timeout_request_body"),
    ],
    ids=[
        "silence behind an empty line",
        "target dribbles",
        "fields stall",
        "fields dribble",
        "body stalls",
        "body dribbles",
        "chunk size dribbles",
        "chunk extension dribbles",
        "chunk dribbles",
        "trailers dribble",
    ],
)
def test_a_request_that_does_not_come(
    server: Any, attack: Any, begin: bytes, byte: bytes, limit: str, request: pytest.FixtureRequest
) -> None:
    with attack(request.node.callspec.id.rpartition("-")[2]) as outcome:
        with server.says(f"({limit} is 1)"), server.connect() as wire:
            wire.send(begin)
            outcome.taken = len(begin) + dribble(wire, byte)
            answer = wire.answer()
            assert answer.status == 408
            assert wire.is_over()
        outcome.did = closed(answer)


def test_silence_behind_an_answer(server: Any, attack: Any) -> None:
    with attack("silence behind an answer") as outcome, server.connect() as wire:
        wire.send(HELLO)
        assert wire.answer().body == b"hello"
        assert wire.is_over()
        outcome.did, outcome.taken = "closed", len(HELLO)


@pytest.mark.parametrize("byte", [0, 1], ids=["not at all", "by the byte"])
def test_a_response_that_is_not_read(server: Any, attack: Any, word: str, byte: int) -> None:
    """200 MiB are ready for it."""
    with attack(f"200 MiB response, read {'by the byte' if byte else 'not at all'}") as outcome:
        after = len(server.lines)
        with server.connect(receive_buffer=4096) as wire:
            wire.request(f"/give?{word}")
            wire.head()
            while not server.find("(timeout_write is 1)", after, 0.1):
                wire.socket.recv(byte)
            outcome.taken = int(server.get(f"/noted?{word}").body)
            assert len(wire.rest()) < KERNELS
        outcome.did = "reset"
    assert outcome.taken < KERNELS


@pytest.fixture
def patient(serve: Any, loop: str, many_files: int) -> Any:
    """A server that waits for a first request for as long as it takes a test to connect very often."""
    times = ["--timeout-request-head=5"]
    return serve("abuse:app", "--no-access-log", "--loop", loop, *times, test_app=True)


def test_idle_connections_beside_live_ones(patient: Any, attack: Any, many_files: int) -> None:
    name = f"{many_files:,} idle connections"
    with attack(name, patient, grown=many_files * 16 * 1024) as outcome, contextlib.ExitStack() as stack:
        idle, live = [], 0
        for number in range(many_files):
            idle.append(stack.enter_context(socket.create_connection(("127.0.0.1", patient.port))))
            if number % 50 == 0:
                live += patient.get("/hello").status == 200
        assert patient.descriptors() > many_files
        patient.until(lambda: patient.descriptors() < many_files)
        for connection in idle:
            connection.settimeout(20)
            assert connection.recv(1) == b""
        outcome.did = f"closed; {live} live requests answered"
    assert live == many_files / 50


# -- Greedy clients


def test_a_flood_of_requests_to_a_slow_app(server: Any, attack: Any, word: str) -> None:
    with attack("200,000 pipelined GETs to a slow app") as outcome, server.connect() as wire:
        held = counted(server, "hold")
        wire.request(f"/hold?{word}")
        counted(server, "hold", held + 1)
        outcome.taken = wire.offer(HELLO * 1000, 200_000 * len(HELLO))
        assert wire.is_silent()
        wire.reset()
        server.get(f"/open?{word}")
        outcome.did = "closed"


def test_a_flood_of_requests_whose_answers_are_not_read(server: Any, attack: Any) -> None:
    with attack("200,000 pipelined GETs, answers unread") as outcome, server.connect(receive_buffer=4096) as wire:
        with server.says("(timeout_write is 1)"):
            outcome.taken = wire.offer(HELLO * 1000, 200_000 * len(HELLO))
        assert not wire.rest().endswith(b"hello" * 2)
        outcome.did = "reset"


def test_a_flood_of_requests_whose_answers_are_read(server: Any, attack: Any) -> None:
    number = 200_000
    with attack("200,000 pipelined GETs, all answered") as outcome, server.connect() as wire:
        sending = threading.Thread(target=wire.send, args=(HELLO * number,))
        sending.start()
        for _ in range(number):
            assert wire.answer().body == b"hello"
        sending.join(20)
        outcome.did, outcome.taken = f"{number:,} answered", number * len(HELLO)


def test_an_upload_to_an_app_that_does_not_read(server: Any, attack: Any, word: str) -> None:
    with attack("200 MiB upload, the app never reads") as outcome, server.connect() as wire:
        wire.request(f"/gate?{word}", "POST", headers=(f"Content-Length: {LARGE}",))
        outcome.taken = wire.offer(bytes(MIB), LARGE)
        assert outcome.taken < KERNELS
        server.get(f"/open?{word}")
        assert wire.answer().status == 200
        wire.offer(bytes(MIB), LARGE, outcome.taken)
        assert wire.is_over()
        outcome.did = "200, closed"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_upload_that_was_answered_early(server: Any, attack: Any, framing: str) -> None:
    field = f"Content-Length: {LARGE}" if framing == "length" else "Transfer-Encoding: chunked"
    part = bytes(MIB) if framing == "length" else b"10000\r\n" + bytes(65536) + b"\r\n"
    with attack(f"200 MiB upload ({framing}), answered early") as outcome, server.connect() as wire:
        wire.request("/ignore", "POST", headers=(field,))
        outcome.taken = wire.offer(part, LARGE)
        assert wire.answer().body == b"ignored"
        assert wire.is_over()
        outcome.did = "200, closed"


@pytest.mark.parametrize(
    ("begin", "part", "statuses"),
    [
        (b"\r\n", b"\r\n", {431}),
        (b"GET /", b"a", {414}),
        (HEAD + b"X: ", b"x", {431}),
        (HEAD, b"X: x\r\n", {431}),
        (CHUNKED, b"0", {431}),
        (CHUNKED + b"5;", b"x", {400, 431}),  # for the extension, or for the whole line: as the bytes happen to come
        (CHUNKED + b"0\r\nX: ", b"x", {431}),
        (CHUNKED + b"0\r\n", b"X: x\r\n", {431}),
    ],
    ids=["empty lines", "target", "field", "fields", "chunk size", "chunk extension", "trailer", "trailers"],
)
def test_what_never_ends(
    server: Any, attack: Any, begin: bytes, part: bytes, statuses: set[int], request: pytest.FixtureRequest
) -> None:
    """200 MiB are on offer; the server takes what it may and answers."""
    part *= 65536 // len(part)
    with attack(f"200 MiB of {request.node.callspec.id.rpartition('-')[2]}") as outcome, server.connect() as wire:
        wire.send(begin)
        outcome.taken = len(begin)
        with contextlib.suppress(ConnectionError):
            while outcome.taken < LARGE and wire.is_silent():
                wire.send(part)
                outcome.taken += len(part)
        answer = wire.answer()
        assert answer.status in statuses
        assert wire.is_over()
        outcome.did = closed(answer)
    assert outcome.taken < KERNELS


def test_a_gigabyte_that_is_read(server: Any, attack: Any) -> None:
    size = 1024 * MIB
    part = bytes(MIB)
    with attack("1 GiB upload, read by the app") as outcome, server.connect() as wire:
        wire.request("/take", "POST", headers=(f"Content-Length: {size}",))
        for _ in range(size // len(part)):
            wire.send(part)
        assert int(wire.answer().body) == size
        outcome.did, outcome.taken = "200", size


def test_a_body_of_small_chunks(server: Any, attack: Any) -> None:
    """A million chunks of one byte."""
    part, number = b"1\r\nx\r\n" * 10_000, 1_000_000
    with attack("a million chunks of one byte") as outcome, server.connect() as wire:
        wire.send(CHUNKED)
        for _ in range(number // 10_000):
            wire.send(part)
        wire.send(b"0\r\n\r\n")
        assert int(wire.answer().body) == number
        outcome.did, outcome.taken = "200", number * 6


# -- Clients that leave

RESETS, AT_ONCE = 500, 50
PHASES = {
    "before any byte": (b"", ""),
    "in the request line": (b"GET /hel", ""),
    "in a field": (HELLO[:-8], ""),
    "in a body": (HEAD + b"Content-Length: 100\r\n\r\npart", "take"),
    "in a chunk": (CHUNKED + b"ffff\r\npart", "take"),
    "in a response": (b"GET /give HTTP/1.1\r\nHost: a\r\n\r\n", "give"),
    "in a wait": (b"GET /listen HTTP/1.1\r\nHost: a\r\n\r\n", "listen"),
    "with answers unread": (HELLO * 1000, ""),
    "with requests behind": (b"GET /listen HTTP/1.1\r\nHost: a\r\n\r\n" + HELLO * 10, "listen"),
    "between requests": (HELLO, ""),
}


def objects(server: Any) -> int:
    """How many objects the server has, once it has no other task than its own and the one that counts."""
    server.until(lambda: server.get("/tasks").body == b"2")
    return int(server.get("/objects").body)


def answer_at_once(server: Any, word: str, number: int = 2 * AT_ONCE) -> None:
    """So many requests are in work together, so that the server keeps all that it keeps for the next ones."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(number)]
        held = counted(server, "hold")
        for wire in wires:
            wire.request(f"/hold?{word}")
        counted(server, "hold", held + number)
        server.get(f"/open?{word}")
        assert all(wire.answer().body == b"held" for wire in wires)


def break_off(server: Any, phase: str) -> None:
    """As many connections as there may be at once, until the app is where it is to be; then all are reset."""
    request, step = PHASES[phase]
    before, left = (counted(server, step), counted(server, "left")) if step else (0, 0)
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(AT_ONCE)]
        for wire in wires:
            wire.send(request)
        if phase == "between requests":
            assert all(wire.answer().body == b"hello" for wire in wires)
        if step:
            counted(server, step, before + AT_ONCE)
        for wire in wires:
            wire.reset()
    if step:
        counted(server, "left", left + AT_ONCE)
    assert server.get("/hello").status == 200  # It came behind them all, so they were accepted.


@pytest.mark.parametrize("phase", PHASES)
def test_resets(server: Any, attack: Any, phase: str, word: str) -> None:
    """The app learns of each, and nothing stays behind."""
    answer_at_once(server, word)
    break_off(server, phase)  # What is made once is made now.
    before = objects(server)
    with attack(f"{RESETS} resets {phase}", grown=2 * MOST_GROWN) as outcome:
        for _ in range(RESETS // AT_ONCE):
            break_off(server, phase)
        outcome.did, outcome.taken = "closed", RESETS * len(PHASES[phase][0])
    assert objects(server) - before < RESETS / 5


def test_a_reset_behind_a_request_that_waits_its_turn(server: Any, attack: Any) -> None:
    """The socket is not read meanwhile; still the app that waits for the client to leave must learn of it."""
    with attack("reset with a request behind, read apart") as outcome, server.connect() as wire:
        before, left = counted(server, "listen"), counted(server, "left")
        wire.request("/listen")
        counted(server, "listen", before + 1)
        wire.send(HELLO)
        for _ in range(3):
            server.get("/hello")  # so that it was read
        wire.reset()
        counted(server, "left", left + 1)
        outcome.did = "closed"


@pytest.mark.parametrize("phase", PHASES)
def test_a_stop_does_not_wait_for_who_was_reset(serve: Any, loop: str, phase: str) -> None:
    """What was counted in was counted out, so that nothing is left to wait for."""
    server = serve("abuse:app", "--no-access-log", "--loop", loop, test_app=True)
    descriptors = server.descriptors()
    break_off(server, phase)
    server.until(lambda: server.descriptors() <= descriptors and server.get("/tasks").body == b"2")
    server.signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM
    assert not [line for line in server.lines if "Waiting for connections" in line or "Waiting for back" in line]


def test_half_closed_connections(server: Any, attack: Any, word: str) -> None:
    """A client that has said all may say so, and still be answered, however long the app takes."""
    request = f"GET /hold?{word} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    with attack(f"{AT_ONCE} half-closed, waiting for a slow app") as outcome, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(AT_ONCE)]
        held = counted(server, "hold")
        for wire in wires:
            wire.send(request)
            wire.end()
        counted(server, "hold", held + AT_ONCE)
        assert all(wire.is_silent() for wire in wires)
        server.get(f"/open?{word}")
        assert all(wire.answer().body == b"held" and wire.is_over() for wire in wires)
        outcome.did, outcome.taken = "all answered, closed", AT_ONCE * len(request)


def test_a_flood_of_connections(server: Any, attack: Any) -> None:
    """They come together and leave together, one in two with a reset; others are served all the while."""
    rounds, together, live = 8, 500, 0
    with attack(f"{rounds} times {together} connections, closed at once") as outcome:
        for _ in range(rounds):
            with contextlib.ExitStack() as stack:
                wires = [stack.enter_context(server.connect()) for _ in range(together)]
                live += server.get("/hello").status == 200
                for wire in wires[::2]:
                    wire.reset()
            live += server.get("/hello").status == 200
        outcome.did = f"closed; {live} live requests answered"
    assert live == 2 * rounds
