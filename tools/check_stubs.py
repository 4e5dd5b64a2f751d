"""Run stubtest over the installed compiled modules that have a .pyi, and tell which have none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def modules_with(suffix: str) -> set[str]:
    return {
        ".".join(path.relative_to(source).with_suffix("").parts)
        for source in ROOT.glob("packages/*/src")
        for path in source.rglob(f"*{suffix}")
    }


def main() -> int:
    compiled, stubbed = modules_with(".pyx"), modules_with(".pyi")
    without = sorted(compiled - stubbed)
    if without:
        print(f"compiled modules without a .pyi, not checked: {', '.join(without)}")
    checked = sorted(compiled & stubbed)
    if not checked:
        return 0
    allowlist = ROOT / "tools/stubtest-allowlist.txt"
    options = ["--allowlist", str(allowlist), "--ignore-unused-allowlist"]
    return subprocess.call([sys.executable, "-m", "mypy.stubtest", *options, *checked])


if __name__ == "__main__":
    sys.exit(main())
