from __future__ import annotations

import copy
import dataclasses
import os
import pickle
from pathlib import Path
from typing import Any

import esg
import pytest
from esg.logging import LOGGING_CONFIG


def test_application_comes_first() -> None:
    config = esg.Config("example:app", port=80)
    assert (config.app, config.host, config.port) == ("example:app", "127.0.0.1", 80)


def test_only_the_application_goes_by_position() -> None:
    with pytest.raises(TypeError):
        esg.Config("example:app", "127.0.0.1")  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prot", "Config has no option 'prot'; did you mean 'port'?"),
        ("access_logs", "Config has no option 'access_logs'; did you mean 'access_log'?"),
        ("zzz", "Config has no option 'zzz'"),
    ],
)
def test_unknown_option(name: str, message: str) -> None:
    options: dict[str, Any] = {name: 1}
    with pytest.raises(TypeError) as caught:
        esg.Config("example:app", **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", -1),
        ("port", 65536),
        ("port", "8000"),
        ("backlog", 0),
        ("workers", 0),
        ("workers", 8000),
        ("loop", "trio"),
        ("lifespan", "maybe"),
        ("log_level", "loud"),
        ("limit_head_size", 1),
    ],
)
def test_bad_value_is_named(name: str, value: Any) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"^{name}: "):
        esg.Config("example:app", **options)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("access_log", "off", "'off' is not True or False"),
        ("reload_dirs", 3, "3 is not a string"),
        ("bind", (8000,), "8000 is not a string"),
        ("uds", 3, "3 is not a string or None"),
        ("workers", 2.5, "2.5 is not an integer"),
        ("loop", print, "<built-in function print> is not a string"),
        ("root_path", None, "None is not a string"),
        ("log_config", 3, "3 is not a dictionary, the name of a file, an open file or None"),
        (
            "ssl_context_factory",
            "context",
            "'context' cannot be called; it must take a Config and a function that makes an SSLContext",
        ),
        ("uds_mode", 0o660, "432 is no mode, write three octal digits as a text, as in '660'"),
    ],
)
def test_value_of_a_wrong_type(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        esg.Config("example:app", **{name: value})
    assert str(caught.value) == f"{name}: {message}"


@pytest.mark.parametrize("name", ["uds", "ssl_ca_certs", "log_file", "access_log_file", "app_dir"])
def test_paths_are_strings(name: str) -> None:
    options: dict[str, Any] = {name: Path("a", "b")}
    assert getattr(esg.Config("example:app", **options), name) == os.path.join("a", "b")


def test_log_level_in_capitals() -> None:
    assert esg.Config("example:app", log_level="DEBUG").log_level == "debug"


def test_log_level_as_a_number() -> None:
    assert esg.Config("example:app", log_level=10).log_level == "debug"  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^log_level: 11 is not one of critical"):
        esg.Config("example:app", log_level=11)  # type: ignore[arg-type]


def test_log_config_is_its_own() -> None:
    config = esg.Config("example:app")
    assert config.log_config == LOGGING_CONFIG
    assert isinstance(config.log_config, dict)
    config.log_config["formatters"].clear()
    assert LOGGING_CONFIG["formatters"]


def test_copies() -> None:
    config = esg.Config("example:app", port=1)
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert dataclasses.replace(config, port=2).port == 2
