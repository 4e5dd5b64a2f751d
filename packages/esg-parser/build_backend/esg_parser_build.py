"""The PEP 517 backend of esg-parser: setuptools, after llhttp and http-parser have been put under vendor/."""

from pathlib import Path

from native_build import locked
from setuptools import build_meta
from vendored import VendorError, ensure_vendor, must_download

ROOT = Path(__file__).resolve().parents[1]


def get_requires(config_settings=None):
    """Ask for pip only when a download is due; asking setuptools would run setup.py for nothing more."""
    return ["pip"] if must_download(ROOT) else []


def prepare():
    """Have vendor/ ready, or leave with one sentence: a traceback would bury it in pip's output."""
    try:
        ensure_vendor(ROOT)
    except VendorError as error:
        raise SystemExit(f"error: {error}") from None


get_requires_for_build_sdist = get_requires_for_build_wheel = get_requires_for_build_editable = get_requires
prepare_metadata_for_build_wheel = locked(ROOT, build_meta.prepare_metadata_for_build_wheel, prepare)
prepare_metadata_for_build_editable = locked(ROOT, build_meta.prepare_metadata_for_build_editable, prepare)
build_sdist = locked(ROOT, build_meta.build_sdist, prepare)
build_wheel = locked(ROOT, build_meta.build_wheel, prepare)
build_editable = locked(ROOT, build_meta.build_editable, prepare)
