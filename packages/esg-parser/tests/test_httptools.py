"""esg_parser.httptools: httptools' own tests, and what they leave out."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from array import array
from pathlib import Path

import pytest
from esg_parser import URL, httptools
from esg_parser import parse_url as parse_url_of_ours

from .recording import (
    CALLBACKS,
    CHUNKED,
    CHUNKED_RESPONSE,
    REQUEST,
    RESPONSE,
    TO_THE_END,
    UPGRADE,
    Recorder,
    failing,
    joined,
    parser_for,
    recorded,
    simple,
)
from .test_build_backend import load

vendored = load("vendored")

MESSAGES = [
    ("HttpRequestParser", REQUEST + CHUNKED + REQUEST),
    ("HttpRequestParser", b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n"),
    ("HttpResponseParser", RESPONSE + CHUNKED_RESPONSE + RESPONSE),
    ("HttpResponseParser", TO_THE_END),
]


# -- httptools' own tests

THEIR_TESTS = 41


@pytest.fixture(scope="session")
def their_tests(tmp_path_factory):
    """The text of httptools' tests, out of the source distribution that the build takes llhttp from."""
    pin = json.loads(vendored.PIN.read_text())
    archive = Path(os.environ.get(vendored.SOURCE_VARIABLE, ""))
    if not (archive.is_file() and hashlib.sha256(archive.read_bytes()).hexdigest() == pin["sha256"]):
        try:
            archive = vendored._download(pin, tmp_path_factory.mktemp("sdist"))
        except vendored.VendorError as error:
            pytest.skip(f"HTTPTOOLS' OWN TESTS WERE NOT RUN: {error}")
    with tarfile.open(archive) as tar:
        return tar.extractfile(f"{pin['name']}-{pin['version']}/tests/test_parser.py").read()


STAND_IN = """
import sys

from esg_parser import httptools

sys.modules["httptools"] = httptools
for name in ("parser", "parser.errors", "parser.parser", "parser.protocol", "parser.url_parser"):
    sys.modules[f"httptools.{name}"] = httptools
"""


def test_their_own_tests(their_tests, tmp_path):
    (tmp_path / "conftest.py").write_text(STAND_IN)
    (tmp_path / "test_parser.py").write_bytes(their_tests)
    check = "\n\ndef test_it_is_ours():\n    assert httptools.__name__ == 'esg_parser.httptools'\n"
    (tmp_path / "test_stand_in.py").write_text("import httptools" + check)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")  # so that none further up is taken
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.splitlines()[-1]
    assert re.match(rf"{THEIR_TESTS + 1} passed(, \d+ subtests passed)? in ", summary), done.stdout


# -- Callbacks


def test_what_is_called():
    assert simple(recorded(httptools, "HttpRequestParser", [CHUNKED])) == [
        ("on_message_begin",),
        ("on_url", b"/c"),
        ("on_header", b"host", b"a.example"),
        ("on_header", b"Transfer-Encoding", b"chunked"),
        ("on_headers_complete",),
        ("on_chunk_header",),
        ("on_body", b"abc"),
        ("on_chunk_complete",),
        ("on_chunk_header",),
        ("on_body", b"de"),
        ("on_chunk_complete",),
        ("on_chunk_header",),
        ("on_header", b"X-Trailer", b"t"),
        ("on_header", b"Vary", b"*"),
        ("on_chunk_complete",),
        ("on_message_complete",),
    ]


def test_what_is_called_for_a_response():
    assert simple(recorded(httptools, "HttpResponseParser", [RESPONSE])) == [
        ("on_message_begin",),
        ("on_status", b"Very Well"),
        ("on_header", b"Server", b"a"),
        ("on_header", b"Content-Length", b"2"),
        ("on_headers_complete",),
        ("on_body", b"hi"),
        ("on_message_complete",),
    ]


@pytest.mark.parametrize(("kind", "raw"), MESSAGES)
def test_any_cut_gives_the_same(kind, raw):
    whole = joined(recorded(httptools, kind, [raw]))
    assert not any(name.startswith("Http") for name, *_ in whole)
    cuts = [[raw[at : at + size] for at in range(0, len(raw), size)] for size in (1, 2, 3, 7)]
    cuts += [[raw[:at], raw[at:]] for at in range(1, len(raw))]
    for pieces in cuts:
        assert joined(recorded(httptools, kind, pieces)) == whole
        assert joined(recorded(httptools, kind, pieces, lent=True)) == whole
        with_nothing = [part for piece in pieces for part in (piece, b"", array("B"))]
        assert joined(recorded(httptools, kind, with_nothing)) == whole


