"""esg_parser.httptools: the buffers it is fed from, and that nothing is leaked or kept."""

from __future__ import annotations

import gc
import sys
import weakref
from array import array

import pytest
from esg_parser import httptools

from .recording import CALLBACKS, CHUNKED, REQUEST, UPGRADE, Recorder, failing, parser_for, recorded
from .test_memory import assert_flat

# -- Buffers


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda raw: array("B", raw)])
def test_any_buffer(kind):
    assert recorded(httptools, "HttpRequestParser", [kind(REQUEST)]) == recorded(
        httptools, "HttpRequestParser", [REQUEST]
    )


def test_what_is_no_buffer():
    recorder = Recorder(httptools.HttpRequestParser)
    released = memoryview(b"GET")
    released.release()
    for data, error in [("GET", TypeError), (None, TypeError), (released, ValueError)]:
        with pytest.raises(error):
            recorder.parser.feed_data(data)
    with pytest.raises(BufferError):
        recorder.parser.feed_data(memoryview(b"GGEETT")[::2])
    recorder.feed(httptools, REQUEST)
    assert recorder.events == recorded(httptools, "HttpRequestParser", [REQUEST])


@pytest.mark.parametrize("raw", [REQUEST, UPGRADE, b"\x00"])
def test_a_buffer_is_held_only_while_it_is_parsed(raw):
    class Protocol:
        def on_url(self, url):
            with pytest.raises(BufferError):
                data.clear()

    data = bytearray(raw)
    count = sys.getrefcount(data)
    recorder = Recorder(httptools.HttpRequestParser)
    recorder.on_url = Protocol().on_url
    recorder.parser.__init__(recorder)
    recorder.feed(httptools, data)
    assert sys.getrefcount(data) == count
    data.clear()


# -- Memory


def test_parser_and_protocol_are_collected():
    for kind in (httptools.HttpRequestParser, httptools.HttpResponseParser):
        recorder = Recorder(kind)
        recorder.feed(httptools, REQUEST[:30])
        reference = weakref.ref(recorder)
        del recorder
        gc.collect()
        assert reference() is None


def test_memory_is_flat():
    def work(times):
        for _ in range(times // 20):
            parser = httptools.HttpRequestParser(Silent())
            for raw in (REQUEST, CHUNKED):
                parser.feed_data(raw)
                for at in range(0, len(raw), 9):
                    parser.feed_data(raw[at : at + 9])
            with pytest.raises(httptools.HttpParserUpgrade):
                parser.feed_data(UPGRADE)
            parser.feed_data(b"GET / HTTP/1.1\r\nX-Not-Whole: " + b"y" * 10_000)  # dropped with its parser

    assert_flat(work, 40_000)


def test_memory_is_flat_when_callbacks_raise():
    def work(times):
        for _ in range(times // len(CALLBACKS)):
            for name in CALLBACKS:
                parser, raw = parser_for(name, failing(name, ValueError()))
                with pytest.raises(httptools.HttpParserCallbackError):
                    for at in range(0, len(raw), 40):
                        parser.feed_data(raw[at : at + 40])

    assert_flat(work, 9_000)


class Silent:
    def on_header(self, name, value):
        pass

    def on_body(self, body):
        pass


@pytest.mark.parametrize("at", range(1, len(CHUNKED)))
def test_memory_that_runs_out(at):
    """Each allocation fails once: it is as if a callback had raised, and nothing comes behind it."""
    _testcapi = pytest.importorskip("_testcapi")
    failures = 0
    for allocation in range(12):
        parser = httptools.HttpRequestParser(Silent())
        feed, pieces = parser.feed_data, (CHUNKED[:at], CHUNKED[at:])
        error = None
        _testcapi.set_nomemory(allocation, allocation + 1)
        try:
            feed(pieces[0])
            feed(pieces[1])
        except httptools.HttpParserError as raised:
            error = raised
        finally:
            _testcapi.remove_mem_hooks()
        if error is not None:
            failures += 1
            assert type(error) is httptools.HttpParserCallbackError and type(error.__context__) is MemoryError
            with pytest.raises(httptools.HttpParserError):
                feed(CHUNKED)
    assert failures


def test_counts_of_shared_objects():
    """Names and methods are shared by all messages; a count that drifts ends in a crash."""
    parser = httptools.HttpRequestParser(Silent())
    parser.feed_data(CHUNKED)
    headers = [event for event in recorded(httptools, "HttpRequestParser", [CHUNKED]) if event[0] == "on_header"]
    shared = [parser.get_method(), *(name for _, name, *_ in headers)]
    before = [sys.getrefcount(item) for item in shared]
    for _ in range(5000):
        parser.feed_data(CHUNKED)
        parser.get_method()
    after = [sys.getrefcount(item) for item in shared]
    assert all(abs(new - old) < 100 for old, new in zip(before, after, strict=True))
