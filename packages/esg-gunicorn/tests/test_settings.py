"""gunicorn's settings as ESG's options."""

from __future__ import annotations

from typing import Any

import pytest
from esg_gunicorn.settings import (
    ARBITERS_REASON,
    BOUNDLESS,
    WITHOUT_MEANING,
    between_beats,
    graceful_timeout,
    make_config,
    without_meaning,
)
from gunicorn.config import Config as Settings


def settings(**values: Any) -> Settings:
    cfg = Settings()
    for name, value in values.items():
        cfg.set(name, value)
    return cfg


@pytest.mark.parametrize(
    ("setting", "value", "option", "expected"),
    [
        ("backlog", 77, "backlog", 77),
        ("keepalive", 7, "timeout_keep_alive", 7.0),
        ("keepalive", 0, "timeout_keep_alive", 0.0),
        ("graceful_timeout", 30, "timeout_graceful_shutdown", 28.0),
        ("graceful_timeout", 0, "timeout_graceful_shutdown", 0.0),
        ("worker_connections", 10, "limit_concurrency", 10),
        ("worker_connections", 0, "limit_concurrency", None),
        ("limit_request_line", 1000, "limit_target_size", 987),
        ("limit_request_line", 0, "limit_target_size", 16384),
        ("limit_request_fields", 7, "limit_header_count", 7),
        ("limit_request_field_size", 700, "limit_header_size", 700),
        ("limit_request_field_size", 0, "limit_header_size", None),
        ("proxy_protocol", "off", "proxy_protocol", False),
        ("proxy_allow_ips", "10.0.0.1", "proxy_protocol_from", "10.0.0.1,unix"),
        ("forwarded_allow_ips", "10.0.0.1,10.0.0.2", "forwarded_allow_ips", "10.0.0.1,10.0.0.2,unix"),
    ],
)
def test_each(setting: str, value: Any, option: str, expected: Any) -> None:
    assert getattr(make_config(settings(**{setting: value}), {}), option) == expected


@pytest.mark.parametrize(
    ("setting", "value", "option", "expected"),
    [
        ("asgi_loop", "asyncio", "loop", "asyncio"),
        ("asgi_lifespan", "on", "lifespan", "on"),
        ("websocket_max_message_size", 1000, "ws_max_size", 1000),
        ("websocket_max_message_size", 0, "ws_max_size", BOUNDLESS),
        ("root_path", "/api/", "root_path", "/api"),
    ],
)
def test_those_that_older_gunicorns_do_not_have(setting: str, value: Any, option: str, expected: Any) -> None:
    if setting not in Settings().settings:
        pytest.skip(f"this gunicorn has no {setting}")
    assert getattr(make_config(settings(**{setting: value}), {}), option) == expected


def test_a_subclass_beats_a_variable_and_that_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = settings(keepalive=1)
    monkeypatch.setenv("ESG_TIMEOUT_KEEP_ALIVE", "2.5")
    assert make_config(cfg, {}).timeout_keep_alive == 2.5
    assert make_config(cfg, {"timeout_keep_alive": 3.5}).timeout_keep_alive == 3.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [({}, False), ({"accesslog": "-"}, True), ({"syslog": True}, True), ({"logconfig_dict": {"version": 1}}, True)],
)
def test_the_access_log(values: dict[str, Any], expected: bool) -> None:
    assert make_config(settings(**values), {}).access_log is expected


def test_what_is_the_arbiters_no_variable_and_no_subclass_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, own = settings(backlog=77), {"workers": 4, "app": "other:app", "log_file": "a.log"}
    monkeypatch.setenv("ESG_BACKLOG", "5")
    monkeypatch.setenv("ESG_LOG_FORMAT", "json")
    config = make_config(cfg, own)
    assert (config.backlog, config.workers, config.app, config.log_format, config.log_file) == (77, 1, "", "text", None)
    names = ["CONFIG['app']", "ESG_BACKLOG", "CONFIG['workers']", "ESG_LOG_FORMAT", "CONFIG['log_file']"]
    assert list(without_meaning(cfg, own)) == [f"{name} {ARBITERS_REASON}" for name in names]


def test_options_of_a_subclass_that_are_no_dictionary() -> None:
    wrong: Any = ["ws"]
    with pytest.raises(TypeError, match=r"CONFIG.*dictionary of options, not \['ws'\]"):
        make_config(settings(), wrong)


def test_wrong_values_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="no option 'limit_requst_body'; did you mean 'limit_request_body'"):
        make_config(settings(), {"limit_requst_body": 1})
    with pytest.raises(ValueError, match="limit_request_body: -1 is too small"):
        make_config(settings(), {"limit_request_body": -1})
    monkeypatch.setenv("ESG_WS_MAX_QUEUE", "many")
    with pytest.raises(ValueError, match=r"ESG_WS_MAX_QUEUE.*'many'"):
        make_config(settings(), {})


def test_settings_without_meaning_are_named_when_they_are_set() -> None:
    assert list(without_meaning(settings(), {})) == []
    (line,) = without_meaning(settings(threads=4), {})
    assert line == f"threads has no meaning for ESG: {WITHOUT_MEANING['threads']}"


@pytest.mark.parametrize(("seconds", "expected"), [(30, 28), (4, 3), (1, 0.75)])
def test_the_time_for_a_graceful_stop_is_shorter_than_gunicorns(seconds: float, expected: float) -> None:
    assert graceful_timeout(seconds) == expected


@pytest.mark.parametrize(("timeout", "expected"), [(30, 1.0), (1, 0.25), (0, 1.0)])
def test_signs_of_life_come_well_before_the_arbiter_misses_them(timeout: int, expected: float) -> None:
    assert between_beats(timeout) == expected
