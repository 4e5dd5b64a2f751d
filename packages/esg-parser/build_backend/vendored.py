"""Bring llhttp and http-parser, pinned by hash, under vendor/.

They are not in the repository. vendor.json names a source distribution that carries both, and the sha256 of
each file the build needs; tools/pin_vendor.py writes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

PIN = Path(__file__).with_name("vendor.json")
SOURCE_VARIABLE = "ESG_PARSER_VENDOR"


class VendorError(Exception):
    """One sentence that says what is wrong and what to do."""


def ensure_vendor(root, pin_path=PIN):
    """Make every pinned file lie under root with its pinned hash; do nothing if all do already."""
    pin = json.loads(Path(pin_path).read_text())
    if not _wrong_files(root, pin):
        return
    source = os.environ.get(SOURCE_VARIABLE)
    if source:
        contents = _read_source(Path(source), pin)
    else:
        with tempfile.TemporaryDirectory() as folder:
            contents = _read_archive(_download(pin, Path(folder)), pin)
    _verify(contents, pin, source or _archive_name(pin))
    _install(contents, Path(root))


def must_download(root, pin_path=PIN):
    """Return whether ensure_vendor would need pip and an index."""
    pin = json.loads(Path(pin_path).read_text())
    return not os.environ.get(SOURCE_VARIABLE) and bool(_wrong_files(root, pin))


def _wrong_files(root, pin):
    return [path for path, sha256 in pin["files"].items() if _file_sha256(Path(root, path)) != sha256]


def _file_sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _archive_name(pin):
    return f"{pin['name']}-{pin['version']}.tar.gz"


def _read_source(source, pin):
    if source.is_dir():
        return {path: (source / path).read_bytes() for path in pin["files"] if (source / path).is_file()}
    if source.is_file():
        return _read_archive(source, pin)
    raise VendorError(
        f"{SOURCE_VARIABLE} names {source}, which does not exist: "
        f"set it to the absolute path of {_archive_name(pin)} or of the folder unpacked from it."
    )


def _read_archive(archive, pin):
    """Return the needed files' bytes by path; nothing is unpacked, so no member can land outside vendor/."""
    try:
        with tarfile.open(archive) as tar:
            members = {member.name.partition("/")[2]: member for member in tar if member.isfile()}
            return {path: tar.extractfile(members[path]).read() for path in pin["files"] if path in members}
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise VendorError(
            f"{archive} cannot be read as an archive: "
            f"set {SOURCE_VARIABLE} to an intact {_archive_name(pin)} or to the folder unpacked from it."
        ) from error


def _verify(contents, pin, source):
    for path, sha256 in pin["files"].items():
        if path not in contents:
            raise VendorError(
                f"{source} does not contain {path}, which esg-parser is built from: "
                f"set {SOURCE_VARIABLE} to {_archive_name(pin)} or to the folder unpacked from it."
            )
        found = hashlib.sha256(contents[path]).hexdigest()
        if found != sha256:
            raise VendorError(
                f"{path} from {source} has the sha256 {found} where {sha256} is pinned, so it was not used: "
                f"set {SOURCE_VARIABLE} to an unaltered {_archive_name(pin)}."
            )


def _install(contents, root):
    """Replace root/vendor by the files in one step, so that an interrupted build leaves no half of it."""
    fresh = Path(tempfile.mkdtemp(prefix=".vendor-", dir=root))
    try:
        for path, content in contents.items():
            target = fresh / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        shutil.rmtree(root / "vendor", ignore_errors=True)
        os.replace(fresh / "vendor", root / "vendor")
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _download(pin, folder):
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{pin['name']}=={pin['version']} --hash=sha256:{pin['sha256']}\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]
    command += ["--no-deps", f"--no-binary={pin['name']}", "--require-hashes", "--no-build-isolation"]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    result = subprocess.run(command, env=_pip_environment(), capture_output=True, text=True)
    if result.returncode:
        raise VendorError(_download_failure(pin, result.stdout + result.stderr))
    return folder / _archive_name(pin)


def _pip_environment():
    # The running hook's own variables would make the nested pip's hooks look for our backend.
    # The names that pyproject_hooks uses, today's and those of before its version 1.2.
    hooks = ("_PYPROJECT_HOOKS_", "PEP517_")
    return {key: value for key, value in os.environ.items() if not key.startswith(hooks)}


def _download_failure(pin, output):
    archive = _archive_name(pin)
    if "DO NOT MATCH THE HASHES" in output:
        return (
            f"The {archive} that the package index offers does not have the pinned sha256 {pin['sha256']}, "
            "so it was not used: check which index pip is configured for, "
            f"or set {SOURCE_VARIABLE} to an unaltered {archive}."
        )
    if "No module named pip" in output:
        return (
            f"{archive}, which carries the C source of llhttp, cannot be downloaded, because this Python has "
            f"no pip: install pip, or set {SOURCE_VARIABLE} to the archive or to the folder unpacked from it."
        )
    reason = _pip_reason([line.strip() for line in output.splitlines() if line.strip()])
    return (
        f"pip could not download {archive}, which carries the C source of llhttp ({reason}): "
        "check the network and pip's index, "
        f"or set {SOURCE_VARIABLE} to the archive or to the folder unpacked from it."
    )


def _pip_reason(lines):
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    if errors[-1:] == ["Exception:"]:
        return lines[-1]  # of the traceback behind it
    return errors[-1].rstrip(".") if errors else "it gave no reason"
