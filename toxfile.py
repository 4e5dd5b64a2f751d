"""Let tox find the Pythons that pyenv has installed, also those that pyenv's own choice hides."""

import os
from pathlib import Path

# Behind the PATH, so that they only fill gaps.
_ROOT = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
_FOLDERS = [str(folder) for folder in sorted(_ROOT.glob("versions/3.1[0-9].*/bin"))]
_PATH = os.environ.get("PATH", "").split(os.pathsep)
os.environ["PATH"] = os.pathsep.join(_PATH + [folder for folder in _FOLDERS if folder not in _PATH])
