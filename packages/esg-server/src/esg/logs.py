"""Logging set up as a configuration asks, from dictionaries and files of every kind that ``logging.config`` knows."""

from __future__ import annotations

import copy
import json
import logging
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import esg.logging
from esg.config import Config, StartupError
from esg.hints import no_file
from esg.logging import LEVELS, LOGGERS, LOGGING_CONFIG, TRACE_LOG_LEVEL, UNCHANGED

if TYPE_CHECKING:
    import configparser

logger = logging.getLogger("esg.error")


def configure(config: Config) -> None:
    """Set logging up.

    Raises:
        StartupError: when the configuration cannot be read, or is none.
    """
    logging.addLevelName(TRACE_LOG_LEVEL, "TRACE")
    given = config.log_config
    if given is None:
        return
    try:
        _check_files(config)
        if isinstance(given, dict):
            given = _with_options(given, config)
        named = _apply(given, config)
    except Exception as error:
        # What is wrong must be read, whatever logging was before.
        _set_up(_with_colours(UNCHANGED, config.use_colors))
        if isinstance(error, StartupError):
            raise
        place = "" if isinstance(given, dict) else f" {getattr(given, 'name', given)}"
        raise StartupError(f"Cannot use the log configuration{place}: {_reason(error)}") from None
    for name in LOGGERS:
        if config.log_level is not None or not named & {name, "esg"}:
            logging.getLogger(name).setLevel(LEVELS[config.log_level or "info"])


def reopen() -> None:
    """Reopen the log files, which somebody may have moved away (SIGHUP, logrotate)."""
    for handler in _handlers():
        renew = getattr(handler, "reopen", None)
        if renew is None:
            continue
        try:
            renew()
        except OSError as error:
            logger.error("Cannot reopen a log file: %s", _reason(error))


def _handlers() -> Iterator[logging.Handler]:
    seen: set[int] = set()
    for name in ("", "esg", *LOGGERS):
        for handler in logging.getLogger(name).handlers:
            if id(handler) not in seen:
                seen.add(id(handler))
                yield handler


def _apply(given: Any, config: Config) -> set[str]:
    """Configure logging; which of our loggers have been given a level."""
    if config.log_config == UNCHANGED:
        _set_up(_with_colours(given, config.use_colors))
        return set()
    # Imported here: it pulls in socketserver, pickle and configparser, which no other path of a start needs.
    import logging.config

    if isinstance(given, (str, os.PathLike)):
        given = _read(os.fspath(given))
    if isinstance(given, dict):
        given = _with_colours(given, config.use_colors)
        logging.config.dictConfig(given)
        loggers = given.get("loggers") or {}
        return {name for name, logger in loggers.items() if "level" in (logger or {})}
    parser = _parse_ini(given)
    logging.config.fileConfig(parser, disable_existing_loggers=False)
    sections = [parser[name] for name in parser.sections() if name.startswith("logger_")]
    return {section.get("qualname", "") for section in sections if section.get("level")}


def _set_up(given: dict[str, Any]) -> None:
    """What ``dictConfig`` would make of the built-in dictionary: importing that is felt in a start."""
    formatters = {name: _made(spec, "()") for name, spec in given["formatters"].items()}
    handlers = {}
    for name, spec in given["handlers"].items():
        options = {key: value for key, value in spec.items() if key != "formatter"}
        if "stream" in options:
            options["stream"] = getattr(sys, options["stream"].removeprefix("ext://sys."))
        handlers[name] = handler = _made(options, "class")
        handler.set_name(name)
        handler.setFormatter(formatters[spec["formatter"]])
    for name in ("esg", *LOGGERS):
        spec = given["loggers"].get(name, {})
        logger = logging.getLogger(name)
        logger.handlers[:] = [handlers[handler] for handler in spec.get("handlers", ())]
        logger.propagate = spec.get("propagate", True)
        logger.disabled = False


def _made(spec: dict[str, Any], key: str) -> Any:
    """An object of the class in :mod:`esg.logging` that stands at ``key``, from the rest."""
    options = dict(spec)
    return getattr(esg.logging, options.pop(key).removeprefix("esg.logging."))(**options)


def _read(path: str) -> Any:
    """A dictionary from JSON or YAML, by the file's name; of other files the path."""
    if path.endswith(".json"):
        with open(path, encoding="utf-8") as file:
            return _mapping(json.load(file))
    if path.endswith((".yaml", ".yml")):
        try:
            import yaml
        except ImportError:
            raise ValueError("PyYAML is not installed; try pip install esg-server[standard]") from None
        with open(path, encoding="utf-8") as file:
            return _mapping(yaml.safe_load(file))
    return path


def _mapping(read: Any) -> dict[str, Any]:
    if not isinstance(read, dict):
        raise ValueError(f"it holds a {type(read).__name__}, not a mapping")
    return read


def _parse_ini(given: Any) -> configparser.ConfigParser:
    import configparser

    if isinstance(given, configparser.RawConfigParser):
        return given  # type: ignore[return-value]
    parser = configparser.ConfigParser()
    if isinstance(given, str):
        with open(given, encoding="utf-8") as file:
            parser.read_file(file)
    else:
        parser.read_file(given)
    for section in ("loggers", "handlers", "formatters"):
        if section not in parser:
            raise ValueError(f"there is no [{section}] in it; JSON and YAML are told by .json, .yaml and .yml")
    return parser


def _check_files(config: Config) -> None:
    for path in (config.log_file, config.access_log_file):
        if path is None:
            continue
        try:
            with open(path, "ab"):
                pass
        except OSError as error:
            raise StartupError(f"Cannot write the log file {path!r}: {error.strerror}") from None


def _with_options(given: dict[str, Any], config: Config) -> dict[str, Any]:
    """The dictionary that is built in, with what other options say; one of the user's own stays as it is."""
    if given != LOGGING_CONFIG:
        return given
    given = copy.deepcopy(given)
    if config.log_format == "json":
        given["formatters"] = dict.fromkeys(("default", "access"), {"()": "esg.logging.JsonFormatter"})
    elif config.access_log_format:
        given["formatters"]["access"]["fmt"] = "%(message)s"
    for name, path in (("default", config.log_file), ("access", config.access_log_file)):
        if path is not None:
            given["handlers"][name] = {"class": "esg.logging.FileHandler", "formatter": name, "filename": path}
            if config.log_format != "json" and config.use_colors is None:
                given["formatters"][name]["use_colors"] = False
    return given


def _with_colours(given: dict[str, Any], use_colors: bool | None) -> dict[str, Any]:
    """The dictionary with ``use_colors`` put into the formatters that uvicorn would put it into."""
    if use_colors is None:
        return given
    given = copy.copy(given)
    formatters = given["formatters"] = dict(given.get("formatters") or {})
    for name in ("default", "access"):
        if formatters.get(name, {}).get("()") not in (None, "esg.logging.JsonFormatter"):
            formatters[name] = {**formatters[name], "use_colors": use_colors}
    return given


def _reason(error: BaseException) -> str:
    """What went wrong in one line: ``logging.config`` says it in the cause."""
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, str):
        return no_file(error.filename)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename!r}" if error.filename else error.strerror
    cause = error.__cause__
    text = " ".join(str(error).split()) or type(error).__name__
    if cause is not None and str(cause) not in text:
        text += f": {' '.join(str(cause).split()) or type(cause).__name__}"
    return text
