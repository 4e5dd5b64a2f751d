"""Check that what stands twice agrees: versions, changelogs, ranges on neighbours, the shared build file."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import tomli
from packaging.requirements import Requirement
from packaging.version import Version

PACKAGES = Path(__file__).parents[1] / "packages"


def read_version(folder: Path) -> Version:
    """Return the literal ``__version__`` of the package in folder, without importing it."""
    init = next(folder.glob("src/*/__init__.py"), None)
    if init is None:
        raise SystemExit(f"{folder} has no src/*/__init__.py to read __version__ from.")
    for node in ast.parse(init.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__":
            return Version(ast.literal_eval(node.value))
    raise SystemExit(f'{init} has no line __version__ = "...".')


def changelog_faults(folder: Path, version: Version) -> Iterator[str]:
    path = folder / "CHANGELOG.md"
    headings = re.findall(r"^## +(\S+)", path.read_text(), re.MULTILINE)
    if headings[:1] != ["Unreleased"]:
        yield f"{path}: the first section must be '## Unreleased'."
        return
    releases = [Version(heading) for heading in headings[1:]]
    if releases != sorted(releases, reverse=True):
        yield f"{path}: the releases must stand newest first."
    if releases and releases[0] > version:
        yield f"{path}: its newest release {releases[0]} is above __version__, which is {version}."


def range_faults(folder: Path, versions: dict[str, Version]) -> Iterator[str]:
    project = tomli.loads((folder / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    for text in [*project.get("dependencies", ()), *(line for extra in extras for line in extra)]:
        requirement = Requirement(text)
        version = versions.get(requirement.name)
        if version and not requirement.specifier.contains(version, prereleases=True):
            yield f"{folder.name} requires {text}, which does not admit the {version} of this checkout."


def shared_file_faults(folders: list[Path]) -> Iterator[str]:
    copies = [path for folder in folders for path in folder.glob("build_backend/native_build.py")]
    if len({path.read_bytes() for path in copies}) > 1:
        yield f"{' and '.join(map(str, copies))} must be equal: each sdist builds alone with its own copy."


def main() -> None:
    folders = sorted(path.parent for path in PACKAGES.glob("*/pyproject.toml"))
    versions = {folder.name: read_version(folder) for folder in folders}
    faults = list(shared_file_faults(folders))
    for folder in folders:
        faults += changelog_faults(folder, versions[folder.name])
        faults += range_faults(folder, versions)
    if faults:
        sys.exit("\n".join(faults))
    print(f"versions agree: {', '.join(f'{name} {version}' for name, version in versions.items())}")


if __name__ == "__main__":
    main()
