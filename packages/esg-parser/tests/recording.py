"""Feed a parser with httptools' interface, and note all that it does."""

from __future__ import annotations

from esg_parser import httptools

REQUEST = b"POST /a?b HTTP/1.1\r\nHost: a.example\r\nx-own: 1 \r\nEmpty:\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"PUT /c HTTP/1.1\r\nhost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Trailer: t\r\nVary: *\r\n\r\n"
)
UPGRADE = b"GET /chat HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 Very Well\r\nServer: a\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED_RESPONSE = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nE: f\r\n\r\n"
TO_THE_END = b"HTTP/1.0 404 \r\nContent-Type: text/plain\r\n\r\nnot here"

CALLBACKS = {
    "on_message_begin": 0,
    "on_url": 1,
    "on_status": 1,
    "on_header": 2,
    "on_headers_complete": 0,
    "on_body": 1,
    "on_chunk_header": 0,
    "on_chunk_complete": 0,
    "on_message_complete": 0,
}
"""Each callback and the number of its arguments."""


class Recorder:
    """A protocol that notes every callback, and what the parser says of the message then."""

    def __init__(self, kind, without=()):
        self.events = []
        self.parser = None
        for name in CALLBACKS:
            setattr(self, name, None if name in without else self.noting(name))
        self.parser = kind(self)

    def noting(self, name):
        def note(*arguments):
            self.events.append((name, *arguments, *self.facts()))

        return note

    def facts(self):
        parser = self.parser
        about = parser.get_method if hasattr(parser, "get_method") else parser.get_status_code
        return (about(), parser.get_http_version(), parser.should_keep_alive(), parser.should_upgrade())

    def feed(self, module, data):
        """Feed it, and note an error or an upgrade as if it were a callback."""
        try:
            self.parser.feed_data(data)
        except module.HttpParserError as error:
            self.events.append((type(error).__name__, str(error), repr(error.__context__)))
        except module.HttpParserUpgrade as upgrade:
            self.events.append(("HttpParserUpgrade", *upgrade.args))


def recorded(module, kind, pieces, leniencies=None, without=(), lent=False):
    """Everything that happens when these pieces are fed, also behind an error.

    With ``lent`` each comes in a buffer that holds something else afterwards, as that of a server may.
    """
    recorder = Recorder(getattr(module, kind), without)
    recorder.parser.set_dangerous_leniencies(**(leniencies or {}))
    for piece in pieces:
        data = bytearray(piece) if lent else piece
        recorder.feed(module, data)
        if lent:
            data[:] = b"?" * len(data)
    return recorder.events


def simple(events):
    """The events without what the parser said of the message."""
    return [event[: 1 + CALLBACKS.get(event[0], len(event))] for event in events]


def joined(events):
    """The events with the pieces of a target, a reason phrase or a body put together."""
    together = []
    for name, *arguments in simple(events):
        if together and together[-1][0] == name and name in ("on_url", "on_status", "on_body"):
            together[-1] = (name, together[-1][1] + arguments[0])
        else:
            together.append((name, *arguments))
    return together


def failing(name, failure):
    class Protocol:
        calls = 0

    def fail(self, *arguments):
        self.calls += 1
        raise failure

    setattr(Protocol, name, fail)
    return Protocol()


def parser_for(name, protocol):
    """A parser, and bytes that make it call that callback."""
    if name == "on_status":
        return httptools.HttpResponseParser(protocol), RESPONSE
    return httptools.HttpRequestParser(protocol), CHUNKED
