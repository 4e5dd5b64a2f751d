"""Every option, from everywhere: the same comes out, and what is no value is refused in a line that names the place."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import click
import esg.start
import pytest
from click.testing import CliRunner, Result
from esg.cli import main
from esg.config import Config
from esg.options import OptionOfField

OPTIONS = {option.name: option for option in main.params if isinstance(option, OptionOfField)}

# What the options take that do not take any string.
STRINGS = {
    "bind": "127.0.0.1:1",
    "env_file": ".env",
    "forwarded_allow_ips": "10.0.0.0/8",
    "forwarded_headers": "Forwarded",
    "headers": "X-Name: a b",
    "loop": "none",
    "proxy_protocol_from": "10.0.0.0/8",
    "readiness_path": "/ready",
    "root_path": "/api",
    "uds_mode": "600",
    "uds_owner": ":0",
}
# What no option of a type takes, as text and as TOML.
WRONG = {click.INT: ("x", '"x"'), click.FLOAT: ("x", '"x"'), click.STRING: (None, "7"), click.BOOL: ("x", "7")}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").touch()
    with mock.patch.dict(os.environ):
        yield tmp_path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations that would have been served."""
    configs: list[Config] = []
    monkeypatch.setattr(esg.start, "run_config", configs.append)
    return configs


def call(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(main, arguments, env=env, prog_name="esg")


def sample(option: OptionOfField) -> Any:
    """A value that an option takes, and not its default."""
    if option.is_flag:
        return not option.default
    if isinstance(option.type, click.Choice):
        return next(word for word in option.type.choices if word != option.default)
    if isinstance(option.type, click.types.StringParamType):
        return STRINGS.get(option.name, "word")
    # The least that is allowed is 256, 9 or the like, the most is 2 or more.
    for number in (2, 9, 257):
        with contextlib.suppress(ValueError):
            if option.check is not None:
                option.check(number)
            return number
    raise AssertionError(option.name)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_same_from_everywhere(name: str, folder: Path, served: list[Config]) -> None:
    option = OPTIONS[name]
    value = sample(option)
    flag = [option.opts[0] if value else option.secondary_opts[0]] if option.is_flag else [option.opts[0], str(value)]
    (folder / "esg.toml").write_text(f"{name} = {json.dumps([value] if option.multiple else value)}\n")
    for result in (
        call(*flag, "x:y"),
        call("x:y", **{f"ESG_{name.upper()}": str(value)}),
        call("--config", "esg.toml", "x:y"),
    ):
        assert result.exit_code == 0, result.output
    expected = dataclasses.replace(Config("x:y"), **{name: (value,) if option.multiple else value})
    assert served == [expected] * 3
    assert expected != Config("x:y")


@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_no_value(name: str, folder: Path, served: list[Config]) -> None:
    option = OPTIONS[name]
    text, toml = ("x", '"x"') if isinstance(option.type, click.Choice) else WRONG[option.type]
    (folder / "esg.toml").write_text(f"{name} = {toml}\n")
    places = {f"{name} in esg.toml": call("--config", "esg.toml", "x:y")}
    if text is not None:
        places[f"$ESG_{name.upper()}"] = call("x:y", **{f"ESG_{name.upper()}": text})
        if not option.is_flag:
            places[f"'{option.opts[0]}'"] = call(option.opts[0], text, "x:y")
    for place, result in places.items():
        assert result.exit_code == 2
        assert result.output.startswith(f"Error: Invalid value for {place}: ")
        assert result.output.count("\n") == 1
    assert not served


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if option.type is click.FLOAT])
def test_nan_is_no_number_of_seconds(name: str, folder: Path, served: list[Config]) -> None:
    """It is neither too small nor too large, so a deadline made of it would never come."""
    (folder / "esg.toml").write_text(f"{name} = nan\n")
    for result in (call(OPTIONS[name].opts[0], "nan", "x:y"), call("--config", "esg.toml", "x:y")):
        assert result.exit_code == 2
        assert "nan is too small, it must be" in result.output
    assert not served
