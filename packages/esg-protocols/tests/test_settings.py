"""Every option has its help and its check, and says what would do."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import pytest
from esg_protocols.http1 import HTTPConnection
from esg_protocols.settings import Settings, at_least, check_options, option

FIELDS = dataclasses.fields(Settings)


def test_the_defaults() -> None:
    assert dataclasses.asdict(Settings()) == {
        "limit_head_size": 65536,
        "limit_header_count": 100,
        "limit_header_size": None,
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
        "readiness_path": None,
        "request_id_header": None,
        "server_header": True,
        "date_header": True,
        "read_buffer_size": 65536,
        "write_buffer_size": 65536,
        "ws": "auto",
        "ws_max_size": 16777216,
        "ws_max_queue": 32,
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        "ws_per_message_deflate": True,
        "ws_deflate_window_bits": 12,
        "ws_deflate_memory_level": 5,
        "ws_deflate_no_context_takeover": False,
        "ws_deflate_min_size": 256,
        "ws_deflate_library": "auto",
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
        ("ws_max_size", 1),
        ("ws_max_queue", 1),
        ("ws_ping_interval", 0),
        ("ws_ping_timeout", 0),
        ("ws_deflate_min_size", 0),
    ],
)
def test_numbers_have_a_least_value(name: str, least: int) -> None:
    assert getattr(Settings(**{name: least}), name) == least
    with pytest.raises(ValueError) as raised:
        Settings(**{name: least - 1})
    assert str(raised.value) == f"{name}: {least - 1} is too small, it must be {least} or more"


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("limit_head_size", 2**31 - 1),
        ("limit_header_count", 2**31 - 1),
        ("limit_header_size", 2**31 - 1),
        ("limit_target_size", 2**31 - 1),
        ("limit_request_body", 2**63 - 1),
        ("limit_concurrency", 2**63 - 1),
        ("limit_requests_per_connection", 2**63 - 1),
        ("ws_max_size", 2**63 - 1),
        ("ws_max_queue", 2**63 - 1),
    ],
)
def test_the_largest_values_serve(name: str, most: int) -> None:
    """A connection can be made with the most that is allowed."""
    HTTPConnection(Settings(**{name: most}))
    with pytest.raises(ValueError) as raised:
        Settings(**{name: most + 1})
    assert str(raised.value) == f"{name}: {most + 1} is too large, it must be {most} or less"


@pytest.mark.parametrize(
    ("name", "low", "high"), [("ws_deflate_window_bits", 9, 15), ("ws_deflate_memory_level", 1, 9)]
)
def test_numbers_between_two(name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(Settings(**{name: value}), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f"^{name}: {value} is not from {low} to {high}$"):
            Settings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("limit_head_size", "64k", "an integer"),
        ("limit_head_size", 1e6, "an integer"),
        ("limit_header_count", True, "an integer"),
        ("limit_request_body", "1", "an integer or None"),
        ("timeout_keep_alive", None, "a number"),
        ("timeout_keep_alive", False, "a number"),
        ("server_header", "off", "True or False"),
        ("server_header", None, "True or False"),
        ("root_path", None, "a string"),
        ("readiness_path", b"/ready", "a string or None"),
    ],
)
def test_a_value_of_a_wrong_type_names_its_option(name: str, value: Any, what: str) -> None:
    with pytest.raises(ValueError) as raised:
        Settings(**{name: value})
    assert str(raised.value) == f"{name}: {value!r} is not {what}"


@pytest.mark.parametrize("name", ["", "a b", "a:", "\xe4", "a\r\nb"])
def test_the_name_of_a_field(name: str) -> None:
    with pytest.raises(ValueError) as raised:
        Settings(request_id_header=name)
    assert str(raised.value) == f"request_id_header: {name!r} is no name of a header field, as x-request-id is"


def test_values_that_are_as_good() -> None:
    settings = Settings(timeout_keep_alive=7, server_header=0, limit_request_body=None)  # type: ignore[arg-type]
    assert (settings.timeout_keep_alive, settings.server_header, settings.limit_request_body) == (7, 0, None)


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


@pytest.mark.parametrize(
    ("value", "path"), [("", ""), ("/", ""), ("/api", "/api"), ("/api/", "/api"), ("/a/b/", "/a/b")]
)
def test_a_root_path(value: str, path: str) -> None:
    assert Settings(root_path=value).root_path == path


@pytest.mark.parametrize("value", ["api", "//api", "api/"])
def test_a_root_path_that_is_none(value: str) -> None:
    with pytest.raises(ValueError, match=f"^root_path: '{value}' must begin with one slash"):
        Settings(root_path=value)
