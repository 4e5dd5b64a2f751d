"""Every option has its help and its check, and says what would do."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import pytest
from esg_protocols.settings import Settings, at_least, check_options, option

FIELDS = dataclasses.fields(Settings)


def test_the_defaults() -> None:
    assert dataclasses.asdict(Settings()) == {
        "limit_head_size": 65536,
        "limit_header_count": 100,
        "limit_target_size": 16384,
        "limit_request_body": None,
        "limit_concurrency": None,
        "limit_requests_per_connection": None,
        "timeout_request_head": 30.0,
        "timeout_request_body": 30.0,
        "timeout_write": 30.0,
        "timeout_request": 0.0,
        "minimum_rate": 240,
        "timeout_keep_alive": 5.0,
        "root_path": "",
        "server_header": True,
        "date_header": True,
        "read_buffer_size": 65536,
        "write_buffer_size": 65536,
    }


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_option_explains_itself(field: Any) -> None:
    help = field.metadata["help"]
    assert help.endswith(".")
    assert help[0].isupper()
    assert "\n" not in help
    assert field.default is not dataclasses.MISSING
    hint = typing.get_type_hints(Settings)[field.name]
    assert isinstance(field.default, hint)


@pytest.mark.parametrize("name", [field.name for field in FIELDS if "size" in field.name])
def test_sizes_say_that_they_are_bytes(name: str) -> None:
    help = next(field.metadata["help"] for field in FIELDS if field.name == name)
    assert "bytes" in help.lower()


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("limit_head_size", 256),
        ("limit_header_count", 1),
        ("limit_target_size", 16),
        ("timeout_keep_alive", 0),
        ("read_buffer_size", 1),
        ("write_buffer_size", 0),
    ],
)
def test_numbers_have_a_least_value(name: str, least: int) -> None:
    assert getattr(Settings(**{name: least}), name) == least
    with pytest.raises(ValueError) as raised:
        Settings(**{name: least - 1})
    assert str(raised.value) == f"{name}: {least - 1} is too small, it must be {least} or more"


def test_a_value_of_a_wrong_type_names_its_option() -> None:
    with pytest.raises(ValueError, match="^limit_head_size: "):
        Settings(limit_head_size="64k")  # type: ignore[arg-type]


def test_options_go_by_name() -> None:
    with pytest.raises(TypeError):
        Settings(1)  # type: ignore[misc]


def test_a_configuration_may_extend_them() -> None:
    @dataclasses.dataclass(kw_only=True)
    class Config(Settings):
        app: str
        loop: str = option("auto", "The event loop.", choices=("auto", "asyncio"))
        backlog: int | None = option(None, "Connections that wait.", check=at_least(1))

    config = Config(app="example:app", limit_header_count=5)
    assert (config.loop, config.backlog, config.limit_header_count) == ("auto", None, 5)
    for wrong, message in [
        ({"loop": "trio"}, "loop: 'trio' is not one of auto, asyncio"),
        ({"backlog": 0}, "backlog: 0 is too small, it must be 1 or more"),
        ({"limit_header_count": 0}, "limit_header_count: 0 is too small, it must be 1 or more"),
    ]:
        with pytest.raises(ValueError) as raised:
            Config(app="example:app", **wrong)  # type: ignore[arg-type]
        assert str(raised.value) == message


def test_checks_run_on_what_was_changed_since() -> None:
    settings = Settings()
    settings.limit_header_count = -1
    with pytest.raises(ValueError, match="^limit_header_count: -1 is too small"):
        check_options(settings)


def test_what_an_option_declares() -> None:
    @dataclasses.dataclass
    class One:
        size: int = option(1, "Bytes.", check=at_least(1), flag=False)
        word: str = option("a", "A word.", choices=("a", "b"))

    size, word = dataclasses.fields(One)
    assert size.metadata["flag"] is False
    assert word.metadata["flag"] is True
    assert word.metadata["choices"] == ("a", "b")
    assert word.metadata["check"] is None


@pytest.mark.parametrize("value", ["api", "/", "/api/"])
def test_a_root_path_that_is_none(value: str) -> None:
    with pytest.raises(ValueError, match=f"^root_path: '{value}' must begin with a slash and end without one"):
        Settings(root_path=value)
