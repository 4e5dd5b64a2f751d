"""One HTTP/1.1 connection as a server sees it, without I/O."""

from collections.abc import Iterable
from typing import Any

from esg_parser import RequestHead
from typing_extensions import disjoint_base

from esg_protocols.http1.states import Reading, Writing
from esg_protocols.settings import Settings

@disjoint_base
class HTTPConnection:
    """Requests from bytes and bytes from responses, one exchange after the other (RFC 9112).

    Give it what was read, write what it returns; it touches no socket and no clock. The tables in
    :mod:`esg_protocols.http1.states` say what may happen when.

    Args:
        settings: the limits on heads, see :class:`esg_protocols.settings.Settings`; the defaults without it.
        server_line: a whole Server field with its line end, sent with every response that has none; none by default.
    """

    def __new__(cls, settings: Settings | None = None, *, server_line: bytes = b"") -> HTTPConnection: ...
    @property
    def request(self) -> RequestHead | None:
        """The head of the request in work, None between exchanges."""
    @property
    def reading(self) -> Reading:
        """Where the request is."""
    @property
    def writing(self) -> Writing:
        """Where the response is."""
    @property
    def must_close(self) -> bool:
        """Whether the connection ends behind this response: somebody said ``close``, or one side is done for."""
    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Any]:
        """Take in what was read.

        Args:
            data: any number of bytes, cut anywhere. Bytes of a request behind the one in work are kept for
                :meth:`next_exchange`, unparsed.

        Returns:
            The events in these bytes: a ``RequestHead``, body as ``bytes``, ``Trailers`` and ``END`` of esg_parser, of
            one request at most. Empty when nothing is whole yet.

        Raises:
            RemoteProtocolError: the client broke a rule; its ``status`` is the answer. Nothing is read from then on.
        """
    def receive_eof(self) -> None:
        """Take in that the client will send no more. Behind a request it waits for :meth:`next_exchange`."""
    def next_exchange(self) -> list[Any]:
        """Go on with the next request, once the request and its response are both whole.

        Returns:
            The events of the next request that were read already.

        Raises:
            LocalProtocolError: the exchange is not over; nothing has changed.
            RemoteProtocolError: what was read already breaks a rule.
        """
    def send_response(
        self, status: int, headers: Iterable[tuple[bytes, bytes] | list[bytes]] = (), *, date: bytes = b""
    ) -> bytes:
        """Begin the response.

        The framing is settled here: Content-Length if the headers have one, chunked to HTTP/1.1, the end of the
        connection to HTTP/1.0 (RFC 9112 section 6.3). ``Connection: close`` in the headers ends the connection.

        Args:
            status: 200 to 999.
            headers: pairs of names and values as they go on the wire.
            date: a whole Date field with its line end, used when the headers have none.

        Returns:
            Nothing yet: the head leaves with the first body bytes, or by :meth:`flush_head`.

        Raises:
            LocalProtocolError: not now, or a header that must not go on the wire. Nothing has changed.
        """
    def send_body(self, data: bytes | bytearray | memoryview = b"", more_body: bool = False) -> bytes:
        """Go on with the response, or end it.

        Args:
            data: body bytes; dropped where there is no body (HEAD, 204, 304).
            more_body: whether more is to come.

        Returns:
            The bytes to write.

        Raises:
            LocalProtocolError: not now, or more or fewer bytes than Content-Length says; these end the connection, and
                none of ``data`` is to be written.
        """
    def send_continue(self) -> bytes:
        """``100 Continue`` if the client waits for it (RFC 9110 section 10.1.1), otherwise nothing."""
    def send_refusal(self, status: int, date: bytes = b"") -> bytes:
        """A whole response from the server itself, the last on the connection: what a ``RemoteProtocolError`` asks for.

        Raises:
            LocalProtocolError: a response has begun already.
        """
    def flush_head(self) -> bytes:
        """The head of the response if it has not left yet, for when the first body bytes are long in coming."""
    def close(self) -> None:
        """Note that nothing more will be written."""
    def close_after_response(self) -> None:
        """Let the response in work be the last."""
