"""ESG: a fast ASGI server. ``esg.run("example:app")`` serves an application until it is told to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esg import testing
    from esg.config import Config
    from esg.server import Server
    from esg.start import run

__all__ = ["Config", "Server", "__version__", "run", "testing"]

__version__ = "0.1.0"

_HOMES = {"Config": "esg.config", "Server": "esg.server", "run": "esg.start"}


def __getattr__(name: str) -> Any:
    # Loaded on first use (PEP 562): `esg --help` and tools that only read __version__ need no event loop.
    from importlib import import_module

    if name == "testing":
        return import_module("esg.testing")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
