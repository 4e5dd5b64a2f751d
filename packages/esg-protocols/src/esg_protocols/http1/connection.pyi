"""One HTTP/1.1 connection as a server sees it, without I/O."""

from collections.abc import Iterable

from esg_parser import RequestHead, Trailers
from esg_parser.events import Marker
from typing_extensions import Buffer, Self, disjoint_base

from esg_protocols.http1.states import Reading, Writing
from esg_protocols.settings import Settings

@disjoint_base
class HTTPConnection:
    """The server's side of a connection (RFC 9112): requests from bytes, and bytes from responses.

    It does no I/O and has no clock: give it what was read, write what it returns, and close where
    ``must_close`` says so. The tables ``READING`` and ``WRITING`` of :mod:`esg_protocols.http1.states` say what
    may happen next, and ``reading`` and ``writing`` where it stands. It is not thread-safe.

    One exchange is a request and its response. Bytes of a request behind it, and the end of the input, are
    kept until :meth:`next_exchange`, so pipelined requests are met in order and one at a time.

    Args:
        settings: the limits on a head; the defaults if there are none.
        server_line: a whole ``Server`` field line with its CRLF, for responses that have none of their own.
        default_lines: more whole field lines, each with its CRLF, for all responses.
    """

    def __new__(
        cls, settings: Settings | None = None, *, server_line: bytes = b"", default_lines: bytes = b""
    ) -> Self: ...
    @property
    def reading(self) -> Reading:
        """Where the request is."""

    @property
    def writing(self) -> Writing:
        """Where the response is."""

    @property
    def request(self) -> RequestHead | None:
        """The head of the request in work; None between exchanges."""

    @property
    def carries_body(self) -> bool:
        """Whether the body of the response goes on the wire; not for HEAD, with 204 and with 304."""

    @property
    def trailing_data(self) -> bytes:
        """What was read behind the request in work: for the protocol that takes over after a 101."""

    @property
    def must_close(self) -> bool:
        """Whether the connection ends with the response in work, or has ended (RFC 9112 section 9.6).

        It may become true with the request (``Connection: close``, HTTP/1.0), with the response (the same, or a
        body whose end nothing but the end of the connection marks), with a failure on either side, and with the
        end of the input.
        """
    # -- Reading
    def receive_data(self, data: Buffer) -> list[RequestHead | bytes | Trailers | Marker]:
        """Take in what was read.

        Args:
            data: bytes as they came, cut anywhere.

        Returns:
            What is new of the request in work, in this order: its head, body bytes, trailers, ``END``. Empty
            while a head is not whole; for bytes behind the request, which are kept; and after the last request,
            when they are thrown away.

        Raises:
            RemoteProtocolError: the bytes are no request that is accepted; answer with :meth:`send_refusal` and
                the error's status, unless a response has begun, and close.
            LocalProtocolError: a request after :meth:`close`.
        """

    def receive_eof(self) -> None:
        """Take in that the client sends no more, which may be said again.

        Behind a whole request this is kept like bytes are: the response can still be sent. Inside a body the
        request has failed and must not be taken as complete (RFC 9112 section 8).
        """

    def next_exchange(self) -> list[RequestHead | bytes | Trailers | Marker]:
        """End this exchange and take in what was kept of the next request.

        Returns:
            As :meth:`receive_data`.

        Raises:
            RemoteProtocolError: as :meth:`receive_data`.
            LocalProtocolError: the request or the response is not whole yet, or the connection ends with this
                response; nothing has changed.
        """
    # -- Writing
    def send_response(
        self,
        status: int,
        headers: Iterable[Iterable[bytes]] = (),
        *,
        date: bytes = b"",
        trailers: bool = False,
    ) -> bytes:
        """Begin the response. Its head is held back, so as to leave with the first bytes of its body.

        The framing is the connection's affair (RFC 9112 section 6): by the app's ``Content-Length``, else by
        chunks to HTTP/1.1 and by closing to HTTP/1.0. There is no body to HEAD, with 204 and with 304.

        Args:
            status: from 200 to 999.
            headers: names and values, in pairs. ``Content-Length`` and ``Connection: close`` are obeyed;
                ``Transfer-Encoding: chunked`` and ``Connection: keep-alive`` are not needed and dropped.
            date: a whole ``Date`` field line with its CRLF, for responses that have none of their own.
            trailers: whether :meth:`send_trailers` ends the response, and not its body.

        Returns:
            The bytes to write, which are none: see :meth:`flush`.

        Raises:
            LocalProtocolError: no response is due, or the head must not go on the wire: a status that is none, a
                name that is no token, a control character in a value (RFC 9110 section 5.5), two lengths. Nothing
                has changed, and another response can be sent.
        """

    def send_body(self, data: Buffer = b"", more_body: bool = False) -> bytes:
        """Go on with the body, or end it.

        Args:
            data: body bytes: ``bytes``, ``bytearray`` or ``memoryview``. They are not sent where the response has
                no body.
            more_body: whether others follow; otherwise this ends the response.

        Returns:
            The bytes to write, with the head in front if it was held back.

        Raises:
            LocalProtocolError: no body is due; ``data`` is not bytes; or the body would be longer or has been
                shorter than its ``Content-Length``: then the response is cut short, and the connection must be
                closed without another byte of it.
        """

    def begin_file(self, size: int, more_body: bool = False) -> bytes:
        """Go on with a body part whose bytes leave by another way, as by :func:`os.sendfile`.

        Write what is returned, then ``size`` bytes of the part itself unless :attr:`carries_body` is false, then what
        :meth:`end_file` returns. Nothing else may be sent meanwhile.

        Args:
            size: of the part, in bytes.
            more_body: whether other parts follow; otherwise this one ends the body.

        Returns:
            The bytes to write first.

        Raises:
            LocalProtocolError: as for :meth:`send_body`.
        """

    def end_file(self) -> bytes:
        """The bytes to write behind those of the part."""

    def send_trailers(self, headers: Iterable[Iterable[bytes]] = (), more_trailers: bool = False) -> bytes:
        """End the response with fields that were not known before its body (RFC 9110 section 6.5).

        They go on the wire only in chunks, and only to a client that said ``TE: trailers``.

        Args:
            headers: names and values, in pairs. What must be known before the body may not be among them.
            more_trailers: whether others follow; they leave together.

        Returns:
            The bytes to write.

        Raises:
            LocalProtocolError: none are due, as ``trailers`` was not said or the body is not whole; or a field must
                not go on the wire: then nothing has changed.
        """

    def send_early_hint(self, links: Iterable[bytes]) -> bytes:
        """``103 Early Hints`` (RFC 8297) with ``Link`` fields, before the head of the response leaves.

        Args:
            links: values of ``Link`` fields (RFC 8288).

        Returns:
            The bytes to write; none to HTTP/1.0, which knows no such response, and none once the head has left.

        Raises:
            LocalProtocolError: no response is due, or a link must not go on the wire.
        """

    def flush(self) -> bytes:
        """The head while it is held back, to be written before there is a body; otherwise nothing."""

    def send_continue(self) -> bytes:
        """``100 Continue`` if the client waits for it and nothing else has been said; otherwise nothing.

        Call it when the application asks for the body (RFC 9110 section 10.1.1). A final response without it
        ends the connection, as the client may or may not send its body then.
        """

    def send_refusal(self, status: int, date: bytes = b"", fields: bytes = b"") -> bytes:
        """A whole response from the server itself, the last one on the connection.

        Args:
            status: one of :class:`http.HTTPStatus`, whose phrase is the body; there is none to HEAD.
            date: as for :meth:`send_response`.
            fields: more whole field lines with their CRLFs.

        Returns:
            The bytes to write.

        Raises:
            ValueError: there is no such status.
            LocalProtocolError: a response has begun.
        """

    def close(self) -> None:
        """Send nothing more; what was begun stays cut short. May be called again."""

    def close_after_response(self) -> None:
        """Let the connection end with the response in work, and say so if its head is not written yet."""
