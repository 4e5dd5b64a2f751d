"""Deflate libraries side by side, as the WebSocket codec would call them: time, instructions, ratio and memory.

A message is compressed with the context of those before it (raw deflate, a window of 12 bits, memory level 5,
Z_SYNC_FLUSH), and decompressed again; all messages of a row are different. A round gives each library in turn the same
messages, so that all of them see the same machine; the ratio of times is to Python's zlib at its default level. Memory
is what the process grew by over many contexts that have each had one message.

Run: pip install zlib-ng isal; python -m bench.micro.deflate [--instructions]
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROUNDS = 9
WINDOW, MEMORY = 12, 5
CONTEXTS = 500
SIZES = {"1 KiB JSON": (1024, 200), "64 KiB JSON": (65536, 8)}  # bytes of a message, and how many of them
LEVELS = {"zlib": (-1, 1, 2, 3, 4), "zlib_ng.zlib_ng": (-1, 1, 2, 3, 4), "isal.isal_zlib": (0, 1, 2, 3)}
LINES = re.compile(r"Collected : (\d+)")


class Library(NamedTuple):
    name: str
    level: int

    @property
    def module(self) -> Any:
        return import_module(self.name)

    def compressor(self) -> Any:
        return self.module.compressobj(self.level, zlib.DEFLATED, -WINDOW, MEMORY)

    def decompressor(self) -> Any:
        return self.module.decompressobj(-WINDOW)

    def __str__(self) -> str:
        return f"{self.name.rpartition('.')[2]}, {'default' if self.level < 0 else f'level {self.level}'}"


def libraries() -> Iterator[Library]:
    for name, levels in LEVELS.items():
        try:
            import_module(name)
        except ImportError:
            print(f"left out, because it is not installed: {name}", file=sys.stderr)
            continue
        yield from (Library(name, level) for level in levels)


def messages(size: int, count: int) -> list[bytes]:
    """Rows of a table, as JSON; no two alike."""
    chance = random.Random(size)
    words = ["alpha", "beta", "gamma", "delta", "price", "volume"]
    texts = []
    for _ in range(count):
        rows = [
            {
                "id": chance.randrange(10**6),
                "name": " ".join(chance.choices(words, k=3)),
                "value": chance.random(),
                "ok": True,
            }
            for _ in range(size // 60)
        ]
        texts.append(json.dumps(rows).encode()[:size])
    return texts


def deflate(compressor: Any, data: bytes) -> bytes:
    return bytes(compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))


def timed(library: Library, texts: list[bytes]) -> tuple[float, float, float]:
    """Microseconds to compress a message, to decompress it, and its share of the size."""
    compressor, decompressor = library.compressor(), library.decompressor()
    began = time.process_time()
    payloads = [deflate(compressor, text) for text in texts]
    between = time.process_time()
    found = [decompressor.decompress(payload, 1 << 24) for payload in payloads]
    ended = time.process_time()
    assert found == texts
    share = sum(map(len, payloads)) / sum(map(len, texts))
    return (between - began) / len(texts) * 1e6, (ended - between) / len(texts) * 1e6, share


def memory(library: Library, kind: str) -> float:
    """KiB of a context that has had one message, in a process of its own."""
    command = [sys.executable, "-m", "bench.micro.deflate", "--memory", library.name, str(library.level), kind]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def resident() -> int:
    return int(re.findall(r"Private_Dirty: +(\d+)", Path("/proc/self/smaps_rollup").read_text())[0])


def measure_memory(library: Library, kind: str) -> float:
    text = messages(1024, 1)[0]
    payload = deflate(library.compressor(), text)

    def context() -> Any:
        one = library.compressor() if kind == "deflate" else library.decompressor()
        deflate(one, text) if kind == "deflate" else one.decompress(payload)
        return one

    kept = [context() for _ in range(20)]
    before = resident()
    kept += [context() for _ in range(CONTEXTS)]
    return (resident() - before) / CONTEXTS


def instructions(library: Library, size: int, direction: str) -> float:
    """Of one message: what a run of more messages has beyond a run of fewer."""
    few, many = (2, 6) if size > 10_000 else (50, 250)
    return (_counted(library, size, direction, many) - _counted(library, size, direction, few)) / (many - few)


def _counted(library: Library, size: int, direction: str, count: int) -> int:
    own = ["--work", library.name, str(library.level), str(size), direction, str(count)]
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", sys.executable, "-m"]
        done = subprocess.run(
            [*command, "bench.micro.deflate", *own],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": "0"},
        )
    return int(LINES.findall(done.stderr)[-1])


def work(library: Library, size: int, direction: str, count: int) -> None:
    """What is counted; the messages are made before, as many in every run."""
    texts = messages(size, 250 if size < 10_000 else 6)
    compressor, decompressor = library.compressor(), library.decompressor()
    payloads = [deflate(library.compressor(), text) for text in texts]
    for text, payload in zip(texts[:count], payloads, strict=False):
        if direction == "deflate":
            deflate(compressor, text)
        else:
            decompressor.decompress(payload, 1 << 24)


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def report(count_instructions: bool) -> None:
    found = list(libraries())
    for title, (size, count) in SIZES.items():
        texts = messages(size, count)
        rounds = [[timed(library, texts) for library in found] for _ in range(ROUNDS)]
        print(f"\n{title}")
        more = ["instructions", "to inflate"] * count_instructions
        print(row(["library", "deflate us", ": zlib", "inflate us", ": zlib", "size", *more]))
        print(row(["---", *["---:"] * (5 + len(more))]))
        for at, library in enumerate(found):
            cells = []
            for what in (0, 1):
                cells.append(f"{median(one[at][what] for one in rounds):.1f}")
                cells.append(f"{median(one[at][what] / one[0][what] for one in rounds):.2f}")
            cells.append(f"{rounds[0][at][2]:.1%}")
            if count_instructions:
                cells += [f"{instructions(library, size, direction):,.0f}" for direction in ("deflate", "inflate")]
            print(row([str(library), *cells]), flush=True)
    print("", row(["KiB of a context", "deflate", "inflate"]), row(["---", "---:", "---:"]), sep="\n")
    for library in found:
        print(row([str(library), *(f"{memory(library, kind):.1f}" for kind in ("deflate", "inflate"))]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.micro.deflate")
    parser.add_argument("--instructions", action="store_true", help="count them too, by valgrind's callgrind; minutes")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        name, level, kind = options.memory
        print(measure_memory(Library(name, int(level)), kind))
    elif options.work:
        name, level, size, direction, count = options.work
        work(Library(name, int(level)), int(size), direction, int(count))
    else:
        report(options.instructions)


if __name__ == "__main__":
    main()
