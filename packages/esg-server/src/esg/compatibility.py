"""What uvicorn has and ESG has not: options that are taken, so that its command lines start, and do nothing."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

from esg_protocols.settings import Settings, option

# Words for the same thing here.
ALIASES = {"websockets-sansio": "websockets"}

# Where None is uvicorn's word for what is 0 here.
_NONE_IS_ZERO = ("ws_ping_interval", "ws_ping_timeout")


@dataclasses.dataclass(kw_only=True)
class Accepted(Settings):
    """Options of uvicorn's without a meaning here."""

    http: str | type[Any] = option("auto", "ESG has one HTTP implementation.")
    http2: bool = option(False, "ESG speaks HTTP/1.1.")
    h11_max_incomplete_event_size: int | None = option(None, "The limit is --limit-head-size.")

    def __post_init__(self) -> None:
        self.ws = ALIASES.get(self.ws, self.ws)
        for name in _NONE_IS_ZERO:
            if getattr(self, name) is None:
                setattr(self, name, 0.0)
        super().__post_init__()


def words(config: Accepted) -> Iterator[tuple[int, str]]:
    """What to tell those who have set such an option, each with its level: a warning where they may miss something."""
    if config.http != "auto":
        name = getattr(config.http, "__name__", config.http)
        yield logging.INFO, f"--http {name} has no meaning here: ESG has one HTTP implementation, its own"
    if config.http2:
        yield logging.WARNING, "--http2 has no meaning here: ESG speaks HTTP/1.1; have a proxy in front speak HTTP/2"
    if config.h11_max_incomplete_event_size is not None:
        told = f"a request head may have {config.limit_head_size} bytes (--limit-head-size)"
        yield logging.WARNING, f"--h11-max-incomplete-event-size has no meaning here: {told}"
