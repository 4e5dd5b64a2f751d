"""Nothing crashes a parser or confuses it: calls out of turn, from anywhere, and a want of memory."""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib.util
import json
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from esg_parser import END, ParserError, RequestParser, ResponseParser
from esg_parser import parser as parser_module

from .feeding import NEXT, NEXT_RESPONSE, feed, parser_for, request

HOST = "Host: a.example"
GET = request("GET / HTTP/1.1", HOST)
SWITCH = request("HTTP/1.1 101 Go", "Connection: upgrade", "Upgrade: x")
BUSY = "feed was called after an error, or while it was running"
NO_MEMORY = Path(__file__).with_name("no_memory.py")


def with_address(group):
    """A request whose Host takes Python code to check, in ipaddress: other code may run in the middle of feed."""
    return request(f"GET /{group} HTTP/1.1", f"Host: [::{group:x}]")


@pytest.fixture
def inside(monkeypatch):
    """Set what is done in the middle of a feed of ``with_address``."""
    original = parser_module.IPv6Address

    def set_action(action):
        def check(text):
            action()
            return original(text)

        monkeypatch.setattr(parser_module, "IPv6Address", check)

    return set_action


# -- Calls in the middle of a call ---------------------------------------------------------------------------


def test_feed_in_the_middle_of_feed(inside):
    parser = RequestParser()
    refused = []

    def feed_again():
        with pytest.raises(RuntimeError) as caught:
            parser.feed(NEXT)
        refused.append(str(caught.value))

    inside(feed_again)
    head, end = parser.feed(with_address(1) + GET)
    assert refused == [BUSY]
    assert (head.path, end, parser.trailing_data) == ("/1", END, GET)
    assert parser.feed(b"")[0].path == "/"


def test_everything_else_in_the_middle_of_feed(inside):
    parser = RequestParser()
    seen = []
    inside(lambda: seen.append((parser.close(), parser.trailing_data, parser.pending())))
    head, end = parser.feed(with_address(2) + GET)
    assert seen == [([], b"", False)]
    assert (head.path, end, parser.trailing_data) == ("/2", END, GET)


def test_feed_from_another_thread_in_the_middle_of_feed(inside):
    parser = RequestParser()
    refused = []

    def feed_there():
        with pytest.raises(RuntimeError) as caught:
            parser.feed(NEXT)
        refused.append(str(caught.value))

    def run_thread():
        thread = threading.Thread(target=feed_there)
        thread.start()
        thread.join()

    inside(run_thread)
    assert parser.feed(with_address(3))[0].path == "/3"
    assert refused == [BUSY]


def test_an_error_in_the_middle_of_feed_is_raised(inside):
    """Whatever Python code raises there, it is no bad Host."""
    parser = RequestParser()

    def interrupt():
        raise KeyboardInterrupt

    inside(interrupt)
    with pytest.raises(KeyboardInterrupt):
        parser.feed(with_address(4))
    with pytest.raises(RuntimeError, match=BUSY):
        parser.feed(GET)


@pytest.mark.parametrize("make", [RequestParser, ResponseParser])
def test_feed_while_an_error_is_made(make, monkeypatch):
    """An error is a Python class, and its ``__init__`` runs before feed is over."""
    parser = make()
    refused = []

    class Calling(parser_module.MalformedMessage):
        def __init__(self, *args):
            with pytest.raises(RuntimeError, match=BUSY):
                parser.feed(NEXT)
            refused.append(parser.close())
            super().__init__(*args)

    monkeypatch.setattr(parser_module, "MalformedMessage", Calling)
    with pytest.raises(ParserError):
        parser.feed(b"\x00")
    assert refused == [[]]


def buffer_that(action, raw):
    """An object that gives these bytes, and acts when it is asked for them (PEP 688)."""

    class Buffer:
        def __buffer__(self, flags):
            action()
            return memoryview(raw)

    return Buffer()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="PEP 688 is of Python 3.12")
class TestBuffer:
    def test_that_feeds(self):
        """It is asked before anything is parsed, so what it feeds comes first."""
        parser = RequestParser()
        inner = []
        outer = parser.feed(buffer_that(lambda: inner.extend(parser.feed(NEXT)), GET))
        assert [inner[0].path, outer[0].path] == ["/next", "/"]

    def test_that_feeds_half_a_message(self):
        parser = RequestParser()
        events = parser.feed(buffer_that(lambda: parser.feed(GET[:9]), GET[9:]))
        assert events[0].path == "/" and events[1] is END

    def test_that_leaves_trailing_data(self):
        parser = RequestParser()
        events = parser.feed(buffer_that(lambda: parser.feed(GET + NEXT[:9]), NEXT[9:]))
        assert events[0].path == "/next" and events[1] is END

    @pytest.mark.parametrize(
        ("make", "raw", "words"),
        [
            (RequestParser, b"\x00", "after an error"),
            (ResponseParser, b"\x00", "after an error"),
            (ResponseParser, SWITCH, "after the connection was given to another protocol"),
        ],
    )
    def test_that_stops_the_parser(self, make, raw, words):
        parser = make()

        def stop():
            with contextlib.suppress(ParserError):
                parser.feed(raw)

        with pytest.raises(RuntimeError, match=words):
            parser.feed(buffer_that(stop, NEXT_RESPONSE))

    def test_that_closes(self):
        parser = ResponseParser()
        parser.feed(b"HTTP/1.1 200 OK\r\n\r\n")
        with pytest.raises(RuntimeError, match="after the end of the input"):
            parser.feed(buffer_that(lambda: parser.close(), b"x"))

    def test_that_fails(self):
        parser = RequestParser()
        with pytest.raises(ZeroDivisionError):
            parser.feed(buffer_that(lambda: 1 / 0, GET))
        assert parser.feed(GET)[0].path == "/"

    def test_that_lets_another_thread_feed(self):
        parser = RequestParser()
        events = []

        def run_thread():
            thread = threading.Thread(target=lambda: events.append(parser.feed(NEXT)))
            thread.start()
            thread.join()

        events.append(parser.feed(buffer_that(run_thread, GET)))
        assert [head.path for head, _ in events] == ["/next", "/"]


