"""Options of uvicorn's that mean something else here, or nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from esg.cli import main
from esg.compatibility import words
from esg.config import Config

Start = Callable[..., Any]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"http": "h11"}, "--http h11 has no meaning here: ESG has one HTTP implementation"),
        ({"http": "mine:Protocol"}, "--http mine:Protocol has no meaning here"),
        ({"http": asyncio.Protocol}, "--http Protocol has no meaning here"),
        ({"http2": True}, "--http2 has no meaning here: ESG speaks HTTP/1.1"),
        (
            {"h11_max_incomplete_event_size": 9, "limit_head_size": 999},
            "--h11-max-incomplete-event-size has no meaning here: a request head may have 999 bytes",
        ),
    ],
)
def test_words_for_what_has_no_meaning(options: dict[str, Any], word: str) -> None:
    ((_, said),) = words(Config("x:y", **options))
    assert said.startswith(word)


def test_no_words_by_default() -> None:
    assert not list(words(Config("x:y")))


def test_none_is_no_limit() -> None:
    options: dict[str, Any] = {"ws_ping_interval": None, "ws_ping_timeout": None}
    config = Config("x:y", **options)
    assert (config.ws_ping_interval, config.ws_ping_timeout) == (0, 0)
    assert Config("x:y", timeout_graceful_shutdown=None).timeout_graceful_shutdown is None
    assert Config("x:y", timeout_graceful_shutdown=float("inf")).timeout_graceful_shutdown is None
    assert Config("x:y", timeout_graceful_shutdown=0).timeout_graceful_shutdown == 0


def test_websockets_by_uvicorns_name() -> None:
    assert Config("x:y", ws="websockets-sansio").ws == "websockets"
    result = CliRunner().invoke(main, ["--help"])
    assert "sansio" not in result.output


def test_a_server_says_so_and_serves(start: Start) -> None:
    pytest.importorskip("websockets")
    process = start("example:app", "--http", "httptools", "--http2", "--ws", "websockets-sansio")
    process.port()
    said = "".join(process.read)
    assert "INFO:     --http httptools has no meaning here" in said
    assert "WARNING:  --http2 has no meaning here" in said
    process.signal(signal.SIGINT)
    assert process.end()[0] == 0
