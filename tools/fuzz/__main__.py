"""Fuzz a package: build it with sanitizers into its .cache/fuzz and try inputs until something breaks.

With clang libFuzzer chooses the inputs by the coverage they reach, and keeps those that reached more; without it they
are the seeds with bytes changed by chance. What is fuzzed stands in the package, in tests/fuzz_targets.py.

The input that broke something is kept in a file, for ``--input``, and printed as the package's tests write bytes: make
it shorter, and put it there as a case when it is mended. If only a library it was compared with makes something else of
it, and we are right, that belongs into the known differences of the package's tests, with its reason.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from .build import PACKAGES, ROOT, Build, Compiler, Missing, build, cache_of, find_clang, find_gcc
from .run import Targets, load


def dictionary(targets: Targets) -> str:
    """The words and marks of the seeds, as libFuzzer wants them written."""
    return "".join('"{}"\n'.format("".join(f"\\x{byte:02x}" for byte in word)) for word in sorted(targets.words()))


def write_corpus(package: str, target: str, targets: Targets) -> Path:
    """The seeds as files, beside what earlier runs have found."""
    folder = cache_of(package) / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(targets.seeds(target)):
        (folder / f"seed-{number:04}").write_bytes(seed)
    return folder


def arguments_for_libfuzzer(target: str, targets: Targets, options: argparse.Namespace) -> list[str]:
    words = cache_of(options.package) / f"{target}.dict"
    words.write_text(dictionary(targets), encoding="ascii")
    found = cache_of(options.package) / f"found-{target}-"
    arguments = [f"-max_len={targets.LONGEST}", f"-dict={words}", f"-artifact_prefix={found}", "-print_final_stats=1"]
    arguments += [f"-seed={options.seed}", "-timeout=300", "-rss_limit_mb=4096"]
    if options.executions >= 0:
        arguments.append(f"-runs={options.executions}")
    if options.seconds:
        arguments.append(f"-max_total_time={options.seconds:.0f}")
    return [*arguments, str(write_corpus(options.package, target, targets))]


def fuzz(target: str, targets: Targets, built: Build, options: argparse.Namespace) -> int:
    command = [sys.executable, "-m", "tools.fuzz.run", options.package, target]
    if options.input:
        command += ["--input", str(options.input.resolve())]
    elif built.library:
        command += ["--libfuzzer", str(built.library), *arguments_for_libfuzzer(target, targets, options)]
    else:
        command += ["--executions", str(options.executions), "--seconds", str(options.seconds)]
        command += ["--seed", str(options.seed), "--keep", str(cache_of(options.package) / f"found-{target}")]
    return subprocess.call(command, cwd=ROOT, env=built.environment)


def find_compiler(name: str) -> Compiler:
    if name == "gcc":
        return find_gcc()
    try:
        return find_clang()
    except Missing as missing:
        if name == "clang":
            raise
        print(f"without coverage, because there is {missing}", file=sys.stderr, flush=True)
        return find_gcc()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("package", choices=PACKAGES)
    parser.add_argument("--target", metavar="NAME", action="append", help="which; all without it, one after the other")
    parser.add_argument("--executions", type=int, default=-1, metavar="N", help="of each target; without end if -1")
    parser.add_argument("--seconds", type=float, default=0, metavar="N", help="for each target; without end if 0")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--compiler", choices=["clang", "gcc"], help="clang if it is here, gcc if not")
    parser.add_argument("--input", type=Path, metavar="FILE", help="try this one alone, as found by an earlier run")
    options = parser.parse_args()
    targets = load(options.package)
    chosen = options.target or list(targets.TARGETS)
    if unknown := set(chosen) - targets.TARGETS.keys():
        parser.error(f"{options.package} has the targets {', '.join(targets.TARGETS)}, and not {', '.join(unknown)}")
    if options.executions < 0 and not options.seconds and not options.input and len(chosen) > 1:
        parser.error("name one target, or --executions or --seconds")
    try:
        built = build(options.package, find_compiler(options.compiler or "any"))
    except Missing as missing:
        sys.exit(f"cannot fuzz: {missing}")
    return 1 if any(fuzz(target, targets, built, options) for target in chosen) else 0


if __name__ == "__main__":
    sys.exit(main())
