"""Each library driven as its documentation says, up to the same usable request. A new one is one entry in LIBRARIES.

A driver is made once, as a server makes it for a connection, and is then given message after message. What it does in
Python is what any user of the library would have to do; nothing is left out that only some libraries do by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

Reads = Sequence[bytes]
Driver = Callable[[Reads], tuple[Any, ...]]  # the reads of a message, to what an application can use


def decoded(path: bytes) -> str:
    text = path.decode("ascii")
    return unquote(text) if "%" in text else text


def esg(library: Any) -> Driver:
    parser = library.RequestParser()
    feed, pending, end = parser.feed, parser.pending, library.END

    def message(reads: Reads) -> tuple[Any, ...]:
        head: Any = None
        body: list[bytes] = []
        for data in reads:
            for event in feed(data):
                if event is end:
                    if pending():
                        raise ValueError("more than one message")
                    return head, body  # the head is all of it, as a tuple with names
                if type(event) is bytes:
                    body.append(event)
                else:
                    head = event
        raise ValueError("not one whole message")

    return message


class HttptoolsProtocol:
    """The callbacks of httptools, which are those that uvicorn has."""

    def __init__(self, library: Any) -> None:
        self.parser = library.HttpRequestParser(self)
        self.parse_url = library.parse_url
        self.begin()

    def begin(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        url = self.parse_url(self.url)
        self.method = self.parser.get_method().decode("ascii")
        self.path = decoded(url.path)
        self.query = url.query or b""

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.request = self.method, self.path, self.query, self.headers, self.body
        self.begin()

    def message(self, reads: Reads) -> tuple[Any, ...]:
        for data in reads:
            self.parser.feed_data(data)
        request = self.request
        del self.request  # whoever asks for one that is not complete gets an error
        return request


class H1CReader:
    """The callbacks of gunicorn_h1c. Its list of fields is faster than a call for every field."""

    def __init__(self, library: Any) -> None:
        self.body: list[bytes] = []
        self.parser = library.H1CProtocol(on_headers_complete=self.on_headers_complete, on_body=self.on_body)

    def on_headers_complete(self) -> bool:
        parser = self.parser
        path, _, self.query = parser.path.partition(b"?")
        self.method = parser.method.decode("ascii")
        self.path = decoded(path)
        self.headers = [(name.lower(), value) for name, value in parser.headers]
        return False  # do not skip the body

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def message(self, reads: Reads) -> tuple[Any, ...]:
        parser = self.parser
        for data in reads:
            parser.feed(data)
        if not parser.is_complete or parser.remaining():
            raise ValueError("not one whole message")
        body, self.body = self.body, []
        parser.reset()
        return self.method, self.path, self.query, self.headers, body


def zttp(library: Any) -> Driver:
    connection = library.Connection(library.SERVER)
    receive, following = connection.receive_event, connection.next_event
    need_data, data_event, end_event = library.NEED_DATA, library.Data, library.EndOfMessage

    def message(reads: Reads) -> tuple[Any, ...]:
        body: list[bytes] = []
        whole = False
        for data in reads:
            event = receive(data)
            while event is not need_data:
                kind = type(event)
                if kind is data_event:
                    body.append(event.data)
                elif kind is end_event:
                    whole = True
                    break
                else:
                    request = event
                    if event.end_stream:
                        whole = True
                        break
                event = following()
        if not whole:
            raise ValueError("not one whole message")
        connection.start_next_cycle()
        headers = request.headers.to_list(lowercase_names=True)
        return request.method.decode("ascii"), decoded(request.path), request.query, headers, body

    return message


def h11(library: Any) -> Driver:
    need_data, request_event, data_event, end_event = (
        library.NEED_DATA, library.Request, library.Data, library.EndOfMessage
    )  # fmt: skip

    def message(reads: Reads) -> tuple[Any, ...]:
        # It takes up the next message only when the answer has been sent through it, which costs more than a new one.
        connection = library.Connection(library.SERVER)
        body: list[bytes] = []
        for data in reads:
            connection.receive_data(data)
            event = connection.next_event()
            while event is not need_data:
                kind = type(event)
                if kind is data_event:
                    body.append(bytes(event.data))
                elif kind is request_event:
                    path, _, query = event.target.partition(b"?")
                    method, headers = event.method.decode("ascii"), list(event.headers)
                elif kind is end_event:
                    return method, decoded(path), query, headers, body
                event = connection.next_event()
        raise ValueError("not one whole message")

    return message


def as_it_is(made: tuple[Any, ...]) -> tuple[Any, ...]:
    return made


def of_head(made: tuple[Any, ...]) -> tuple[Any, ...]:
    head, body = made
    return head.method, head.path, head.query_string, head.headers, body


@dataclass(frozen=True)
class Library:
    """A library, how it is driven, and the goal that ESG has against it."""

    name: str  # of the module
    distribution: str
    driver: Callable[[Any], Driver]
    copies: str  # what it copies of a body
    goal: float = 0.0  # how many times the speed of this one
    strict: bool = False  # more than that, not just as much
    usable: Callable[[tuple[Any, ...]], tuple[Any, ...]] = (
        as_it_is  # what inputs.Usable names, to be checked, not timed
    )

    def is_met(self, ratio: float) -> bool:
        return ratio > self.goal if self.strict else ratio >= self.goal


LIBRARIES = (
    Library(
        "esg_parser", "esg-parser", esg,
        "a read that is all body comes back itself, without a copy; of any other read the body is copied once, all "
        "chunks into one object",
        usable=of_head,
    ),
    Library("httptools", "httptools", lambda library: HttptoolsProtocol(library).message,
            "every piece is copied once, one object and one call for each chunk", 2.5),
    Library("gunicorn_h1c", "gunicorn_h1c", lambda library: H1CReader(library).message,
            "every piece is copied once, one object and one call for each chunk; a chunked read is first copied into "
            "its buffer, of which the rest is moved down after each line and each chunk", 1.5),
    Library("zttp", "zttp", zttp,
            "a large read that is all body comes back itself, without a copy; otherwise a read is copied into its "
            "buffer and each chunk out of it", 1.0, strict=True),
    Library("h11", "h11", h11,
            "a read is copied into its buffer, each chunk out of it as a bytearray, and that into bytes", 15.0),
)  # fmt: skip
