"""Build what would be published and install it alone: sdists, wheels from the sdists, a fresh environment.

Everything is built without an index, so a wheel that needs more than its sdist fails here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PACKAGES = ("esg-parser", "esg-protocols", "esg-server", "esg-gunicorn")
PURE = ("esg_server", "esg_gunicorn")
LICENCES = ("vendor/llhttp/LICENSE", "vendor/http-parser/LICENSE-MIT")
IMPORTS = (
    "import esg.workers, esg_parser.httptools, esg_parser.parser, esg_parser.url, esg_protocols; print('imports work')"
)


def run(*command: str | Path, offline: bool = False) -> None:
    print("$", *command, flush=True)
    environment = dict(os.environ)
    environment.pop("ESG_PARSER_VENDOR", None)
    if offline:
        environment.update(PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE=os.devnull)
    if subprocess.call([str(part) for part in command], env=environment):
        sys.exit(f"failed: {' '.join(str(part) for part in command)}")


def build_sdists(dist: Path) -> list[Path]:
    for name in PACKAGES:
        run(
            sys.executable,
            "-m",
            "build",
            "--sdist",
            "--no-isolation",
            "--outdir",
            dist,
            ROOT / "packages" / name,
        )
    return sorted(dist.glob("*.tar.gz"))


def build_wheels(dist: Path, sdists: list[Path]) -> list[Path]:
    options = ["--no-deps", "--no-index", "--no-cache-dir", "--no-build-isolation", f"--wheel-dir={dist}"]
    for sdist in sdists:
        run(sys.executable, "-m", "pip", "wheel", *options, sdist, offline=True)
    return sorted(dist.glob("*.whl"))


def check_names(wheels: list[Path]) -> None:
    if len(wheels) != len(PACKAGES):
        sys.exit(f"expected one wheel for each of {PACKAGES}, found {[wheel.name for wheel in wheels]}.")
    for wheel in wheels:
        pure = wheel.name.endswith("-py3-none-any.whl")
        if pure != wheel.name.startswith(PURE):
            sys.exit(f"{wheel.name}: the wheels of {PURE} are py3-none-any, and no others.")


def check_licences(dist: Path) -> None:
    (sdist,), (wheel,) = dist.glob("esg_parser-*.tar.gz"), dist.glob("esg_parser-*.whl")
    with tarfile.open(sdist) as tar, zipfile.ZipFile(wheel) as archive:
        for content in (tar.getnames(), archive.namelist()):
            for licence in LICENCES:
                if not any(name.endswith(licence) for name in content):
                    sys.exit(f"{licence} is missing from esg-parser's sdist or wheel.")


def check_sources_stay_out(wheels: list[Path]) -> None:
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            strays = [name for name in archive.namelist() if name.endswith((".c", ".h", ".pxi", ".pyx"))]
        if strays:
            sys.exit(f"{wheel.name} must not contain {strays}.")


def foreign_requirements(wheels: list[Path]) -> list[str]:
    """Return what the wheels need, extras included, that is not one of ours."""
    lines: list[str] = []
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            lines += Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist", [])
    requirements = [Requirement(line) for line in lines]
    wanted = [item for item in requirements if not item.marker or item.marker.evaluate({"extra": "standard"})]
    return sorted(f"{item.name}{item.specifier}" for item in wanted if item.name not in PACKAGES)


def install_alone(dist: Path, wheels: list[Path], folder: Path) -> None:
    """Install by name from nothing but the built wheels and those of other projects, then import."""
    others = folder / "others"
    run(
        sys.executable,
        "-m",
        "pip",
        "download",
        "--only-binary=:all:",
        "--dest",
        others,
        *foreign_requirements(wheels),
    )
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv/bin/python"
    find = ["--no-index", "--no-cache-dir", f"--find-links={dist}", f"--find-links={others}"]
    run(python, "-m", "pip", "install", *find, "esg-server[standard]", "esg-gunicorn", offline=True)
    run(python, "-m", "pip", "check")
    run(python, "-I", "-c", IMPORTS)
    run(folder / "venv/bin/esg", "--help")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        dist = Path(folder, "dist")
        wheels = build_wheels(dist, build_sdists(dist))
        run(sys.executable, "-m", "twine", "check", "--strict", *sorted(dist.iterdir()))
        check_names(wheels)
        check_licences(dist)
        check_sources_stay_out(wheels)
        install_alone(dist, wheels, Path(folder))
    print("the distributions are as they should be published")


if __name__ == "__main__":
    main()
