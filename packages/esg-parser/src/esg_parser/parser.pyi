"""HTTP/1.1 messages from bytes."""

from typing_extensions import Buffer, Self, disjoint_base

from esg_parser.events import Marker, RequestHead, ResponseHead, Trailers

@disjoint_base
class MessageParser:
    """What both parsers have in common; it is of no use alone.

    A parser belongs to one direction of one connection and is fed what the connection reads, cut anywhere. It
    stops behind each message; what it has read beyond is ``trailing_data``. It does no I/O and has no clock.
    Calls from several threads must not overlap: one that finds another at work raises ``RuntimeError``. After
    an error it is of no more use, as nobody knows where the next message would begin.
    """

    @property
    def trailing_data(self) -> bytes:
        """What was read and not parsed: the bytes behind the message that ended last.

        They are the next message, or the first bytes of another protocol (RFC 9110 sections 7.8 and 9.3.6).
        Each access makes a copy. Empty inside a message.
        """

    def pending(self) -> bool:
        """Whether there is ``trailing_data``, without a copy of it: a server asks behind every message.

        A method, as it can be fetched once and called fast.
        """

class RequestParser(MessageParser):
    """Turns what a client sends into requests (RFC 9112), for a server.

    Args:
        max_head_size: the most bytes of a request line and its header fields with the empty line behind them.
            Chunk lines and trailers may have as many between two bytes of the body and behind the last one,
            and so may empty lines before a request.
        max_headers: the most header fields and trailers of a message.
        max_header_size: the most bytes of one of them, name and value; None is no limit but that of the head.
        max_target_size: the most bytes of a request target.
        max_extensions_size: the most bytes of the names and values of chunk extensions in a message.
        max_body_size: the most bytes of a body, chunk lines not counted; None is no limit.

    Raises:
        ValueError: if a limit is not from 1 (a body: 0) to 2147483647 (a body: 2**63 - 1).
    """

    def __new__(
        cls,
        *,
        max_head_size: int = 65536,
        max_headers: int = 100,
        max_header_size: int | None = None,
        max_target_size: int = 16384,
        max_extensions_size: int = 4096,
        max_body_size: int | None = None,
    ) -> Self: ...
    @property
    def method(self) -> str | None:
        """The method of the request that is being read, or was when it was found to be bad; None until it is known.

        Whoever answers a bad request needs it: the answer to HEAD has no body (RFC 9110 section 9.3.2).
        """

    def feed(self, data: Buffer, /) -> list[RequestHead | bytes | Trailers | Marker]:
        """Parse what was read, up to the end of one message.

        Bytes that were left behind the last message are parsed first, so ``feed(b"")`` goes on with them
        alone.

        Args:
            data: the bytes of one read. A ``bytes`` object that holds nothing but body is returned itself,
                not a copy; anything else is copied.

        Returns:
            What is new, in this order, each at most once: the head; the body bytes of this read, joined; the
            trailers, if there are any; ``UPGRADE`` if the request asks for another protocol, by an Upgrade
            field or as a CONNECT; ``END``. Empty as long as a head is not whole. Whoever does not take up an
            upgrade goes on as after any request; whoever does finds the first bytes of the other protocol in
            ``trailing_data``.

        Raises:
            MalformedMessage: 400, it breaks the grammar or the rules of RFC 9112, or its chunk extensions are
                too large.
            ContentTooLarge: 413, the body is larger than the limit: known with the head if it has a
                Content-Length, otherwise where the limit is passed.
            TargetTooLong: 414, the target is longer than the limit.
            ExpectationFailed: 417, another expectation than ``100-continue``.
            HeadTooLarge: 431, the head, its number of fields, chunk lines and trailers, or the empty lines
                before it pass a limit.
            UnsupportedFeature: 501, an unknown method or transfer coding.
            UnsupportedVersion: 505, another major version than 1.
            RuntimeError: if an earlier call raised one of these, or is still running.
            TypeError: if ``data`` is not bytes-like. The parser can go on.

            What an earlier call has returned stands; what this one has parsed of the bad message is not
            returned.
        """

    def close(self) -> list[Marker]:
        """Tell the parser that the input has ended.

        Returns:
            Nothing, in a list as from ``feed``: no request ends with the input.

        Raises:
            MalformedMessage: if it ended inside a message (RFC 9112 section 8), the first time this is
                called.
        """

@disjoint_base
class ResponseParser(MessageParser):
    """Turns what a server sends into responses (RFC 9112), for a client or a proxy.

    Every response is a message with an ``END``, the interim ones (1xx) too. ``method`` must be set before a
    response to HEAD or CONNECT is fed: what the request was decides where the response ends.

    Args:
        max_head_size: the most bytes of a status line and its header fields with the empty line behind them.
            Chunk lines and trailers may have as many between two bytes of the body and behind the last one.
        max_headers: the most header fields and trailers of a message.
        max_header_size: the most bytes of one of them, name and value; None is no limit but that of the head.
        max_extensions_size: the most bytes of the names and values of chunk extensions in a message.
        max_body_size: the most bytes of a body, chunk lines not counted; None is no limit.

    Raises:
        ValueError: if a limit is not from 1 (a body: 0) to 2147483647 (a body: 2**63 - 1).
    """

    def __new__(
        cls,
        *,
        max_head_size: int = 65536,
        max_headers: int = 100,
        max_header_size: int | None = None,
        max_extensions_size: int = 4096,
        max_body_size: int | None = None,
    ) -> Self: ...
    @property
    def method(self) -> str:
        """The method of the request that the next head answers; ``"GET"`` until it is set, and kept until then."""

    @method.setter
    def method(self, value: str) -> None: ...
    def feed(self, data: Buffer, /) -> list[ResponseHead | bytes | Trailers | Marker]:
        """Parse what was read, up to the end of one message.

        Bytes that were left behind the last message are parsed first, so ``feed(b"")`` goes on with them
        alone.

        Args:
            data: the bytes of one read. A ``bytes`` object that holds nothing but body is returned itself,
                not a copy; anything else is copied.

        Returns:
            What is new, in this order, each at most once: the head; the body bytes of this read, joined; the
            trailers, if there are any; ``UPGRADE`` behind a 101 and a CONNECT that succeeded (2xx): the
            connection speaks another protocol from here on, its first bytes are ``trailing_data``, and
            nothing more can be fed; ``END``. Empty as long as a head is not whole.

        Raises:
            ParserError: of the same kinds as from :meth:`RequestParser.feed`, with 502 for ``status``.
            RuntimeError: if an earlier call raised one of these, or is still running, or if the connection
                was given to another protocol, or its end was told.
            TypeError: if ``data`` is not bytes-like. The parser can go on.
        """

    def close(self) -> list[Marker]:
        """Tell the parser that the input has ended.

        Returns:
            ``END``, in a list as from ``feed``, of a body that has neither a length nor chunks and so ends with
            the input (RFC 9112 section 6.3); otherwise nothing.

        Raises:
            MalformedMessage: if it ended inside a message (RFC 9112 section 8), the first time this is
                called.
        """