def test_a_folded_value_in_pieces():
    raw = b"GET / HTTP/1.1\r\nX: one\r\n two\r\n\tthree\r\nY: z\r\n\r\n"
    fields = [("on_header", b"X", b"one two\tthree"), ("on_header", b"Y", b"z")]
    for at in range(1, len(raw)):
        events = recorded(httptools, "HttpRequestParser", [raw[:at], raw[at:]], {"lenient_headers": True}, lent=True)
        assert [event for event in joined(events) if event[0] == "on_header"] == fields


def test_a_long_field_in_many_pieces():
    name, value = b"N" * 5000, b"v" * 100_000
    raw = b"GET / HTTP/1.1\r\n" + name + b": " + value + b"\r\n\r\n"
    pieces = [raw[at : at + 7] for at in range(0, len(raw), 7)]
    assert ("on_header", name, value) in simple(recorded(httptools, "HttpRequestParser", pieces, lent=True))


@pytest.mark.parametrize("missing", [*([name] for name in CALLBACKS), list(CALLBACKS)])
@pytest.mark.parametrize(("kind", "raw"), [*MESSAGES, ("HttpRequestParser", UPGRADE)])
def test_a_protocol_without_some(kind, raw, missing):
    expected = [event for event in joined(recorded(httptools, kind, [raw])) if event[0] not in missing]
    assert joined(recorded(httptools, kind, [raw], without=missing)) == joined(expected)
    pieces = [raw[at : at + 1] for at in range(len(raw))]
    if UPGRADE not in raw:
        assert joined(recorded(httptools, kind, pieces, without=missing)) == joined(expected)


def test_a_protocol_without_any():
    for protocol in (None, object()):
        httptools.HttpRequestParser(protocol).feed_data(REQUEST + CHUNKED)
        httptools.HttpResponseParser(protocol).feed_data(RESPONSE)


def test_usual_names_are_shared_in_both_spellings():
    names = [b"Content-Type", b"content-type", b"X-Forwarded-Host", b"X-Forwarded-Port", b"sec-ch-ua", b"TE", b"te"]
    raw = b"GET / HTTP/1.1\r\n" + b"".join(name + b": \r\n" for name in [*names, b"coNTent-type"]) + b"\r\n"
    first, second = (
        [event[1] for event in recorded(httptools, "HttpRequestParser", [raw]) if event[0] == "on_header"]
        for _ in range(2)
    )
    assert first == second == [*names, b"coNTent-type"]
    assert [one is other for one, other in zip(first, second, strict=True)] == [True] * len(names) + [False]


def test_a_read_that_is_all_body_is_not_copied():
    body = b"x" * 1000
    recorder = Recorder(httptools.HttpRequestParser)
    recorder.parser.feed_data(b"POST / HTTP/1.1\r\nContent-Length: 2000\r\n\r\n")
    recorder.parser.feed_data(body)
    recorder.parser.feed_data(bytearray(body))
    one, other = [event[1] for event in recorder.events if event[0] == "on_body"]
    assert one is body and other == body and type(other) is bytes


# -- Exceptions


@pytest.mark.parametrize("failure", [ValueError("x"), MemoryError(), KeyboardInterrupt(), SystemExit(1)], ids=repr)
@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_that_raises(name, failure):
    protocol = failing(name, failure)
    parser, raw = parser_for(name, protocol)
    with pytest.raises(httptools.HttpParserCallbackError, match="callback error") as caught:
        parser.feed_data(raw)
    assert caught.value.__context__ is failure
    assert caught.value.__cause__ is None and not caught.value.__suppress_context__
    assert protocol.calls == 1
    with pytest.raises(httptools.HttpParserCallbackError, match="callback error") as again:
        parser.feed_data(raw)
    assert again.value.__context__ is None
    assert str(again.value) == str(caught.value)
    assert protocol.calls == 1


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_that_raises_in_small_pieces(name):
    failure = LookupError()
    parser, raw = parser_for(name, failing(name, failure))
    with pytest.raises(httptools.HttpParserCallbackError) as caught:
        for at in range(len(raw)):
            parser.feed_data(raw[at : at + 1])
    assert caught.value.__context__ is failure


