"""HTTP/1.1 requests from bytes."""

from typing_extensions import Buffer, Self, disjoint_base

from esg_parser.events import Marker, RequestHead, Trailers

@disjoint_base
class RequestParser:
    """Turns the bytes of one connection into requests (RFC 9112).

    A parser belongs to one connection and is fed what the connection reads, cut anywhere. It stops behind
    each message; what it has read beyond is ``trailing_data``. It does no I/O, has no clock and is not
    thread-safe. After an error it is of no more use, as nobody knows where the next message would begin:
    answer with the error's status and close.

    Args:
        max_head_size: the most bytes of a request line and its header fields with the empty line behind them.
            Chunk lines and trailers may have as many between two bytes of the body and behind the last one,
            and so may empty lines before a request.
        max_headers: the most header fields and trailers of a message.
        max_target_size: the most bytes of a request target.
        max_extensions_size: the most bytes of the names and values of chunk extensions in a message.

    Raises:
        ValueError: if a limit is not from 1 to 2147483647.
    """

    def __new__(
        cls,
        *,
        max_head_size: int = 65536,
        max_headers: int = 100,
        max_target_size: int = 16384,
        max_extensions_size: int = 4096,
    ) -> Self: ...
    @property
    def trailing_data(self) -> bytes:
        """What was read and not parsed: the bytes behind the message that ended last.

        They are the next request, or the first bytes of another protocol when the message was an upgrade or a
        CONNECT that was accepted (RFC 9110 sections 7.8 and 9.3.6). Each access makes a copy. Empty inside a
        message.
        """

    @property
    def has_trailing_data(self) -> bool:
        """Whether there is ``trailing_data``, without a copy of it."""

    def feed(self, data: Buffer, /) -> list[RequestHead | bytes | Trailers | Marker]:
        """Parse what was read, up to the end of one message.

        Bytes that were left behind the last message are parsed first, so ``feed(b"")`` goes on with them
        alone.

        Args:
            data: the bytes of one read. A ``bytes`` object that holds nothing but body is returned itself,
                not a copy; anything else is copied.

        Returns:
            What is new, in this order, each at most once: the head; the body bytes of this read, joined; the
            trailers, if there are any; ``END``. Empty as long as a head is not whole.

        Raises:
            MalformedMessage: 400, it breaks the grammar or the rules of RFC 9112, or its chunk extensions are
                too large.
            TargetTooLong: 414, the target is longer than the limit.
            ExpectationFailed: 417, another expectation than ``100-continue``.
            HeadTooLarge: 431, the head, its number of fields, chunk lines and trailers, or the empty lines
                before it pass a limit.
            UnsupportedFeature: 501, an unknown method or transfer coding.
            UnsupportedVersion: 505, another major version than 1.
            RuntimeError: if an earlier call raised one of these.
            TypeError: if ``data`` is not bytes-like. The parser can go on.

            What an earlier call has returned stands; what this one has parsed of the bad message is not
            returned.
        """

    def close(self) -> None:
        """Tell the parser that the input has ended.

        Raises:
            MalformedMessage: if it ended inside a message (RFC 9112 section 8), the first time this is
                called.
        """
