"""The interface of httptools 0.9: parsers that call the methods of a protocol object, on llhttp.

Unlike ``RequestParser`` they hand everything on as it was sent, hold to no limits, and judge by llhttp's rules alone.
"""

from types import ModuleType
from typing import Protocol

from typing_extensions import Buffer, disjoint_base

__version__: str
"""That of httptools, whose interface this is."""
parser: ModuleType
"""This module; so are the names of httptools' other modules."""
errors: ModuleType
protocol: ModuleType
url_parser: ModuleType

__all__ = [
    "HTTPProtocol",
    "HttpParserCallbackError",
    "HttpParserError",
    "HttpParserInvalidMethodError",
    "HttpParserInvalidStatusError",
    "HttpParserInvalidURLError",
    "HttpParserUpgrade",
    "HttpRequestParser",
    "HttpResponseParser",
    "__version__",
    "parse_url",
    "parser",
]

class HttpParserError(Exception):
    """The bytes are not a message that llhttp accepts."""

class HttpParserCallbackError(HttpParserError):
    """A callback raised; what it raised is the ``__context__``."""

class HttpParserInvalidStatusError(HttpParserError):
    """The status code of a response is none."""

class HttpParserInvalidMethodError(HttpParserError):
    """The method of a request is unknown."""

class HttpParserInvalidURLError(HttpParserError):
    """The target of a request or the argument of parse_url is no URL, or a longer one than can be parsed."""

class HttpParserUpgrade(Exception):
    """Another protocol follows, from the offset that is the argument."""

class HTTPProtocol(Protocol):
    """What a parser calls. An object may leave any of these out, or have None there."""

    def on_message_begin(self) -> None:
        """A message begins."""
    def on_url(self, url: bytes) -> None:
        """The target of a request, or a piece of it when it came in several reads."""
    def on_status(self, status: bytes) -> None:
        """The reason phrase of a response, or a piece of it when it came in several reads."""
    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field or a trailer, whole, as it was sent but for whitespace before the value.

        It comes once the next field or the end of the head has begun.
        """
    def on_headers_complete(self) -> None:
        """The head is whole."""
    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
    def on_chunk_header(self) -> None:
        """The line before a chunk is whole, also that of the last chunk, which is empty."""
    def on_chunk_complete(self) -> None:
        """A chunk is whole; the last one with the trailers behind it."""
    def on_message_complete(self) -> None:
        """The message is whole."""

@disjoint_base
class _HttpParser:
    def set_dangerous_leniencies(
        self,
        lenient_headers: bool | None = None,
        lenient_chunked_length: bool | None = None,
        lenient_keep_alive: bool | None = None,
        lenient_transfer_encoding: bool | None = None,
        lenient_version: bool | None = None,
        lenient_data_after_close: bool | None = None,
        lenient_optional_lf_after_cr: bool | None = None,
        lenient_optional_cr_before_lf: bool | None = None,
        lenient_optional_crlf_after_chunk: bool | None = None,
        lenient_spaces_after_chunk_size: bool | None = None,
    ) -> None:
        """Switch rules of llhttp off (True) or on again (False); None leaves one as it is.

        Each lets something through that another recipient may read in another way, which is what request smuggling
        (RFC 9112 section 11.2) lives on.
        """
    def get_http_version(self) -> str:
        """Return the version of the message, for example ``"1.1"``."""
    def should_keep_alive(self) -> bool:
        """Return whether another message may follow on the connection (RFC 9112 section 9.3).

        It is known from ``on_headers_complete`` up to ``on_message_complete``.
        """
    def should_upgrade(self) -> bool:
        """Return whether another protocol is asked for or begins: by Upgrade or CONNECT.

        It is known from ``on_headers_complete`` on.
        """
    def feed_data(self, data: Buffer) -> None:
        """Parse what was read, and call the protocol's methods.

        Args:
            data: the bytes of one read, in any object that has them in one piece. An object that could change its
                size, as a bytearray can, cannot do so before this returns.

        Raises:
            HttpParserUpgrade: a message that asks for another protocol is whole. The argument is the offset in
                ``data`` of what follows it; the parser has not looked at that, and can go on with another message.
            HttpParserCallbackError: a method raised, whatever it was. Its exception is the ``__context__``.
            HttpParserInvalidMethodError, HttpParserInvalidStatusError, HttpParserInvalidURLError, HttpParserError:
                the message is bad.
            RuntimeError: one of the parser's own callbacks calls this, or another thread while it runs.
            TypeError: ``data`` is not bytes-like. The parser can go on.
            BufferError, ValueError: its bytes are not in one piece, or it is a memoryview that was released. The
                parser can go on.

            After the errors that are a HttpParserError it raises the same again, but without the context.
        """

class HttpRequestParser(_HttpParser):
    """Reads the requests of one connection.

    Args:
        protocol: an object with the methods of ``HTTPProtocol``, or some of them. They are looked up once, here.
    """

    def __init__(self, protocol: HTTPProtocol | object) -> None: ...
    def get_method(self) -> bytes:
        """Return the method of the request; it is known from ``on_url`` on."""

class HttpResponseParser(_HttpParser):
    """Reads the responses of one connection.

    It is not told of the requests, and so waits for a body behind the response to a HEAD.

    Args:
        protocol: an object with the methods of ``HTTPProtocol``, or some of them. They are looked up once, here.
    """

    def __init__(self, protocol: HTTPProtocol | object) -> None: ...
    def get_status_code(self) -> int:
        """Return the status code of the response; it is known from ``on_status`` on."""

@disjoint_base
class URL:
    """The parts of a URL as sent, like ``esg_parser.URL``, but as attributes alone."""

    @property
    def schema(self) -> bytes | None: ...
    @property
    def host(self) -> bytes | None: ...
    @property
    def port(self) -> int | None: ...
    @property
    def path(self) -> bytes | None: ...
    @property
    def query(self) -> bytes | None: ...
    @property
    def fragment(self) -> bytes | None: ...
    @property
    def userinfo(self) -> bytes | None: ...

def parse_url(url: Buffer) -> URL:
    """Cut a URL into its parts, as ``esg_parser.parse_url`` does.

    Args:
        url: at most 65535 bytes, in any object that has them in one piece.

    Raises:
        HttpParserInvalidURLError: it is not a URL, or too long.
        TypeError: it is not bytes-like.
    """
