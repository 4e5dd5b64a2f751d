# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False, binding=False
# cython: nonecheck=True
"""HTTP on an asyncio transport: the protocol reads and writes, an exchange is one request and its response."""

from cpython.dict cimport PyDict_Next
from cpython.ref cimport Py_DECREF, PyObject
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH
from cython cimport freelist
from libc.string cimport memcmp, memset

from esg_protocols.asgi.base cimport StreamProtocol
from esg_protocols.asgi.context cimport ServerContext
from esg_protocols.asgi.scope cimport ScopeTemplate
from esg_protocols.head cimport HTTP_VERSION, METHOD, QUERY_STRING, RAW_PATH
from esg_protocols.http1.connection cimport (
    READING_BODY, READING_CLOSED, READING_DONE, WRITING_BODY, WRITING_DONE, WRITING_HEAD, HTTPConnection,
)
from esg_protocols.http1.serialize cimport BY_CLOSE

import logging
from asyncio import CancelledError
from types import CoroutineType

from esg_parser import END, RequestHead

from esg_protocols.errors import ClientDisconnected, LocalProtocolError, RemoteProtocolError

cdef object end_of_message = END
cdef type request_head = RequestHead
cdef bytes NO_BYTES = b""
cdef bytes RETRY_AFTER = b"retry-after: 1\r\n"
cdef str START = "http.response.start"
cdef str BODY = "http.response.body"
cdef str TYPE_KEY = "type"
cdef str STATUS_KEY = "status"
cdef str HEADERS_KEY = "headers"
cdef str BODY_KEY = "body"
cdef str MORE_BODY_KEY = "more_body"
cdef dict interned = {key: key for key in (TYPE_KEY, STATUS_KEY, HEADERS_KEY, BODY_KEY, MORE_BODY_KEY)}
cdef int INFO = logging.INFO
cdef type coroutine_type = CoroutineType
# What the task and the loop must see; every other exception of an application ends with its exchange.
cdef tuple FOR_THE_LOOP = (CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)


cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *)
    bint PyUnicode_IS_COMPACT_ASCII(object)
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    PySendResult PyIter_Send(object, object, PyObject **) except PYGEN_ERROR
    object PyObject_Call(object, tuple, PyObject *)


cdef enum:
    # Pipelined requests answered in one go before the loop gets a turn.
    LONGEST_RUN = 16
    # Body bytes that are read and thrown away once the answer is out, to keep the connection; more costs it.
    MOST_DISCARDED = 262144
    # Messages that an app may send before the loop gets a turn, however fast the client takes them.
    SENDS_IN_A_ROW = 16


include "messages.pxi"
include "awaitables.pxi"
include "app_run.pxi"
include "exchange.pxi"


