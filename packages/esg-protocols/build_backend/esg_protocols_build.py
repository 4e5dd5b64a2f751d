"""The PEP 517 backend of esg-protocols: setuptools, one build of a checkout at a time."""

from pathlib import Path

from native_build import locked
from setuptools import build_meta

ROOT = Path(__file__).resolve().parents[1]


def get_requires(config_settings=None):
    """Nothing beyond build-system.requires; asking setuptools would run setup.py for the same answer."""
    return []


get_requires_for_build_sdist = get_requires_for_build_wheel = get_requires_for_build_editable = get_requires
prepare_metadata_for_build_wheel = locked(ROOT, build_meta.prepare_metadata_for_build_wheel)
prepare_metadata_for_build_editable = locked(ROOT, build_meta.prepare_metadata_for_build_editable)
build_sdist = locked(ROOT, build_meta.build_sdist)
build_wheel = locked(ROOT, build_meta.build_wheel)
build_editable = locked(ROOT, build_meta.build_editable)
