"""The ends of error messages: the nearest thing that there is to one that there is not."""

from __future__ import annotations

import os
from collections.abc import Iterable


def did_you_mean(word: str, words: Iterable[str], form: str = "{}") -> str:
    """The nearest of ``words`` to ``word``, put in ``form``, or nothing."""
    import difflib  # nobody waits for it who makes no mistake

    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"; did you mean {form.format(near[0])!r}?" if near else ""


def no_file(path: str) -> str:
    """What to say of a file that does not exist, with the nearest that does."""
    return _no("file", path)


def no_directory(path: str) -> str:
    """The same of a directory."""
    return _no("directory", path)


def _no(what: str, path: str) -> str:
    parent, name = os.path.split(os.path.normpath(path))
    try:
        with os.scandir(parent or ".") as entries:
            names = [entry.name for entry in entries if what == "file" or entry.is_dir()]
    except OSError:
        return f"there is no directory {parent!r} to find {name!r} in"
    form = os.path.join(parent, "").replace("{", "{{").replace("}", "}}") + "{}"
    return f"there is no {what} {path!r}{did_you_mean(name, names, form)}"