def test_a_callback_with_the_wrong_arguments():
    class Protocol:
        def on_header(self):
            raise AssertionError

    with pytest.raises(httptools.HttpParserCallbackError) as caught:
        httptools.HttpRequestParser(Protocol()).feed_data(REQUEST)
    assert isinstance(caught.value.__context__, TypeError)


@pytest.mark.parametrize(
    ("kind", "raw", "error"),
    [
        ("HttpRequestParser", b"SPAM / HTTP/1.1\r\n", "HttpParserInvalidMethodError"),
        ("HttpRequestParser", b"GET \x00", "HttpParserInvalidURLError"),
        ("HttpRequestParser", b"GET / HTTP/1.1\r\nA B: c\r\n", "HttpParserError"),
        ("HttpRequestParser", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HttpParserError"),
        ("HttpResponseParser", b"HTTP/1.1 2000 x\r\n", "HttpParserInvalidStatusError"),
    ],
)
def test_bad_messages(kind, raw, error):
    events = recorded(httptools, kind, [raw, raw])
    assert [name for name, *_ in events if name.startswith("Http")] == [error, error]
    assert events[-1] == events[-2]
    assert issubclass(getattr(httptools, error), httptools.HttpParserError)


# -- Called from inside


@pytest.mark.parametrize("name", CALLBACKS)
@pytest.mark.parametrize("call", ["feed_data", "__init__"])
def test_no_callback_can_feed_its_parser(name, call):
    """Refused, and the parser goes on as if nothing had been tried."""
    raw = RESPONSE if name == "on_status" else CHUNKED
    kind = "HttpResponseParser" if name == "on_status" else "HttpRequestParser"
    recorder = Recorder(getattr(httptools, kind), without=[name])
    tried = []

    def inner(*arguments):
        with pytest.raises(RuntimeError, match="while it was running|from one of its callbacks"):
            getattr(recorder.parser, call)(raw)
        tried.append(arguments)

    setattr(recorder, name, inner)
    events, recorder.events = recorded(httptools, kind, [raw], without=[name]), []
    recorder.parser.__init__(recorder)
    recorder.parser.feed_data(raw)
    assert tried and recorder.events == events


def test_the_refusal_is_an_exception_as_any_other():
    class Protocol:
        def on_url(self, url):
            self.parser.feed_data(b"")

    protocol = Protocol()
    protocol.parser = httptools.HttpRequestParser(protocol)
    with pytest.raises(httptools.HttpParserCallbackError) as caught:
        protocol.parser.feed_data(REQUEST)
    assert isinstance(caught.value.__context__, RuntimeError)


def test_a_callback_can_feed_another_parser():
    inner = Recorder(httptools.HttpRequestParser)

    class Protocol:
        def on_body(self, body):
            inner.parser.feed_data(body)

    content = CHUNKED
    raw = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    httptools.HttpRequestParser(Protocol()).feed_data(raw)
    assert inner.events == recorded(httptools, "HttpRequestParser", [content])


def test_a_parser_can_be_started_again():
    recorder = Recorder(httptools.HttpRequestParser)
    recorder.feed(httptools, b"GET / HTTP/1.1\r\nHalf-a-Na")
    recorder.parser.__init__(recorder)
    recorder.events.clear()
    recorder.feed(httptools, REQUEST)
    assert recorder.events == recorded(httptools, "HttpRequestParser", [REQUEST])


def test_subclasses():
    class Other(httptools.HttpRequestParser):
        def __init__(self):
            self.urls = []
            super().__init__(self)

        def on_url(self, url):
            self.urls.append(url)

    class Forgetful(httptools.HttpResponseParser):
        def __init__(self, *arguments):
            pass

    other = Other()
    other.feed_data(REQUEST)
    assert other.urls == [b"/a?b"]
    Forgetful(1, 2).feed_data(REQUEST)


# -- Upgrades


def test_upgrade_offset():
    behind = b"\x81\x05hello"
    raw = UPGRADE + behind
    for start in range(len(UPGRADE)):
        parser = httptools.HttpRequestParser(None)
        parser.feed_data(raw[:start])
        with pytest.raises(httptools.HttpParserUpgrade) as caught:
            parser.feed_data(raw[start:])
        (offset,) = caught.value.args
        assert raw[start:][offset:] == behind
        assert parser.should_upgrade() and parser.get_method() == b"GET"


def test_parser_goes_on_after_an_upgrade():
    recorder = Recorder(httptools.HttpRequestParser)
    for raw in (UPGRADE, b"CONNECT a.example:1 HTTP/1.1\r\nHost: a.example:1\r\n\r\n"):
        recorder.feed(httptools, raw + b"\x00")
        assert recorder.events[-1] == ("HttpParserUpgrade", len(raw))
    recorder.events.clear()
    recorder.feed(httptools, REQUEST)
    assert simple(recorder.events) == simple(recorded(httptools, "HttpRequestParser", [REQUEST]))


# -- Leniencies

REQUEST_LINE = b"GET / HTTP/1.1\r\n"
CHUNKED_HEAD = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
LENIENCIES = {
    "lenient_headers": REQUEST_LINE + b"X: a\x01b\r\n\r\n",
    "lenient_chunked_length": CHUNKED_HEAD + b"Content-Length: 1\r\n\r\n0\r\n\r\n",
    "lenient_keep_alive": REQUEST_LINE + b"Connection: close\r\n\r\n" + REQUEST_LINE + b"\r\n",
    "lenient_transfer_encoding": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\nx",
    "lenient_version": b"GET / HTTP/1.7\r\n\r\n",
    "lenient_data_after_close": REQUEST_LINE + b"Connection: close\r\n\r\n" + REQUEST_LINE,
    "lenient_optional_lf_after_cr": b"GET / HTTP/1.1\rX: y\r\n\r\n",
    "lenient_optional_cr_before_lf": b"GET / HTTP/1.1\r\nX: y\n\r\n",
    "lenient_optional_crlf_after_chunk": CHUNKED_HEAD + b"\r\n1\r\nx0\r\n\r\n",
    "lenient_spaces_after_chunk_size": CHUNKED_HEAD + b"\r\n1 \r\nx\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", LENIENCIES)
def test_leniency(name):
    def is_accepted(**leniencies):
        parser = httptools.HttpRequestParser(None)
        parser.set_dangerous_leniencies(**{name: True} if leniencies.get(name) is False else {})
        parser.set_dangerous_leniencies(**leniencies)
        try:
            parser.feed_data(LENIENCIES[name])
        except httptools.HttpParserError:
            return False
        return True

    assert is_accepted(**{name: True})
    assert not is_accepted()
    assert not is_accepted(**{name: False})
    assert not is_accepted(**{name: None})
    assert not is_accepted(**{other: True for other in LENIENCIES if other not in (name, *ALSO.get(name, ()))})


# What one leniency allows, another does too.
ALSO = {
    "lenient_chunked_length": ["lenient_transfer_encoding"],
    "lenient_transfer_encoding": ["lenient_chunked_length"],
    "lenient_keep_alive": ["lenient_data_after_close"],
    "lenient_data_after_close": ["lenient_keep_alive"],
}


# -- URLs


@pytest.mark.parametrize("text", [b"https://u:p@a.example:8443/b?c#d", b"/a?b", b"*", b"http://[::1]/"])
def test_parse_url(text):
    expected = parse_url_of_ours(text)
    for kind in (bytes, bytearray, memoryview):
        parsed = httptools.parse_url(kind(text))
        assert URL(*(getattr(parsed, name) for name in URL._fields)) == expected
    assert repr(parsed) == repr(expected)


def test_parse_url_refuses():
    for text in (b"", b"a", b"http://a:65536/"):
        with pytest.raises(httptools.HttpParserInvalidURLError, match=re.escape(repr(text))):
            httptools.parse_url(text)
    for value in ("/", None, 1):
        with pytest.raises(TypeError):
            httptools.parse_url(value)
    with pytest.raises(BufferError):
        httptools.parse_url(memoryview(b"//aa")[::2])


def test_longest_url():
    path = b"/" + b"a" * 65534
    assert httptools.parse_url(path).path == path
    for kind in (bytes, bytearray):
        with pytest.raises(httptools.HttpParserInvalidURLError, match="too long: 65536 bytes"):
            httptools.parse_url(kind(path + b"a"))
    events = simple(recorded(httptools, "HttpRequestParser", [b"GET " + path * 2 + b" "]))
    assert events == [("on_message_begin",), ("on_url", path * 2)]
