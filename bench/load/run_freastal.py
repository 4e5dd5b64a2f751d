"""Starts freastal, which has no command of its own: ``python -m bench.load.run_freastal APP HOST PORT``."""

from __future__ import annotations

import importlib
import sys

import freastal  # type: ignore[import-not-found]


def main(target: str, host: str, port: str) -> None:
    module, _, attribute = target.partition(":")
    freastal.serve_asgi(getattr(importlib.import_module(module), attribute), host=host, port=int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
