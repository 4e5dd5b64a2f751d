"""The codecs by name, and the ways in which each case comes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from esg_protocols.settings import Settings
from esg_protocols.websocket import CODECS, Codec, DeflateParameters, load_codec

from .frames import WAYS, Make


@pytest.fixture(params=CODECS)
def name(request: Any) -> str:
    return str(request.param)


@pytest.fixture
def make(name: str) -> Make:
    """Makes a codec of that name, with settings by keyword."""
    if name != "esg":
        pytest.importorskip(name, reason=f"{name} is not installed: its codec is NOT TESTED")
    codec = load_codec(name)

    def make(deflate: DeflateParameters | None = None, **settings: Any) -> Codec:
        return codec(Settings(**settings), deflate=deflate)

    return make


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def way(request: Any) -> Callable[[bytes], list[bytes]]:
    found: Callable[[bytes], list[bytes]] = request.param
    return found
