"""From what the user wrote to an application: import strings, factories, and what else may be meant."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any

from esg.config import StartupError
from esg.hints import did_you_mean, no_directory
from esg.interfaces import ASGIApp, adapt, takes

_logger = logging.getLogger("esg.error")


def import_target(target: str, app_dir: str | None = None) -> Any:
    """Import what ``"module:attribute"`` names; the attribute may be dotted.

    Args:
        target: the import string.
        app_dir: a directory put first on the import path; ``None`` leaves the path alone.

    Raises:
        StartupError: when there is no such thing, with the nearest that there is. Where the module's own code
            raised, that is the ``__cause__``.
    """
    module_name, _, attributes = target.partition(":")
    if not module_name or not attributes:
        raise StartupError(f"{target!r} names no application: write it as module:attribute{_hint(target)}")
    if module_name.startswith("."):
        raise StartupError(_no_file(target))
    if app_dir is not None:
        if not os.path.isdir(app_dir or "."):
            raise StartupError(f"--app-dir: {no_directory(app_dir)}")
        _put_first(os.path.abspath(app_dir))
    found: Any = _import_module(target, module_name, app_dir)
    for name in attributes.split("."):
        found = _attribute(target, found, name)
    return found


def make_app(target: Any, *, factory: bool = False, name: str | None = None, interface: str = "auto") -> ASGIApp:
    """Turn an imported object into the application to serve, calling it first if it is a factory.

    Args:
        target: an application or a factory of one.
        factory: whether it is a factory; one that is recognised without this is called with a warning.
        name: how messages call it.
        interface: what kind of application it is, as for :func:`esg.interfaces.adapt`.

    Raises:
        StartupError: when no application comes out.
    """
    name = repr(name) if name else f"The application {target!r}"
    if factory:
        target = _call_factory(target, name)
    elif callable(target) and _is_factory(target):
        _logger.warning("%s is an application factory: it is called, but say so with --factory.", name)
        target = _call_factory(target, name)
    if not callable(target):
        raise StartupError(f"{name} is no application: {type(target).__name__!r} objects cannot be called")
    return adapt(target, name, interface)


def own_traceback(error: BaseException) -> TracebackType | None:
    """The part of an error's traceback that lies in the application, without the import machinery above."""
    place = error.__traceback__
    machinery = (__file__, importlib.__file__)
    while place is not None:
        filename = place.tb_frame.f_code.co_filename
        if filename not in machinery and not filename.startswith("<frozen importlib"):
            break
        place = place.tb_next
    return place


def describe(error: BaseException) -> str:
    """An error in one line, whatever its message: its kind and the first line of what it says."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _hint(target: str) -> str:
    """A correction for the usual slips: a file name, a path, no attribute."""
    module_name, _, attributes = target.partition(":")
    module_name = module_name.removesuffix(".py").strip("./").replace("/", ".")
    return f", as in {module_name}:{attributes or 'app'}" if module_name else ""


def _put_first(directory: str) -> None:
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)


def _import_module(target: str, name: str, app_dir: str | None) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        # No frame of the user's: the module itself was not found, rather than one that it imports.
        if isinstance(error, ModuleNotFoundError) and own_traceback(error) is None:
            raise StartupError(_missing_module(target, name, error.name or name, app_dir)) from None
        raise StartupError(f"Cannot import {target!r}, its code raised {describe(error)}") from error


def _no_file(target: str) -> str:
    return f"Cannot import {target!r}: write a module, not a file{_hint(target)}"


def _missing_module(target: str, name: str, missing: str, app_dir: str | None) -> str:
    if name.endswith(".py") or "/" in name:
        return _no_file(target)
    import pkgutil  # as difflib: for mistakes alone

    parent, _, last = missing.rpartition(".")
    places = getattr(sys.modules.get(parent), "__path__", None) if parent else [os.path.abspath(app_dir or ".")]
    siblings = [module.name for module in pkgutil.iter_modules(places or [])]
    rest = target[len(missing) :]
    suggestion = did_you_mean(last, siblings, f"{parent}.{{}}{rest}" if parent else f"{{}}{rest}")
    where = "" if parent else f" in {os.path.abspath(app_dir or '.')}"
    return f"Cannot import {target!r}: there is no module {missing!r}{where}{suggestion}"


def _attribute(target: str, owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        module_name, _, attributes = target.partition(":")
        before, _, after = f".{attributes}.".partition(f".{name}.")
        form = ":".join((module_name, f"{before}.{{}}.{after}".strip(".")))
        public = [other for other in dir(owner) if not other.startswith("_")]
        kind = f"module {module_name!r}" if isinstance(owner, ModuleType) else f"{owner!r}"
        near = did_you_mean(name, public, form)
        raise StartupError(f"Cannot import {target!r}: {kind} has no attribute {name!r}{near}") from None


def _is_factory(target: Callable[..., Any]) -> bool:
    # A class is no application even if its constructor takes three arguments: calling it makes one.
    return takes(target, 0) and (inspect.isclass(target) or not takes(target, 3))


def _call_factory(factory: Any, name: str) -> Any:
    if not callable(factory) or not takes(factory, 0):
        raise StartupError(f"{name} is no application factory: it cannot be called without arguments")
    try:
        app = factory()
    except Exception as error:
        raise StartupError(f"The application factory {name} raised {describe(error)}") from error
    if inspect.iscoroutine(app):
        app.close()
        raise StartupError(f"The application factory {name} is a coroutine function: write it without async")
    return app
