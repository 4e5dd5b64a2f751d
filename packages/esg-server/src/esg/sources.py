"""Where options come from beside the command line: a file of variables, and a file of configuration."""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

from esg.hints import did_you_mean, no_file

PROJECT = "pyproject.toml"
"""The file whose ``[tool.esg]`` is read from the working directory when no other is named."""

_KINDS = {str: "a string", bool: "true or false", int: "an integer", float: "a number", tuple: "a list of strings"}


class ConfigFile(NamedTuple):
    """What a file of configuration says: the options by the names of their fields, of types as TOML has them."""

    name: str
    values: dict[str, Any]


def load_env_file(path: str | os.PathLike[str]) -> set[str]:
    """Set the variables that a file has, but none that is set already; their names are returned.

    Raises:
        ValueError: when there is no such file, or it cannot be read.
    """
    # Imported here: it is optional, and no other path of a start needs it.
    try:
        from dotenv import load_dotenv
    except ImportError:
        raise ValueError("python-dotenv is not installed; try pip install esg-server[standard]") from None
    if not os.path.exists(path):
        raise ValueError(no_file(os.fspath(path)))
    before = set(os.environ)
    try:
        load_dotenv(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {os.fspath(path)}: {_reason(error)}") from None
    return set(os.environ) - before


def read_config_file(path: str, names: list[str]) -> ConfigFile:
    """What a file says: ``[tool.esg]`` of a pyproject.toml, everything of another.

    Args:
        path: the file, in TOML.
        names: the options there are.

    Raises:
        ValueError: naming the file and what is wrong with it.
    """
    document = _parse(path, _read(path))
    if os.path.basename(path) != PROJECT:
        return _options(path, document, names)
    table = _tool_esg(document)
    if table is None:
        raise ValueError(f"{path} has no table [tool.esg]")
    return _options(f"[tool.esg] of {path}", table, names)


def find_config_file(names: list[str]) -> ConfigFile | None:
    """``[tool.esg]`` of the working directory's pyproject.toml, where it has that; errors as above."""
    if not os.path.isfile(PROJECT):
        return None
    data = _read(PROJECT)
    # Most have no such table, and a parser of TOML takes milliseconds to import. It may stand in [tool] as well.
    words = data.translate(None, b" \t\"'")
    if b"tool.esg" not in words and b"[tool]" not in words:
        return None
    table = _tool_esg(_parse(PROJECT, data))
    return None if table is None else _options(f"[tool.esg] of {PROJECT}", table, names)


def check_kind(name: str, value: Any, kind: type) -> None:
    """See that a value from a file has the type of its option: TOML has types, so none is guessed.

    Raises:
        ValueError: with how to write what was meant, where that can be told.
    """
    if kind is tuple:
        values = value if isinstance(value, list) else [value]
        fits = all(isinstance(one, str) for one in values)
    elif kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        fits = type(value) is kind
    if not fits:
        raise ValueError(f"{value!r} is not {_KINDS[kind]}{_rewritten(name, value, kind)}")


def _rewritten(name: str, value: Any, kind: type) -> str:
    """How to write a string of a number, or a number as a string, or nothing."""
    if kind is bool:
        words = {"true": "true", "1": "true", "on": "true", "yes": "true"}
        words |= {"false": "false", "0": "false", "off": "false", "no": "false"}
        text = words.get(str(value).lower())
    elif kind is str and isinstance(value, int | float):
        text = f'"{str(value).lower()}"'
    elif kind in (int, float) and isinstance(value, str):
        try:
            text = str(kind(value))
        except ValueError:
            text = None
    else:
        text = None
    return f"; write {name} = {text}" if text else ""


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise ValueError(no_file(path)) from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {_reason(error)}") from None


def _parse(path: str, data: bytes) -> dict[str, Any]:
    # Imported here: only those who have such a file wait for it.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(data.decode("utf-8"))
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError
        raise ValueError(f"{path} is not TOML: {error}") from None


def _tool_esg(document: dict[str, Any]) -> dict[str, Any] | None:
    tool = document.get("tool")
    table = tool.get("esg") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ValueError(f"tool.esg of {PROJECT} is not a table")
    return table


def _options(file: str, table: dict[str, Any], names: list[str]) -> ConfigFile:
    """The table by names of fields: ``log-level`` is as good as ``log_level``."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in names:
            # [esg], or [tool.esg] in a file of our own.
            hint = "; options stand above all tables" if isinstance(value, dict) else did_you_mean(name, names)
            raise ValueError(f"{file} has {key!r}, which is no option{hint}")
        if name in found:
            raise ValueError(f"{file} has {name} twice, as {key} too")
        found[name] = value
    return ConfigFile(file, found)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
