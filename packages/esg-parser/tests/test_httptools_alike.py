"""The same bytes given to httptools 0.9.0 and to esg_parser.httptools: the same callbacks, and the same errors.

Compared are every callback with its arguments, what the parser says of the message in it, and the type, the text and
the context of every error, also for what is fed behind an error.
"""

from __future__ import annotations

import random

import pytest
from esg_parser import httptools as ours

from .random_messages import cut, given, mutate, requests, settings, st, versions
from .random_messages import fields as random_fields
from .recording import CALLBACKS, CHUNKED, REQUEST, RESPONSE, UPGRADE, Recorder, failing, recorded

theirs = pytest.importorskip(
    "httptools", reason="HTTPTOOLS IS NOT INSTALLED, so nothing was compared with it: pip install httptools==0.9.0"
)
if theirs.__version__ != ours.__version__:
    pytest.skip(f"THIS IS HTTPTOOLS {theirs.__version__}, so nothing was compared", allow_module_level=True)

LENIENCIES = [
    "lenient_headers",
    "lenient_chunked_length",
    "lenient_keep_alive",
    "lenient_transfer_encoding",
    "lenient_version",
    "lenient_data_after_close",
    "lenient_optional_lf_after_cr",
    "lenient_optional_cr_before_lf",
    "lenient_optional_crlf_after_chunk",
    "lenient_spaces_after_chunk_size",
]
KINDS = ["HttpRequestParser", "HttpResponseParser"]
ENDINGS = [
    (b"", b""),
    (b"Content-Length: 0\r\n", b""),
    (b"content-length: 5\r\n", b"hello"),
    (b"Connection: close\r\n", b"to the end"),
    (b"Connection: Upgrade\r\nUPGRADE: websocket\r\n", b"\x81\x05hello"),
    (b"Transfer-Encoding: chunked\r\n", b"5;a=b\r\nhello\r\n0\r\n\r\n"),
    (b"transfer-encoding: chunked\r\nConnection: keep-alive\r\n", b"1\r\nx\r\n0\r\nTrailer-One: 1\r\nVary: *\r\n\r\n"),
    (b"Transfer-Encoding: gzip\r\n", b"abc"),
]

leniencies = st.dictionaries(st.sampled_from(LENIENCIES), st.booleans(), max_size=4)


@st.composite
def responses(draw):
    """The bytes of a response, mostly a good one."""
    status = draw(st.sampled_from([100, 101, 103, 200, 204, 206, 301, 304, 404, 500, 999]))
    phrase = draw(st.sampled_from([b"", b"OK", b"Very  Well", b"\xe9t\xe9"]))
    ending, content = draw(st.sampled_from(ENDINGS))
    sent = [name + b":" + before + value + behind for name, before, value, behind in draw(random_fields)]
    head = b"HTTP/%b %d %b\r\n" % (draw(versions), status, phrase)
    return head + b"".join(line + b"\r\n" for line in sent) + ending + b"\r\n" + content


@st.composite
def upgrades(draw):
    method, target = draw(st.sampled_from([(b"GET", b"/chat"), (b"CONNECT", b"a.example:443"), (b"POST", b"/")]))
    ending, content = draw(st.sampled_from(ENDINGS))
    return method + b" " + target + b" HTTP/1.1\r\nHost: a.example\r\n" + ending + b"\r\n" + content


def assert_alike(kind, pieces, allowed=None, without=()):
    same = recorded(theirs, kind, pieces, allowed, without)
    for lent in (False, True):
        assert recorded(ours, kind, pieces, allowed, without, lent) == same, (kind, pieces, allowed, lent)


@settings
@given(st.data(), st.lists(requests().map(lambda sent: sent[0]) | upgrades(), min_size=1, max_size=4), leniencies)
def test_requests(data, sent, allowed):
    assert_alike("HttpRequestParser", data.draw(cut(b"".join(sent))), allowed)


@settings
@given(st.data(), st.lists(responses(), min_size=1, max_size=3), leniencies)
def test_responses(data, sent, allowed):
    assert_alike("HttpResponseParser", data.draw(cut(b"".join(sent))), allowed)


