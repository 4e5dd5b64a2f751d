from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import esg
import pytest
from esg.logs import LOGGING_CONFIG


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


def test_log_level_in_capitals() -> None:
    assert esg.Config("example:app", log_level="DEBUG").log_level == "debug"


def test_log_config_is_its_own() -> None:
    config = esg.Config("example:app")
    assert config.log_config == LOGGING_CONFIG
    assert config.log_config is not None
    config.log_config["formatters"].clear()
    assert LOGGING_CONFIG["formatters"]


def test_copies() -> None:
    config = esg.Config("example:app", port=1)
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert dataclasses.replace(config, port=2).port == 2
