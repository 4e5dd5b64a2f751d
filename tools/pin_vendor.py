"""Write esg-parser's pin file from a source distribution of httptools, which carries llhttp and http-parser.

    python tools/pin_vendor.py httptools-0.9.0.tar.gz

Review the change in the C sources before committing the new pin.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tarfile
from pathlib import Path

PIN = Path(__file__).parents[1] / "packages/esg-parser/build_backend/vendor.json"
NEEDED = (
    "vendor/http-parser/LICENSE-MIT",
    "vendor/http-parser/http_parser.c",
    "vendor/http-parser/http_parser.h",
    "vendor/llhttp/LICENSE",
    "vendor/llhttp/include/llhttp.h",
    "vendor/llhttp/src/api.c",
    "vendor/llhttp/src/http.c",
    "vendor/llhttp/src/llhttp.c",
)


def make_pin(archive: Path) -> dict[str, object]:
    stem = archive.name.removesuffix(".tar.gz")
    name, _, version = stem.rpartition("-")
    return {
        "name": name,
        "version": version,
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "files": hash_members(archive, stem),
    }


def hash_members(archive: Path, stem: str) -> dict[str, str]:
    hashes = {}
    with tarfile.open(archive) as tar:
        for path in NEEDED:
            try:
                member = tar.extractfile(f"{stem}/{path}")
            except KeyError:
                sys.exit(f"{archive} has no {path}: adapt NEEDED here, setup.py and the .pxd files.")
            assert member is not None
            hashes[path] = hashlib.sha256(member.read()).hexdigest()
    return hashes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="the .tar.gz as the package index serves it")
    parser.add_argument("--output", type=Path, default=PIN)
    options = parser.parse_args()
    options.output.write_text(json.dumps(make_pin(options.archive), indent=2) + "\n")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