@settings
@given(st.data(), st.sets(st.sampled_from(sorted(CALLBACKS))), st.sampled_from(KINDS))
def test_protocols_without_some(data, without, kind):
    sent = requests().map(lambda sent: sent[0]) | upgrades() if kind == KINDS[0] else responses()
    assert_alike(kind, data.draw(sent.flatmap(cut)), without=without)


@settings
@given(st.sampled_from(KINDS), st.lists(st.binary(max_size=30), max_size=4), leniencies)
def test_any_bytes(kind, pieces, allowed):
    assert_alike(kind, pieces, allowed)


def test_changed_messages():
    """Messages with bytes changed, whole, byte by byte and cut in two."""
    chance = random.Random(9112)
    heads = [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 Switching\r\n", b"HTTP/1.0 404 Not Found\r\n"]
    good = [
        [b"POST / HTTP/1.1\r\n" + ending + b"\r\n" + content for ending, content in ENDINGS] + [CHUNKED],
        [chance.choice(heads) + ending + b"\r\n" + content for ending, content in ENDINGS] + [RESPONSE],
    ]
    for _ in range(8000):
        at = chance.randrange(2)
        # The cases of cases/*.md are requests, and come in by the changes.
        raw = mutate(chance, b"".join(chance.choices(good[at], k=2)))
        allowed = {name: True for name in LENIENCIES if chance.random() < 0.15}
        middle = chance.randrange(len(raw) + 1)
        assert_alike(KINDS[at], [raw], allowed)
        assert_alike(KINDS[at], [raw[:middle], b"", raw[middle:]], allowed)
        assert_alike(KINDS[at], [raw[i : i + 1] for i in range(len(raw))], allowed)


@pytest.mark.parametrize("failure", [ValueError("x"), KeyboardInterrupt(), MemoryError()], ids=repr)
@pytest.mark.parametrize("name", CALLBACKS)
@pytest.mark.parametrize(("kind", "raw"), [(KINDS[0], CHUNKED), (KINDS[0], UPGRADE), (KINDS[1], RESPONSE)])
def test_callbacks_that_raise(kind, raw, name, failure):
    """Also which callbacks come before and behind, and what is said for what is fed then."""
    for size in (len(raw), 1, 7):
        pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
        assert raising(ours, kind, pieces, name, failure) == raising(theirs, kind, pieces, name, failure)


def raising(module, kind, pieces, name, failure):
    recorder = Recorder(getattr(module, kind))
    setattr(recorder, name, getattr(failing(name, failure), name))
    recorder.parser.__init__(recorder)
    for piece in [*pieces, REQUEST]:
        recorder.feed(module, piece)
    return recorder.events


@settings
@given(
    st.binary(max_size=30)
    | st.from_regex(
        rb"([a-z]{1,5}://)?([a-z:]{1,5}@)?[a-z.\[\]:0-9]{0,12}(:[0-9]{1,6})?(/[!-~]{0,20})?", fullmatch=True
    )
)
def test_urls(text):
    assert url_of(ours, text) == url_of(theirs, text)


def url_of(module, text):
    try:
        url = module.parse_url(text)
    except module.HttpParserInvalidURLError as error:
        return type(error).__name__, str(error)
    return [getattr(url, name) for name in ("schema", "host", "port", "path", "query", "fragment", "userinfo")]


def test_every_public_name():
    for module in (theirs, theirs.parser, theirs.parser.errors, theirs.parser.protocol):
        names = [name for name in vars(module) if not name.startswith("_") and name != "Protocol"]
        assert [name for name in names if not hasattr(ours, name)] == []
    for name in ("HttpRequestParser", "HttpResponseParser", "HTTPProtocol"):
        public = [member for member in dir(getattr(theirs, name)) if not member.startswith("_")]
        assert [member for member in public if not hasattr(getattr(ours, name), member)] == []
    assert set(ours.__all__) == set(theirs.__all__)


@pytest.mark.parametrize("name", [name for name in ours.__all__ if name.startswith("HttpParser")])
def test_errors_are_of_the_same_kinds(name):
    assert [kind.__name__ for kind in getattr(ours, name).__mro__] == [
        kind.__name__ for kind in getattr(theirs, name).__mro__
    ]
