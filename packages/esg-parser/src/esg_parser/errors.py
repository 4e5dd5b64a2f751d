"""What a parser raises: one error a kind, each carrying the status that answers it."""

from __future__ import annotations


class ParserError(ValueError):
    """The bytes are not a message we accept.

    Attributes:
        status: the HTTP status a server answers a bad request with (RFC 9110 section 15); 502, what a gateway
            answers with, if it was a response.
        reason: what is wrong, in words, without any byte of the input.
        offset: where it went wrong, in bytes from the first byte of the message.
    """

    status = 400

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(f"{reason} (at byte {offset})")
        self.reason = reason
        self.offset = offset


class MalformedMessage(ParserError):
    """The message breaks the grammar or the framing rules of RFC 9112."""


class ContentTooLarge(ParserError):
    """The body is larger than the limit (RFC 9110 section 15.5.14)."""

    status = 413


class TargetTooLong(ParserError):
    """The request target is longer than the limit (RFC 9110 section 15.5.15)."""

    status = 414


class ExpectationFailed(ParserError):
    """An expectation other than ``100-continue`` (RFC 9110 section 10.1.1)."""

    status = 417


class HeadTooLarge(ParserError):
    """The head, its number of fields, or chunk lines and trailers pass a limit (RFC 6585 section 5)."""

    status = 431


class UnsupportedFeature(ParserError):
    """An unknown method or transfer coding (RFC 9110 section 9.1, RFC 9112 section 6.1)."""

    status = 501


class UnsupportedVersion(ParserError):
    """A major version other than 1 (RFC 9110 section 2.5)."""

    status = 505
