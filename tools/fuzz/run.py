"""One target in one process: what ``python -m tools.fuzz`` starts with the instrumented build."""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from .build import PACKAGES


class Targets(Protocol):
    """What tests/fuzz_targets.py of a package has."""

    TARGETS: Mapping[str, Callable[[bytes], None]]
    """What is fuzzed: functions from any bytes to nothing, or to an AssertionError."""
    LONGEST: int
    """Bytes of an input that libFuzzer makes."""

    def seeds(self, target: str) -> list[bytes]:
        """Inputs to begin with."""

    def words(self) -> Iterable[bytes]:
        """What inputs are made of."""

    def inputs(self, target: str, chance: random.Random) -> Iterator[bytes]:
        """Seeds with bytes changed, without end."""

    def tell(self, target: str, data: bytes) -> str:
        """An input as a case of the package's tests has it."""


def load(package: str) -> Targets:
    sys.path.insert(0, str(PACKAGES[package]))
    return cast(Targets, import_module("tests.fuzz_targets"))


def report(targets: Targets, target: str, data: bytes) -> None:
    """Say what went wrong with which bytes, in a way that a case can be made of."""
    traceback.print_exc()
    print(f"\n{target}: {data!r}", targets.tell(target, data), sep="\n", flush=True)


def rounds(targets: Targets, target: str, executions: int, seconds: float, seed: int, keep: int | None = None) -> int:
    """Try inputs made by chance; the same seed makes the same inputs. Return how many were tried.

    The one at work is always in the file ``keep``, as the process may die of it.
    """
    until = time.monotonic() + seconds if seconds else float("inf")
    done = 0
    for data in targets.inputs(target, random.Random(seed)):
        if done == executions or time.monotonic() > until:
            return done
        if keep is not None:
            os.ftruncate(keep, os.pwrite(keep, data, 0))
        try:
            targets.TARGETS[target](data)
        except Exception:
            report(targets, target, data)
            raise SystemExit(1) from None
        done += 1
    return done


def libfuzzer(targets: Targets, target: str, library: str, arguments: list[str]) -> None:
    """Give the process to libFuzzer, which ends it."""

    def execute(data: int, size: int) -> int:
        raw = ctypes.string_at(data, size)
        try:
            check(raw)
        except BaseException:
            report(targets, target, raw)
            os.abort()  # libFuzzer keeps the input
        return 0

    check = targets.TARGETS[target]
    call = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)(execute)
    words = [target.encode(), *map(os.fsencode, arguments)]
    count = ctypes.c_int(len(words))
    vector = (ctypes.c_char_p * (len(words) + 1))(*words)
    pointer = ctypes.cast(vector, ctypes.POINTER(ctypes.c_char_p))
    ctypes.PyDLL(library).LLVMFuzzerRunDriver(ctypes.byref(count), ctypes.byref(pointer), call)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz.run", description=__doc__)
    parser.add_argument("package", choices=PACKAGES)
    parser.add_argument("target")
    parser.add_argument("--executions", type=int, default=-1)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--libfuzzer", metavar="LIBRARY")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="where the input at work is, for when it breaks")
    parser.add_argument("--input", type=Path, metavar="FILE", help="try this one alone")
    options, others = parser.parse_known_args()
    targets = load(options.package)
    fuzzed = import_module(options.package.replace("-", "_"))
    print(f"{options.target}: {Path(fuzzed.__file__ or '').parent}", flush=True)
    if options.input:
        targets.TARGETS[options.target](options.input.read_bytes())
    elif options.libfuzzer:
        libfuzzer(targets, options.target, options.libfuzzer, others)
    else:
        start = time.monotonic()
        keep = options.keep and os.open(options.keep, os.O_WRONLY | os.O_CREAT)
        done = rounds(targets, options.target, options.executions, options.seconds, options.seed, keep)
        if options.keep:
            options.keep.unlink()  # there is nothing to keep
        print(f"{options.target}: {done} executions in {time.monotonic() - start:.0f} s, nothing found", flush=True)


if __name__ == "__main__":
    main()