cdef class HTTPProtocol(StreamProtocol):
    cdef HTTPConnection connection
    cdef ScopeTemplate template
    # The exchange in work; the one before it may still run its app
    cdef Exchange exchange
    cdef Exchange spare
    cdef bint running
    # Events of the next request, which starts in the loop's next turn
    cdef list later
    cdef Py_ssize_t read_buffer_size
    cdef Py_ssize_t discarded
    # Requests that have begun on this connection
    cdef long long requests
    # The time for a head that has begun is running
    cdef bint head_awaited

    def __init__(self, ServerContext context not None):
        StreamProtocol.__init__(self, context)
        self.connection = HTTPConnection(context.settings, server_line=context.server_line)
        self.read_buffer_size = context.settings.read_buffer_size

    def connection_made(self, transport):
        StreamProtocol.connection_made(self, transport)
        self.template = ScopeTemplate(transport, self.context.settings.root_path)
        self.await_head()
        if self.context.closing:
            transport.close()

    def connection_lost(self, error):
        if self.exchange is not None:
            self.exchange.disconnect()
            self.drop_exchange()
        if self.spare is not None:
            self.spare.release()
            self.spare = None
        StreamProtocol.connection_lost(self, error)

    def data_received(self, data):
        if self.lingering:
            return
        if self.connection.read_state >= READING_DONE:
            # A request behind the one in work: it is kept as it came, and the socket waits with the rest.
            self.pause_reading()
        try:
            events = self.connection.receive_data(data)
        except RemoteProtocolError as error:
            self.refuse(error)
            return
        if self.later is not None:
            self.later.extend(events)
        elif events:
            self.run(events)
        elif self.connection.head_begun and not self.head_awaited:
            self.head_awaited = True
            self.await_head()

    def eof_received(self):
        """Whether the transport stays open: a client may close its side behind a request and still be answered."""
        cdef bint in_work = self.exchange is not None or self.later is not None
        cdef bint answer_is_due = in_work and self.connection.read_state == READING_DONE
        self.connection.receive_eof()
        if answer_is_due and not self.lingering and self.transport.get_extra_info("sslcontext") is None:
            if self.exchange is not None:
                self.exchange.end_input()
            return True
        self.transport.close()
        return None

    # -- Exchanges

    cdef int run(self, list events) except -1:
        """Take in what was read, start what it asks for, and go on as long as a next request is there."""
        cdef int turns = 0
        cdef Exchange started
        self.running = True
        try:
            while events:
                started = self.take(events)
                if started is not None:
                    self.start(started)
                if not self.may_go_on():
                    break
                turns += 1
                events = self.next_events() if turns < LONGEST_RUN else self.go_on_later()
        finally:
            self.running = False
        return 0

    cdef Exchange take(self, list events):
        """Hand out what was read; a new exchange starts behind it all, so that its body is there when the app asks."""
        cdef Exchange started = None
        for event in events:
            if event is end_of_message:
                self.clear_deadline()
                self.exchange.end_body()
            elif type(event) is bytes:
                self.extend_deadline(self.context.body_seconds, len(<bytes> event))
                self.exchange.add_body(<bytes> event)
            elif type(event) is request_head:
                started = self.begin(<tuple> event)
        return started

    cdef Exchange begin(self, tuple head):
        cdef Exchange exchange = self.spare
        self.spare = None
        if exchange is None or not exchange.renew():
            exchange = Exchange.__new__(Exchange)
            exchange.protocol = self
            exchange.connection = self.connection
        exchange.scope = self.template.scope(head, self.context.state)
        self.exchange = exchange
        self.discarded = 0
        if self.connection.awaits_continue:
            self.clear_deadline()  # the app has not asked for the body yet
        else:
            self.await_body()
        exchange.deadline = self.context.now + self.context.request_seconds + 1 if self.context.request_seconds else 0
        self.requests += 1
        if self.requests == self.context.most_per_connection:
            self.connection.response.close = True
        self.context.count_request()
        return exchange

    cdef int start(self, Exchange exchange) except -1:
        if not self.context.is_overloaded():
            return exchange.start()
        self.context.counters.overloads += 1
        self.log_limit("limit_concurrency", self.context.most_at_once, "a request more than can be worked on")
        return exchange.refuse(503, RETRY_AFTER)

    cdef int await_head(self) except -1:
        if self.context.head_seconds:
            return self.set_deadline(self.context.head_seconds)
        return self.clear_deadline()

    cdef int await_body(self) except -1:
        """Behind a head. What is whole already ends it again at once."""
        if self.context.body_seconds:
            return self.set_deadline(self.context.body_seconds)
        return self.clear_deadline()

    cdef void drop_exchange(self) noexcept:
        self.exchange.release()
        self.exchange = None

    cdef bint may_go_on(self) noexcept:
        """Whether the exchange in work is over and the next one may begin.

        Not while the client leaves its responses unread, or a flood of requests would fill memory with answers.
        """
        if self.connection.write_state != WRITING_DONE or self.connection.read_state != READING_DONE:
            return False
        return not (self.writing_paused or self.lingering or self.lost)

    def resume_writing(self):
        StreamProtocol.resume_writing(self)
        self.go_on()

    cdef list next_events(self):
        """Make ready for the next request; what of it was read already."""
        self.spare = self.exchange
        self.exchange = None
        self.set_deadline(self.context.keep_alive_seconds)
        self.head_awaited = False
        self.resume_reading()
        try:
            events = self.connection.next_exchange()
        except RemoteProtocolError as error:
            self.refuse(error)
            return []
        if self.connection.read_state >= READING_CLOSED:
            # The input has ended: with the last request or, which nobody can answer, inside one.
            self.finish(False)
            return []
        if self.connection.head_begun:
            self.head_awaited = True
            self.await_head()
        return events

    cdef list go_on_later(self):
        self.context.loop.call_soon(self.go_on, context=self.context.context)
        return []

    def go_on(self):
        # A transport may resume inside a write: then the response is not yet noted as whole, and goes on there.
        if self.may_go_on() and not self.running and self.exchange.responded:
            self.run(self.next_events())

    cdef int on_response(self) except -1:
        """A response is out whole; see what the connection is for now."""
        if self.context.access_logger is not None:
            self.log_access(self.exchange)
        if self.lost:
            return 0
        if self.connection.response.close or self.connection.read_state >= READING_CLOSED:
            self.drop_exchange()
            return self.finish(self.connection.read_state <= READING_BODY or self.connection.early is not None)
        if self.connection.read_state == READING_BODY:
            # The rest of the body is thrown away as it comes, for so long and so much (see discard).
            self.set_deadline(self.context.keep_alive_seconds)
            return self.resume_reading()
        # Within ``run`` the loop there goes on with what is next. Elsewhere this is a step of some app's task: the next
        # request must not start inside it.
        if self.may_go_on() and not self.running:
            self.later = self.next_events() or None
            if self.later is not None:
                self.context.loop.call_soon(self.run_later, context=self.context.context)
        return 0

    def run_later(self):
        cdef list events = self.later
        self.later = None
        if not self.lost and not self.lingering:
            self.run(events)

    cdef int discard(self, Py_ssize_t size) except -1:
        self.discarded += size
        if self.discarded > MOST_DISCARDED:
            self.connection.close()
            self.finish(True)
        return 0

    cdef int resume_body(self) except -1:
        """The app has taken what was kept for it; only a request that waits its turn may still stop the socket."""
        if self.connection.early is None:
            self.resume_reading()
        return 0

    cdef int cut(self) except -1:
        """End the connection in the middle of a response."""
        if self.context.access_logger is not None:
            self.log_access(self.exchange)
        self.drop_exchange()
        return self.break_off(self.connection.read_state == READING_BODY)

    cdef int break_off(self, bint client_may_be_sending) except -1:
        """Let nothing more out, and let the client see that something is missing."""
        self.write(self.connection.flush_head())
        self.connection.close()
        if self.connection.response.framing == BY_CLOSE:
            # An orderly end would make this body look whole (RFC 9112 section 8).
            self.reset()
            return 0
        return self.finish(client_may_be_sending)

    cdef int refuse(self, error) except -1:
        """Answer what cannot be read, and end the connection."""
        self.context.counters.protocol_errors += 1
        self.context.error_logger.warning("Invalid HTTP request received from %s: %s", self.client(), error)
        return self.give_up(error.status)

    cdef int give_up(self, int status) except -1:
        """End the connection with an answer, or without one where there is one already; an app at work learns of it."""
        cdef Exchange exchange = self.exchange
        if exchange is not None:
            exchange.disconnect()
            self.drop_exchange()
        if self.connection.write_state > WRITING_HEAD:
            return self.break_off(True)
        self.write(self.connection.send_refusal(status, self.context.date_line))
        return self.finish(True)

    cdef int log_access(self, Exchange exchange) except -1:
        cdef object logger = self.context.access_logger
        cdef tuple head = self.connection.request
        if logger.isEnabledFor(INFO):
            # The client as the app knows it, for whom a proxy may speak; the rest as it was sent.
            logger.info(
                '%s - "%s %s HTTP/%s" %d',
                client_name(exchange.scope.get("client")),
                head[METHOD],
                full_path(head),
                head[HTTP_VERSION],
                self.connection.response.status,
            )
        return 0

    # -- From the server

    def tick(self):
        # A head waits for the first body bytes, so as to leave with them; not for ever.
        if self.connection.write_state == WRITING_BODY and self.connection.out.size:
            self.write(self.connection.flush_head())
        StreamProtocol.tick(self)
        if self.exchange is not None and self.exchange.deadline and self.exchange.deadline <= self.context.now:
            self.exchange.deadline = 0
            self.end_overdue()

    cdef int end_overdue(self) except -1:
        if not self.exchange.responded:
            self.context.counters.request_timeouts += 1
            self.log_limit("timeout_request", self.context.request_seconds, "a request that took too long")
            self.exchange.time_out()
        return 0

    def on_deadline(self):
        if self.lingering:
            self.abort()
        elif self.exchange is None:
            self.end_idle()
        elif self.exchange.responded:
            self.finish(True)
        else:
            self.context.counters.body_timeouts += 1
            self.log_limit("timeout_request_body", self.context.body_seconds, "a request body that came too slowly")
            self.give_up(408)

    cdef int end_idle(self) except -1:
        """Nothing is in work: the client was silent too long, or in the middle of a head."""
        if not self.connection.head_begun and self.requests:
            self.context.counters.keep_alive_timeouts += 1
            return self.finish(False)
        self.context.counters.head_timeouts += 1
        if not self.connection.head_begun:
            self.log_limit("timeout_request_head", self.context.head_seconds, "a connection on which nothing came")
            return self.finish(False)
        self.log_limit("timeout_request_head", self.context.head_seconds, "a request head that came too slowly")
        return self.give_up(408)

    def on_write_deadline(self):
        self.context.counters.write_timeouts += 1
        self.log_limit("timeout_write", self.context.write_seconds, "a response that was not read")
        self.reset()

    cdef int log_limit(self, str limit, value, str what) except -1:
        """One line for a limit that was passed: who, which, and how much it lets through."""
        self.context.error_logger.warning("%s: %s (%s is %g)", self.client(), what, limit, value)
        return 0

    cdef str client(self):
        return client_name(self.template.fields["client"]) or "a client"

    def end_exchange(self):
        """End the request in work, if there is one, with 503 or in the middle of its response."""
        if self.exchange is not None and not self.exchange.responded and not self.lingering:
            self.give_up(503)

    def shutdown(self):
        """End the connection: now if it is idle, otherwise behind the response in work."""
        if self.lingering or self.transport is None:
            return
        if self.exchange is None:
            self.finish(False)
        elif self.exchange.responded:
            self.finish(True)
        else:
            self.connection.response.close = True


cdef str client_name(client):
    return "" if client is None else f"{client[0]}:{client[1]}"


cdef str full_path(tuple head):
    """Path and query as they came; both are visible ASCII, so that no line can be forged."""
    cdef str path = (<bytes> head[RAW_PATH]).decode("ascii", "backslashreplace")
    cdef bytes query = head[QUERY_STRING]
    return f"{path}?{query.decode('ascii', 'backslashreplace')}" if query else path
