"""The extensions built for fuzzing, into a folder of their own: with sanitizers, and with clang with coverage too.

It is the ordinary build of a copy of the package, told the flags by CC, CFLAGS and LDFLAGS. Nothing is installed: what
runs in ``Build.environment`` finds the copy before any other.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGES = {name: ROOT / "packages" / name for name in ("esg-parser", "esg-protocols")}
CLANGS = ("clang", *(f"clang-{version}" for version in range(22, 13, -1)))
SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=undefined"
# Python frees little at its end; short stacks of allocations and a small quarantine are what makes it fast.
ASAN_OPTIONS = "detect_leaks=0:malloc_context_size=2:quarantine_size_mb=16:abort_on_error=1:verify_asan_link_order=0"


# No target calls them, and building them takes as long as all else.
NOT_FUZZED = {"esg-parser": ("httptools.py*",), "esg-protocols": ("asgi", "http1", "memory.py*")}


class Missing(Exception):
    """What is not here to build or to run with."""


class Compiler(NamedTuple):
    command: str
    flags: str
    preload: list[Path]
    fuzzer: Path | None
    """libFuzzer as an archive, if there is coverage."""


class Build(NamedTuple):
    environment: dict[str, str]
    library: Path | None
    """libFuzzer as a library, if there is coverage."""


def find_clang() -> Compiler:
    """clang with its runtimes."""
    for command in filter(shutil.which, CLANGS):
        asan, fuzzer = runtime(command, "asan", "so"), runtime(command, "fuzzer_no_main", "a")
        if asan and fuzzer:
            # Python calls functions of an extension by other types than theirs.
            flags = f"{SANITIZERS} -fno-sanitize=function -shared-libasan"
            return Compiler(command, flags, [asan], fuzzer)
    raise Missing("no clang with libclang_rt.asan and libclang_rt.fuzzer_no_main (Debian: clang, libclang-rt-dev)")


def runtime(command: str, name: str, ending: str) -> Path | None:
    """The archive or library of clang's own; older layouts have the machine in its name."""
    folder = Path(output_of(command, "-print-resource-dir"), "lib")
    names = (f"libclang_rt.{name}-{platform.machine()}.{ending}", f"libclang_rt.{name}.{ending}")
    return next((path for each in names for path in folder.rglob(each)), None)


def find_gcc() -> Compiler:
    """gcc with its runtimes; it gives no coverage that a fuzzer could use."""
    command = os.environ.get("CC", "gcc")
    if not shutil.which(command):
        raise Missing(f"no {command}")
    libraries = [Path(output_of(command, f"-print-file-name=lib{name}.so")) for name in ("asan", "ubsan")]
    if not all(path.is_absolute() for path in libraries):  # what is not found is printed as it was asked for
        raise Missing(f"{command} has no libasan.so and libubsan.so")
    return Compiler(command, SANITIZERS, libraries, None)


def output_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def cache_of(package: str) -> Path:
    return PACKAGES[package] / ".cache/fuzz"


def build(package: str, compiler: Compiler) -> Build:
    folder = cache_of(package) / f"{sys.implementation.cache_tag}-{Path(compiler.command).name}"
    copy_package(package, folder / "source")
    install(folder / "source", folder / "lib", compiler)
    library = compiler.fuzzer and link_fuzzer(compiler, folder / "libfuzzer.so")
    # The library first: ASan's runtime has empty stand-ins for its functions.
    preload = [*([library] if library else []), *compiler.preload]
    environment = {
        **os.environ,
        "ASAN_OPTIONS": ASAN_OPTIONS,
        "UBSAN_OPTIONS": "print_stacktrace=1",
        # Every object a piece of memory of its own, with an end that ASan knows.
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(folder / "lib"),
        "LD_PRELOAD": " ".join(map(str, preload)),
    }
    return Build(environment, library)


def copy_package(package: str, to: Path) -> None:
    """A copy, because setuptools does not compile again what it once has with other flags."""
    to.mkdir(parents=True, exist_ok=True)
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info", *NOT_FUZZED[package])
    for name in ("build_backend", "src", "vendor"):
        shutil.rmtree(to / name, ignore_errors=True)
        if (PACKAGES[package] / name).is_dir():
            shutil.copytree(PACKAGES[package] / name, to / name, ignore=ignored)
    for path in PACKAGES[package].iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy2(path, to)


def install(source: Path, target: Path, compiler: Compiler) -> None:
    coverage = " -fsanitize=fuzzer-no-link" if compiler.fuzzer else ""
    environment = {
        **os.environ,
        "ESG_NO_LTO": "1",
        "CC": compiler.command,
        "LDSHARED": f"{compiler.command} -shared",
        "CFLAGS": f"{compiler.flags} -fno-omit-frame-pointer{coverage}",
        "LDFLAGS": compiler.flags,
    }
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--no-compile", "--upgrade", "--target", str(target), str(source)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"the extensions cannot be built with {compiler.command}:\n{done.stdout}{done.stderr}")


def link_fuzzer(compiler: Compiler, library: Path) -> Path:
    """libFuzzer without its main, as a library that any Python can load."""
    whole = ["-Wl,--whole-archive", str(compiler.fuzzer), "-Wl,--no-whole-archive"]
    command = [compiler.command, "-shared", "-o", str(library), *whole, "-lstdc++", "-lm", "-lpthread", "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"libFuzzer cannot be linked:\n{done.stderr}")
    return library
