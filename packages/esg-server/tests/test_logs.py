from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from esg import logs
from esg.config import Config, StartupError
from esg.logging import LOGGING_CONFIG, TRACE_LOG_LEVEL, AccessFormatter, DefaultFormatter, FileHandler, JsonFormatter


def configure(level: str | None = "info", log_config: Any = "built-in", **options: Any) -> None:
    logs.configure(Config("example:app", log_level=level, log_config=log_config, **options))


def log_access(path: str = "/", status: int = 200, client: str = "127.0.0.1:5") -> None:
    logging.getLogger("esg.access").info('%s - "%s %s HTTP/%s" %d', client, "GET", path, "1.1", status)


def test_errors_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    logging.getLogger("esg.error").info("Started server process [%d]", 7)
    logging.getLogger("esg.error").critical("Over")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "INFO:     Started server process [7]\nCRITICAL: Over\n")


def test_access_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    log_access("/a?b=%0A", 404)
    out, err = capsys.readouterr()
    assert (out, err) == ('INFO:     127.0.0.1:5 - "GET /a?b=%0A HTTP/1.1" 404 Not Found\n', "")


def test_unknown_status(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    log_access(status=799)
    assert capsys.readouterr().out == 'INFO:     127.0.0.1:5 - "GET / HTTP/1.1" 799\n'


def test_access_lines_cannot_be_forged(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    log_access("/\r\nINFO: forged\x1b[2J\x7f\x85\u2028", client="\n1")
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (r'INFO:     \x0a1 - "GET /\x0d\x0aINFO: forged\x1b[2J\x7f\x85\u2028 HTTP/1.1" 200 OK')


@pytest.mark.parametrize(("level", "count"), [("critical", 0), ("warning", 1), ("info", 2), ("debug", 3), ("trace", 4)])
def test_levels(level: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    configure(level)
    logger = logging.getLogger("esg.asgi")
    for number in (logging.WARNING, logging.INFO, logging.DEBUG, TRACE_LOG_LEVEL):
        logger.log(number, "line")
    lines = capsys.readouterr().err.splitlines()
    expected = ["WARNING:  line", "INFO:     line", "DEBUG:    line", "TRACE:    line"]
    assert lines == expected[:count]


def test_a_level_that_was_asked_for_is_stronger_than_a_configuration() -> None:
    own = {**LOGGING_CONFIG, "loggers": {"esg.error": {"level": "DEBUG"}}}
    configure(None, own)
    assert [logging.getLogger(name).level for name in ("esg.error", "esg.access")] == [logging.DEBUG, logging.INFO]
    configure("error", own)
    assert [logging.getLogger(name).level for name in ("esg.error", "esg.access")] == [logging.ERROR, logging.ERROR]


def test_level_of_the_logger_above() -> None:
    configure(None, {**LOGGING_CONFIG, "loggers": {"esg": {"level": "WARNING"}}})
    assert logging.getLogger("esg.access").getEffectiveLevel() == logging.WARNING


def test_none_leaves_logging_alone() -> None:
    logger = logging.getLogger("esg.error")
    before = (logger.handlers[:], logger.level, logger.propagate)
    configure("debug", None)
    assert (logger.handlers, logger.level, logger.propagate) == before


def test_other_loggers_stay_enabled() -> None:
    logger = logging.getLogger("somebody.elses")
    configure()
    assert not logger.disabled


def test_colours_are_asked_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert DefaultFormatter().use_colors is True
    assert AccessFormatter().use_colors is False


def test_colours() -> None:
    formatter = AccessFormatter("%(levelprefix)s %(status_code)s", use_colors=True)
    args = ("c", "GET", "/", "1.1", 500)
    record = logging.LogRecord("esg.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', args, None)
    assert formatter.format(record) == "\x1b[32mINFO\x1b[0m:     \x1b[91m500 Internal Server Error\x1b[0m"
    assert "levelprefix" not in record.__dict__


def test_a_message_with_colours_of_its_own() -> None:
    record = logging.LogRecord("esg.error", logging.INFO, "", 0, "on %s", ("x",), None)
    record.color_message = "on \x1b[1m%s\x1b[0m"
    assert DefaultFormatter("%(message)s", use_colors=True).format(record) == "on \x1b[1mx\x1b[0m"
    assert DefaultFormatter("%(message)s", use_colors=False).format(record) == "on x"


def test_use_colors(capsys: pytest.CaptureFixture[str]) -> None:
    configure(use_colors=True)
    log_access()
    logging.getLogger("esg.error").info("line")
    out, err = capsys.readouterr()
    assert out.startswith("\x1b[32mINFO\x1b[0m:     127.0.0.1:5 - ")
    assert err == "\x1b[32mINFO\x1b[0m:     line\n"


@pytest.mark.parametrize("options", [{}, {"log_format": "json"}, {"use_colors": True}, {"access_log_format": "%(m)s"}])
def test_what_is_built_in_is_set_up_as_dictconfig_would(options: dict[str, Any]) -> None:
    """It is done without ``logging.config``, for a start that is quick."""

    def state() -> list[Any]:
        loggers = [logging.getLogger(name) for name in ("esg", "esg.error", "esg.access", "esg.asgi")]
        return [(logger.propagate, list(map(described, logger.handlers))) for logger in loggers]

    def described(handler: Any) -> Any:
        formatter = handler.formatter
        assert formatter is not None
        shown = {key: value for key, value in vars(formatter).items() if key != "_style"}
        return type(handler), handler.name, handler.level, handler.stream, type(formatter), shown

    configure(None, **options)
    ours = state()
    config = Config("example:app", **options)
    from logging.config import dictConfig

    dictConfig(logs._with_colours(logs._with_options(LOGGING_CONFIG, config), config.use_colors))
    assert state() == ours


def test_a_plain_start_does_without_what_is_slow_to_import() -> None:
    code = "import sys, esg, esg.logs; esg.logs.configure(esg.Config('x:y')); sys.exit('logging.config' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# -- No log injection


def test_what_an_exception_says_begins_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    try:
        try:
            raise ValueError("bad\nINFO:     forged\x1b[2J\r\x85")
        except ValueError as error:
            raise KeyError("other") from error
    except KeyError as error:
        logging.getLogger("esg.error").error("Exception in ASGI application", exc_info=error)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["ERROR:    Exception in ASGI application", "Traceback (most recent call last):"]
    assert "ValueError: bad" in lines
    assert r"    INFO:     forged\x1b[2J\x0d\x85" in lines
    assert lines[-1] == "KeyError: 'other'"
    assert "The above exception was the direct cause of the following exception:" in lines


@pytest.mark.parametrize("use_colors", [True, False])
def test_messages_drive_no_terminal(use_colors: bool) -> None:
    record = logging.LogRecord("esg.error", logging.WARNING, "", 0, "from %s", ("\x1b]0;x\x07\x9b2J\r",), None)
    assert DefaultFormatter("%(message)s", use_colors=use_colors).format(record) == r"from \x1b]0;x\x07\x9b2J\x0d"


# -- JSON


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("bad\nthing")
    except ValueError as error:
        args = ("GET /\n",)
        record = logging.LogRecord("esg.error", logging.ERROR, "", 0, "oh %s", args, (ValueError, error, None))
    record.client_addr = "c"
    text = JsonFormatter().format(record)
    assert "\n" not in text
    fields = json.loads(text)
    assert fields.pop("time").endswith("Z")
    assert fields == {
        "level": "ERROR",
        "logger": "esg.error",
        "message": "oh GET /\n",
        "pid": os.getpid(),
        "client_addr": "c",
        "exception": "ValueError: bad\nthing",
    }


# -- Configurations made for uvicorn, with the names changed

INI = """
    [loggers]
    keys=root, esg.error, esg.access
    [handlers]
    keys=console, access
    [formatters]
    keys=generic, access
    [logger_root]
    level=INFO
    handlers=console
    [logger_esg.error]
    level=DEBUG
    handlers=console
    propagate=0
    qualname=esg.error
    [logger_esg.access]
    level=INFO
    handlers=access
    propagate=0
    qualname=esg.access
    [handler_console]
    class=StreamHandler
    formatter=generic
    args=(sys.stderr, )
    [handler_access]
    class=StreamHandler
    formatter=access
    args=(sys.stdout, )
    [formatter_generic]
    format=[%(name)s] %(levelname)s %(message)s
    class=logging.Formatter
    [formatter_access]
    format=%(levelprefix)s [%(process)d] %(client_addr)s %(request_line)s %(status_code)s
    class=esg.logging.AccessFormatter
"""

YAML = """
    version: 1
    disable_existing_loggers: False
    formatters:
      default:
        (): esg.logging.DefaultFormatter
        fmt: '[%(name)s] %(levelname)s %(message)s'
      access:
        (): esg.logging.AccessFormatter
        fmt: '%(levelprefix)s [%(process)d] %(client_addr)s %(request_line)s %(status_code)s'
    handlers:
      default:
        formatter: default
        class: logging.StreamHandler
        stream: ext://sys.stderr
      access:
        formatter: access
        class: logging.StreamHandler
        stream: ext://sys.stdout
    loggers:
      esg.error:
        level: DEBUG
        handlers: [default]
        propagate: no
      esg.access:
        level: INFO
        handlers: [access]
        propagate: no
"""

DICT: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "default": {
            "()": "esg.logging.ColourizedFormatter",
            "format": "[{name}] {levelname} {message}",
            "style": "{",
            "use_colors": False,
        },
        "access": {
            "()": "esg.logging.AccessFormatter",
            "fmt": "%(levelprefix)s [%(process)d] %(client_addr)s %(request_line)s %(status_code)s",
        },
    },
    "handlers": {
        "default": {"formatter": "default", "class": "logging.StreamHandler", "stream": "ext://sys.stderr"},
        "access": {"formatter": "access", "class": "logging.StreamHandler", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        "": {"handlers": ["default"], "level": "INFO"},
        "esg.error": {"level": "DEBUG", "handlers": ["default"], "propagate": False},
        "esg.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
    },
}


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(textwrap.dedent(text))
    return str(folder / name)


@pytest.mark.parametrize("kind", ["ini", "yaml", "yml", "json", "dict", "path", "stream"])
def test_configurations_made_for_uvicorn(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given: Any = {
        "ini": lambda: write(tmp_path, "log.conf", INI),
        "yaml": lambda: write(tmp_path, "log.yaml", YAML),
        "yml": lambda: write(tmp_path, "log.yml", YAML),
        "json": lambda: write(tmp_path, "log.json", json.dumps(DICT)),
        "dict": lambda: DICT,
        "path": lambda: Path(write(tmp_path, "log.ini", INI)),
        "stream": lambda: io.StringIO(textwrap.dedent(INI)),
    }[kind]()
    configure(None, given)
    logging.getLogger("esg.error").debug("line")
    log_access("/a", 404)
    out, err = capsys.readouterr()
    assert err == "[esg.error] DEBUG line\n"
    assert out == f"INFO:     [{os.getpid()}] 127.0.0.1:5 GET /a HTTP/1.1 404 Not Found\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (None, "", "there is no file '"),
        ("log.json", "{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("log.json", "[]", "it holds a list, not a mapping"),
        ("log.yaml", "a: [", "while parsing a flow node"),
        ("log.ini", "version: 1", "File contains no section headers."),
        ("log.ini", "[loggers]\nkeys=root\n", "there is no [handlers] in it; JSON and YAML are told by"),
        ("log.json", '{"version": 2}', "Unsupported version: 2"),
        (
            "log.json",
            '{"version": 1, "handlers": {"a": {"class": "no.such.Handler"}}}',
            "Unable to configure handler 'a': Cannot resolve 'no.such.Handler'",
        ),
    ],
)
def test_a_configuration_that_is_none(name: str | None, text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, text) if name else str(tmp_path / "missing.ini")
    with pytest.raises(StartupError) as caught:
        configure(None, path)
    assert str(caught.value).startswith(f"Cannot use the log configuration {path}: {message}")
    assert "\n" not in str(caught.value)


# -- Files


def test_a_file_is_made_anew_once_it_was_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "log"
    handler = FileHandler(path)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("esg.error")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.info("one")
    path.rename(tmp_path / "log.1")
    logger.info("two")
    logs.reopen()
    logger.info("three")
    handler.close()
    assert (tmp_path / "log.1").read_text() == "one\ntwo\n"
    assert path.read_text() == "three\n"


def test_log_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    errors, access = tmp_path / "errors", tmp_path / "access"
    configure(log_file=str(errors), access_log_file=str(access))
    logging.getLogger("esg.error").info("line")
    log_access()
    errors.rename(tmp_path / "errors.1")
    logs.reopen()
    logging.getLogger("esg.error").info("another")
    for name in ("esg", "esg.access"):
        logging.getLogger(name).handlers[0].close()
    assert (tmp_path / "errors.1").read_text() == "INFO:     line\n"
    assert errors.read_text() == "INFO:     another\n"
    assert access.read_text() == 'INFO:     127.0.0.1:5 - "GET / HTTP/1.1" 200 OK\n'
    assert capsys.readouterr() == ("", "")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = str(tmp_path / "none" / "log")
    with pytest.raises(StartupError, match=f"^Cannot write the log file {path!r}: No such file or directory$"):
        configure(access_log_file=path)


@pytest.mark.parametrize("options", [{"log_format": "json"}, {"log_file": "x"}, {"access_log_file": "x"}])
def test_options_that_a_configuration_of_ones_own_rules_out(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the log configuration says that; leave one of them out"):
        Config("example:app", log_config="log.ini", **options)


def test_text_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json", use_colors=True)
    log_access("/a")
    logging.getLogger("esg.error").info("line")
    out, err = (json.loads(text) for text in capsys.readouterr())
    assert out["message"] == '127.0.0.1:5 - "GET /a HTTP/1.1" 200'
    assert (err["message"], err["level"], err["logger"]) == ("line", "INFO", "esg.error")
