"""What the compiled ESG packages share at build time: flags, the compiler check, the lock, stale copies.

Every sdist must build alone, so this file stands in each compiled package; tools/check_versions.py keeps the
copies equal.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import sys
import sysconfig
from pathlib import Path

import Cython
from setuptools.command.build_ext import build_ext
from setuptools.errors import PlatformError

try:
    import fcntl
except ImportError:  # Windows is untested; two builds of one checkout are not kept apart there
    fcntl = None

LTO = sys.platform != "win32" and os.environ.get("ESG_NO_LTO", "0") in ("", "0")
# Visibility matters most: by default llhttp's calls to itself go through the dynamic linker's table.
COMPILE_ARGS = [] if sys.platform == "win32" else ["-O3", "-g0", "-fvisibility=hidden"] + ["-flto"] * LTO
LINK_ARGS = ["-flto"] * LTO
# A folder of its own without LTO, because setuptools does not rebuild when only the flags have changed.
BUILD_BASE = "build" if LTO else "build/no-lto"


def translate(extensions):
    """cythonize where the sources are others than those of the C that is there.

    Cython goes by times, and in a fresh environment its own .pxd files are all new. C that comes out as it was keeps
    its time and is not compiled again.
    """
    mark, current = Path("build/cython/sources.sha256"), fingerprint()
    if mark.is_file() and mark.read_text() == current:
        return [of_c(extension) for extension in extensions]
    from Cython.Build import cythonize  # takes a second

    before = {path: (path.stat(), path.read_bytes()) for path in Path("build/cython").rglob("*.c")}
    mark.unlink(missing_ok=True)
    modules = cythonize(extensions, build_dir="build/cython")
    for path, (stat, content) in before.items():
        if path.read_bytes() == content:
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    mark.write_text(current)
    return modules


def fingerprint():
    """Of all that the C is made from: Cython and the sources, by their contents."""
    found = hashlib.sha256(Cython.__version__.encode())
    for path in sorted(path for path in Path("src").rglob("*") if path.suffix in (".pxd", ".pxi", ".pyx")):
        found.update(b"\0%s\0%s" % (os.fsencode(path), hashlib.sha256(path.read_bytes()).digest()))
    return found.hexdigest()


def of_c(extension):
    """The extension as cythonize returns it, whose C stands under build/."""
    extension.sources[0] = str(Path("build/cython", extension.sources[0]).with_suffix(".c"))
    return extension


class CheckedBuildExt(build_ext):
    """build_ext that names what is missing before it starts, instead of failing in the middle."""

    def build_extensions(self):
        name = self.distribution.get_name()
        command = getattr(self.compiler, "compiler", None)
        if command and shutil.which(command[0]) is None:
            raise PlatformError(
                f"{name} is compiled from C and the compiler {command[0]!r} was not found: "
                "install one (Debian and Ubuntu: apt install build-essential; macOS: xcode-select --install) "
                "or name yours in the environment variable CC."
            )
        if not Path(sysconfig.get_path("include"), "Python.h").exists():
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise PlatformError(
                f"{name} is compiled from C and this Python's header Python.h was not found: "
                f"install it (Debian and Ubuntu: apt install python{version}-dev)."
            )
        super().build_extensions()


@contextlib.contextmanager
def build_lock(root):
    """Keep other builds of the checkout at root waiting: setuptools writes into build/ and src/."""
    with open(Path(root, ".build.lock"), "w") as file:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def drop_stale_copies(root):
    """Remove from build/lib* what src/ no longer holds: setuptools would put it into the wheel."""
    source, build = Path(root, "src"), Path(root, "build")
    for lib in [*build.glob("lib*"), *build.glob("no-lto/lib*")]:
        for copy in [path for path in lib.rglob("*") if path.is_file()]:
            if not _is_current(copy, source / copy.relative_to(lib)):
                copy.unlink()
    for manifest in source.glob("*.egg-info/SOURCES.txt"):
        manifest.unlink()  # setuptools keeps what it once listed there, whatever MANIFEST.in says now


def _is_current(copy, original):
    if copy.suffix in (".so", ".pyd"):  # whether it is older than its sources is for build_ext to see
        return original.with_name(copy.name.partition(".")[0] + ".pyx").exists()
    return original.is_file() and original.read_bytes() == copy.read_bytes()


def locked(root, hook, prepare=lambda: None):
    """Make the PEP 517 hook run after prepare(), alone in its checkout, without stale copies."""

    @functools.wraps(hook)
    def run(*args, **kwargs):
        with build_lock(root):
            prepare()
            drop_stale_copies(root)
            return hook(*args, **kwargs)

    return run
