"""WebSockets on an asyncio transport."""

from esg_protocols.asgi.app_run cimport AppSide
from esg_protocols.asgi.awaitables cimport Waiting
from esg_protocols.asgi.base cimport StreamProtocol
from esg_protocols.asgi.scope cimport ScopeTemplate
from esg_protocols.http1.connection cimport HTTPConnection
from esg_protocols.websocket.codecs.native cimport NativeCodec


# Where a WebSocket stands towards its application.
cdef enum State:
    CONNECTING    # the application has neither accepted it nor denied it
    DENYING       # its denial has begun, as an ordinary response
    OPEN
    CLOSING       # our close frame is out, the client's is awaited
    CLOSED


cdef class WebSocketProtocol(StreamProtocol):
    cdef int state
    cdef WebSocket session
    cdef ScopeTemplate template
    # Until the application has said what becomes of it: the request, and what the client sent behind it
    cdef HTTPConnection http
    cdef object handshake
    cdef tuple head
    cdef bytes early
    # For the access log: what the application was told, when it began, bytes of the messages that went out
    cdef dict scope
    cdef double began
    cdef long long sent
    # The codec and its methods; the compiled one is called without a look-up
    cdef object codec
    cdef NativeCodec native
    cdef object receive_data
    cdef object data_to_send
    cdef object send_text
    cdef object send_bytes
    # A message was read, and the app is woken in the next round
    cdef bint wakes
    # Pings of our own: when the next is due, and by when the last must be answered; 0 is never
    cdef double ping_due
    cdef double pong_due
    cdef bytes ping
    # The code of our close frame, if it went out first
    cdef int closed_with

    cdef int take_over(self, transport, HTTPConnection http, ScopeTemplate template, handshake) except -1
    cdef int feed(self, data) except -1
    cdef int wake_in_round(self) except -1
    cdef bint has_more(self) except -1
    cdef int go_on_reading(self) except -1
    cdef int take(self, list events) except -1
    cdef int add(self, message) except -1
    cdef int flush(self) except -1
    cdef int accept(self, dict message) except -1
    cdef int deny(self, int status) except -1
    cdef object fields(self, dict message)
    cdef int begin_denial(self, dict message) except -1
    cdef int go_on_denying(self, dict message) except -1
    cdef int cut_denial(self, why) except -1
    cdef int on_close(self, int code, str reason) except -1
    cdef int begin_close(self, int code, str reason) except -1
    cdef int fail(self, error) except -1
    cdef int over(self, int code) except -1
    cdef int check_pings(self) except -1
    cdef int log_access(self, str method, int status) except -1
    cdef str client(self)


cdef class WebSocket(AppSide):
    cdef WebSocketProtocol protocol
    # What came for the application and was not received yet: how many messages, the first of them, the others
    cdef Py_ssize_t waiting
    cdef dict message
    cdef list messages
    cdef Py_ssize_t taken
    cdef Py_ssize_t kept
    cdef bint connect_told
    cdef dict disconnect_message
    # The application has said the last word itself
    cdef bint closed_by_app
    # What ``receive`` returned last, to be returned again
    cdef NextMessage receiver

    cdef int add(self, dict message, Py_ssize_t size) except -1
    cdef int disconnect(self, int code, str reason) except -1
    cdef dict next_message(self)
    cdef dict take_message(self)
    cdef object send_otherwise(self, kind, dict message)
    cdef object send_data(self, dict message)


cdef class NextMessage(Waiting):
    # Until there is a message
    cdef WebSocket session
