from __future__ import annotations

import logging
from typing import Any

import pytest
from esg import logs


def configure(level: str = "info", **changes: Any) -> None:
    logs.configure({**logs.LOGGING_CONFIG, **changes}, level)


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
    assert capsys.readouterr().out == 'INFO:     127.0.0.1:5 - "GET / HTTP/1.1" 799 \n'


def test_access_lines_cannot_be_forged(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    log_access("/\r\nINFO: forged\x1b[2J\x7f\x85\u2028", client="\n1")
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (r'INFO:     \x0a1 - "GET /\x0d\x0aINFO: forged\x1b[2J\x7f\x85\u2028 HTTP/1.1" 200 OK')


@pytest.mark.parametrize(("level", "count"), [("critical", 0), ("warning", 1), ("info", 2), ("debug", 3), ("trace", 4)])
def test_levels(level: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    configure(level)
    logger = logging.getLogger("esg.asgi")
    for number in (logging.WARNING, logging.INFO, logging.DEBUG, logs.TRACE):
        logger.log(number, "line")
    lines = capsys.readouterr().err.splitlines()
    expected = ["WARNING:  line", "INFO:     line", "DEBUG:    line", "TRACE:    line"]
    assert lines == expected[:count]


def test_level_of_a_config_of_ones_own_stays() -> None:
    configure("error", loggers={"esg.error": {"level": "DEBUG"}})
    assert logging.getLogger("esg.error").level == logging.DEBUG
    assert logging.getLogger("esg.access").level == logging.ERROR


def test_none_leaves_logging_alone() -> None:
    logger = logging.getLogger("esg.error")
    before = (logger.handlers[:], logger.level, logger.propagate)
    logs.configure(None, "debug")
    assert (logger.handlers, logger.level, logger.propagate) == before


def test_other_loggers_stay_enabled() -> None:
    logger = logging.getLogger("somebody.elses")
    configure()
    assert not logger.disabled


def test_colours_are_asked_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert logs.DefaultFormatter().use_colors is True
    assert logs.AccessFormatter().use_colors is False


def test_colours() -> None:
    formatter = logs.AccessFormatter("%(levelprefix)s %(status_code)s", use_colors=True)
    args = ("c", "GET", "/", "1.1", 500)
    record = logging.LogRecord("esg.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', args, None)
    assert formatter.format(record) == "\x1b[32mINFO\x1b[0m:     \x1b[91m500 Internal Server Error\x1b[0m"
    assert "levelprefix" not in record.__dict__