# -- The garbage collector -----------------------------------------------------------------------------------


@pytest.fixture
def collect_always():
    """The collector runs as often as it can, and calls what it is given."""
    threshold = gc.get_threshold()
    callbacks = []

    def start(callback):
        callbacks.append(callback)
        gc.callbacks.append(callback)
        gc.set_threshold(1, 1, 1)

    yield start
    gc.set_threshold(*threshold)
    for callback in callbacks:
        gc.callbacks.remove(callback)


class Cycle:
    """Garbage that acts when it is collected."""

    def __init__(self, action):
        self.itself = self
        self.action = action

    def __del__(self):
        self.action()


def test_feed_from_the_collector(collect_always):
    """Every call either works between two of ours, or is refused in the middle of one."""
    parser = RequestParser()
    calls = {"worked": 0, "refused": 0}

    def feed_nothing():
        try:
            assert parser.feed(b"") == []
            calls["worked"] += 1
        except RuntimeError as error:
            assert str(error) == BUSY
            calls["refused"] += 1

    collect_always(lambda phase, info: feed_nothing())
    for i in range(200):
        Cycle(feed_nothing)
        head, end = parser.feed(with_address(i))
        assert head.path == f"/{i}" and end is END
    assert calls["worked"] and calls["refused"]


def test_feed_from_the_collector_while_errors_are_made(collect_always):
    parsers = [RequestParser(), ResponseParser()]

    def feed_all(phase, info):
        for parser in parsers:
            try:
                parser.feed(b"")
            except RuntimeError:
                continue

    collect_always(feed_all)
    for _ in range(100):
        parsers = [RequestParser(), ResponseParser()]
        for parser in parsers:
            with pytest.raises(ParserError):
                parser.feed(b"\x00")


# -- Threads -------------------------------------------------------------------------------------------------


@pytest.fixture
def switch_often():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def in_threads(work, count=4):
    """Let all begin together; raise what any of them raised."""
    barrier = threading.Barrier(count)
    errors = []

    def run(number):
        try:
            barrier.wait()
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_one_parser_in_several_threads(switch_often):
    """Each feeds whole requests: it gets its own back, or is told that another one is at it."""
    parser = RequestParser()
    worked = [0] * 4

    def work(number):
        for i in range(500):
            group = number * 500 + i
            try:
                head, end = parser.feed(with_address(group))
            except RuntimeError as error:
                assert str(error) == BUSY
            else:
                assert head.path == f"/{group}" and end is END
                worked[number] += 1

    in_threads(work)
    assert sum(worked)


def test_one_parser_of_bad_messages_in_several_threads(switch_often):
    for make in (RequestParser, ResponseParser):
        for _ in range(50):
            parser = make()
            kinds = []

            def work(number, parser=parser, kinds=kinds):
                try:
                    parser.feed(b"\x00")
                except (ParserError, RuntimeError) as error:
                    kinds.append(isinstance(error, ParserError))

            in_threads(work)
            assert sorted(kinds) == [False, False, False, True]


@pytest.mark.parametrize(("answers", "raw"), [(None, NEXT), ("GET", NEXT_RESPONSE)])
def test_a_parser_for_each_thread(switch_often, answers, raw):
    expected = list(feed(parser_for(answers), raw * 20))

    def work(number):
        parser = parser_for(answers)
        for _ in range(20):
            assert list(feed(parser, raw * 20)) == expected

    in_threads(work)


# -- Things that nobody should do ----------------------------------------------------------------------------


@pytest.mark.parametrize("make", [RequestParser, ResponseParser])
@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_parser_is_not_copied(make, way):
    with pytest.raises(TypeError):
        way(make())


@pytest.mark.parametrize("make", [RequestParser, ResponseParser])
def test_init_again(make):
    parser = make()
    parser.feed(NEXT[:5] if make is RequestParser else NEXT_RESPONSE[:5])
    parser.__init__()
    rest = NEXT[5:] if make is RequestParser else NEXT_RESPONSE[5:]
    assert parser.feed(rest)[-1] is END


def test_the_base_is_of_no_use():
    base = parser_module.MessageParser()
    assert base.trailing_data == b"" and not hasattr(base, "feed")


@pytest.mark.parametrize("make", [RequestParser, ResponseParser])
def test_a_subclass(make):
    class Own(make):
        pass

    parser = Own(max_headers=5)
    parser.seen = parser.feed(NEXT if make is RequestParser else NEXT_RESPONSE)  # a cycle, when it is kept
    assert parser.seen[-1] is END


# -- A want of memory ----------------------------------------------------------------------------------------


def test_every_allocation_may_fail():
    """no_memory.py says what each run must end in; a crash is the end of that process, not of this one."""
    if importlib.util.find_spec("_testcapi") is None:
        pytest.skip("NOT TESTED: this Python has no _testcapi, so no allocation can be made to fail")
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "error", str(NO_MEMORY)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert result["unraisable"] == []
    assert all(failures for failures, _ in result["counts"].values())
    assert sum(failures for failures, _ in result["counts"].values()) > 1000
    assert result["blocks"] < 500 and result["bytes"] < 100_000
