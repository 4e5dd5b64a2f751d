# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False, binding=False
"""The PROXY protocol in front of HTTP: a peer says on whose behalf it has connected; then HTTP has the transport."""

from esg_protocols.asgi.access cimport client_name
from esg_protocols.asgi.base cimport StreamProtocol
from esg_protocols.asgi.context cimport ServerContext
from esg_protocols.asgi.scope cimport client_address, server_address

from esg_protocols.asgi.http import HTTPProtocol
from esg_protocols.errors import RemoteProtocolError
from esg_protocols.proxy_header import ProxyHeaderParser

UNTRUSTED = "it may not send a PROXY header (proxy_protocol_from)"
ENDED = "the connection ended in its PROXY header"

# How long a server that stops waits for the header of a proxy that has connected before.
cdef double LAST_HEADER_SECONDS = 1.0


cdef class ProxiedProtocol(StreamProtocol):
    cdef object is_trusted
    cdef object parser

    def __init__(self, ServerContext context not None, is_trusted):
        StreamProtocol.__init__(self, context)
        self.is_trusted = is_trusted
        self.parser = ProxyHeaderParser()

    def connection_made(self, transport):
        # No more than this: the connection is counted and set up when HTTP has it.
        self.transport = transport
        self.context.connections.add(self)
        cdef tuple client = client_address(transport), server = server_address(transport)
        if client is None and (server is None or server[1] is not None):
            self.abort()  # it has left again, and has no address any more; on a UNIX socket nobody has
            return
        if not self.is_trusted(client, server):
            self.refuse(UNTRUSTED)
            return
        if self.context.head_seconds:
            self.set_deadline(self.context.head_seconds)
        if self.context.closing:
            self.shutdown()

    def data_received(self, data):
        if self.transport is None or self.transport.is_closing():
            return
        try:
            header = self.parser.receive_data(bytes(data))
        except RemoteProtocolError as error:
            self.refuse(str(error))
            return
        if header is not None:
            self.hand_over(header)

    def eof_received(self):
        """A peer that only looks whether somebody listens is none to complain about."""
        if self.parser.begun:
            self.refuse(ENDED)

    def on_deadline(self):
        note_lateness(self.context, client_address(self.transport))
        self.abort()

    def end_exchange(self):
        """There is none yet."""

    def shutdown(self):
        """End the connection, unless its first request comes soon."""
        if self.transport is not None:
            self.set_deadline(min(LAST_HEADER_SECONDS, self.context.head_seconds or LAST_HEADER_SECONDS))

    cdef int refuse(self, str reason) except -1:
        """Close without a word: the peer speaks something else, or is somebody else (section 2)."""
        note_refusal(self.context, client_address(self.transport), reason)
        self.abort()
        return 0

    cdef int hand_over(self, header) except -1:
        """Let HTTP have the transport, and what came behind the header."""
        protocol = HTTPProtocol(self.context, header)
        transport, self.transport = self.transport, None
        self.lost = True
        self.clear_deadline()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        self.context.forget_connection(self)
        if self.parser.trailing_data:
            protocol.data_received(self.parser.trailing_data)
        return 0


def note_refusal(ServerContext context not None, client, str reason):
    context.counters.protocol_errors += 1
    context.error_logger.warning("Connection closed, from %s: %s", client_name(client) or "a UNIX socket", reason)


def note_lateness(ServerContext context not None, client):
    context.counters.head_timeouts += 1
    if not context.closing:
        context.error_logger.warning(
            "%s: a PROXY header that came too slowly (timeout_request_head is %g)",
            client_name(client) or "a UNIX socket",
            context.head_seconds,
        )
