"""Event loops by their names: which one runs a server."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from esg.app import describe, import_target
from esg.config import StartupError

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def run(main: Coroutine[Any, Any, None], loop: str, app_dir: str | None = None) -> None:
    """Run a coroutine in an event loop of its own, as :func:`asyncio.run` does.

    Args:
        main: what to run.
        loop: a word of the option ``loop``, or ``module:attribute``, something that returns an event loop.
        app_dir: where to import that from.

    Raises:
        StartupError: when there is no such loop.
    """
    try:
        factory = _factory(loop, app_dir)
        if sys.version_info >= (3, 11):
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(main)
        else:
            _run_in(main, factory or asyncio.new_event_loop)
    finally:
        main.close()  # where no loop has run it


def _factory(loop: str, app_dir: str | None) -> LoopFactory | None:
    """What makes the loop; None is for the event loop policy, which the application may have set."""
    if loop == "none":
        return None
    if loop == "auto":
        try:
            return _library("uvloop")
        except StartupError:
            loop = "asyncio"
    if loop == "asyncio":
        if sys.platform == "win32":
            return asyncio.ProactorEventLoop
        return asyncio.SelectorEventLoop
    if ":" not in loop:
        return _library(loop)
    found = import_target(loop, app_dir)
    if not callable(found):
        raise StartupError(f"--loop {loop}: {found!r} cannot be called, so it makes no event loop")
    return partial(_make, loop, found)


def _make(name: str, factory: Callable[[], Any]) -> asyncio.AbstractEventLoop:
    """What somebody's own function returns, if it is a loop."""
    try:
        loop = factory()
    except Exception as error:
        raise StartupError(f"--loop {name}: its code raised {describe(error)}") from error
    if not isinstance(loop, asyncio.AbstractEventLoop):
        raise StartupError(f"--loop {name}: {loop!r} comes out, which is no event loop")
    return loop


def _library(name: str) -> LoopFactory:
    try:
        return importlib.import_module(name).new_event_loop  # type: ignore[no-any-return]
    except ImportError:
        extra = "esg-server[standard]" if name == "uvloop" else name
        raise StartupError(f"--loop {name}: {name} is not installed; try pip install {extra}") from None


def _run_in(main: Coroutine[Any, Any, None], factory: LoopFactory) -> None:
    """What asyncio.Runner does, which Python 3.10 has not."""
    loop = factory()
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main)
    finally:
        try:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
