"""The extensions of esg-protocols; everything else stands in pyproject.toml, the flags in build_backend/."""

import sys
from pathlib import Path

from setuptools import Extension, setup

sys.path.insert(0, "build_backend")
from native_build import BUILD_BASE, COMPILE_ARGS, LINK_ARGS, CheckedBuildExt, translate


def extension(pyx):
    return Extension(
        ".".join(pyx.relative_to("src").with_suffix("").parts),
        [str(pyx)],
        extra_compile_args=COMPILE_ARGS,
        extra_link_args=LINK_ARGS,
        depends=["setup.py", "build_backend/native_build.py"],
    )


EXTENSIONS = [extension(pyx) for pyx in sorted(Path("src").rglob("*.pyx"))]

setup(
    ext_modules=translate(EXTENSIONS),
    cmdclass={"build_ext": CheckedBuildExt},
    options={"build": {"build_base": BUILD_BASE}},
)
