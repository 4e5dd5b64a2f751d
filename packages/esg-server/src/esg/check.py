"""What ``esg --check`` prints: a file of configuration that says who has set what."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from esg.hints import did_you_mean


class Setting(NamedTuple):
    """One option as it is resolved."""

    name: str
    value: Any
    source: str
    """The flag, the variable or the key that has set it, or ``default``."""
    secret: bool


def lines(settings: list[Setting]) -> Iterator[str]:
    """One line for each option, in TOML, its source in a comment; what TOML cannot say is a comment altogether."""
    told = [(_line(setting), setting.source) for setting in settings]
    width = max(len(line) for line, _ in told if len(line) <= 60)
    for line, source in told:
        yield f"{line:{width}}  # {source}"


def strangers(variables: list[str]) -> Iterator[str]:
    """Comments on variables that look as if they were ours: they may be the application's, or mistyped."""
    for name in sorted(os.environ):
        if name.startswith("ESG_") and name not in variables:
            yield f"# ${name} is no option{did_you_mean(name, variables)}"


def _line(setting: Setting) -> str:
    name, value = setting.name, setting.value
    if value is None or value == ():
        return f"# {name} is not set"
    if setting.secret:
        return f"# {name} is set"
    if isinstance(value, tuple):
        return f"{name} = [{', '.join(map(_text, value))}]"
    if not isinstance(value, str | bool | int | float):
        return f"# {name} is a {type(value).__name__}"
    return f"{name} = {_text(value)}"


def _text(value: str | bool | int | float) -> str:
    # JSON's strings, numbers and words are TOML's as well, but for DEL.
    return json.dumps(value).replace("\x7f", "\\u007f")
