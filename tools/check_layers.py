"""Check who imports whom: the packages are stacked, and the protocol code below asgi/ does no I/O.

It reads imports and cimports from .py, .pyi, .pyx, .pxd and .pxi files; nothing is imported.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGES = Path(__file__).parents[1] / "packages"

# Lowest first: each may import those before it, and never one after it.
STACK = ("esg_parser", "esg_protocols", "esg", "esg_gunicorn")

# Who may import upwards all the same: a documented name for what stands above.
DOORS = {"esg.workers": "esg_gunicorn"}

# What a part must not import, beyond the stack.
FORBIDDEN = {
    "esg_parser": ("asyncio",),
    "esg_protocols.http1": ("asyncio", "time", "esg_protocols.asgi", "esg_protocols.websocket"),
    "esg_protocols.websocket": ("asyncio", "time", "esg_protocols.asgi", "esg_protocols.http1"),
}

STRINGS_AND_COMMENTS = re.compile(
    r'"""(?:\\.|[^\\])*?"""|\'\'\'(?:\\.|[^\\])*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*'
)
FROM = re.compile(r"^[ \t]*from[ \t]+(\.*)([\w.]*)[ \t]+(c?import)[ \t]+(?:\(([^)]*)\)|([^\n;]*))", re.MULTILINE)
PLAIN = re.compile(r"^[ \t]*(c?import)[ \t]+([^\n;]+)", re.MULTILINE)


class Import(NamedTuple):
    line: int
    names: tuple[str, ...]  # for "from a import b" both a and a.b, as b may be a module
    is_cimport: bool


def find_imports(text: str, package: str) -> Iterator[Import]:
    """Yield the imports of a source text that stands in package."""
    code = STRINGS_AND_COMMENTS.sub(lambda match: "\n" * match[0].count("\n"), text).replace("\\\n", "  ")
    for match in FROM.finditer(code):
        dots, module, keyword, bracketed, plain = match.groups()
        base = resolve(package, len(dots), module)
        names = (base, *(f"{base}.{name}" for name in split_names(bracketed or plain)))
        yield Import(line_of(match), names, keyword == "cimport")
    for match in PLAIN.finditer(code):
        yield Import(line_of(match), tuple(split_names(match[2])), match[1] == "cimport")


def line_of(match: re.Match[str]) -> int:
    return match.string.count("\n", 0, match.start()) + 1


def split_names(text: str) -> list[str]:
    return [part.split()[0] for part in text.split(",") if part.strip()]


def resolve(package: str, dots: int, module: str) -> str:
    if not dots:
        return module
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - dots + 1], *filter(None, [module])])


def lies_in(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")


def faults_of(module: str, found: Import) -> Iterator[str]:
    own = module.partition(".")[0]
    above = [part for part in STACK[STACK.index(own) + 1 :] if DOORS.get(module) != part]
    for part in (part for part in above if any(lies_in(name, part) for name in found.names)):
        yield f"{own} must not import {part}, which stands above it"
    for part, forbidden in FORBIDDEN.items():
        for other in forbidden if lies_in(module, part) else ():
            if any(lies_in(name, other) for name in found.names):
                yield f"{part} must not import {other}"
    roots = {name.partition(".")[0] for name in found.names}
    if found.is_cimport and roots & set(STACK) - {own}:
        yield "no cimport from another package: it breaks when only one of the two wheels is rebuilt"


def check_file(path: Path, source: Path) -> Iterator[str]:
    module = ".".join(path.relative_to(source).with_suffix("").parts)
    package = module.rpartition(".")[0]  # also right for __init__, whose last part is not the package's
    for found in find_imports(path.read_text(), package):
        for fault in faults_of(module, found):
            yield f"{path}:{found.line}: {fault}"


def main() -> None:
    faults: list[str] = []
    count = 0
    for source in sorted(PACKAGES.glob("*/src")):
        for path in sorted(source.rglob("*.p*")):
            if path.suffix in (".py", ".pyi", ".pyx", ".pxd", ".pxi"):
                count += 1
                faults += check_file(path, source)
    if faults:
        sys.exit("\n".join(faults))
    print(f"layers hold: {count} files")


if __name__ == "__main__":
    main()
