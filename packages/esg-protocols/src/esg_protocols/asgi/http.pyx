# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False, binding=False
# cython: nonecheck=True
"""HTTP on an asyncio transport: the protocol reads and writes, an exchange is one request and its response."""

from cpython.dict cimport PyDict_Next
from cpython.ref cimport PyObject
from libc.string cimport memset

from esg_protocols.asgi.access cimport client_name, moment
from esg_protocols.asgi.app_run cimport AppSide, is_about_the_client
from esg_protocols.asgi.awaitables cimport DONE, OVER, Waiting, Wakeup, step_fast
from esg_protocols.asgi.base cimport LEAST_AT_ONCE, StreamProtocol
from esg_protocols.asgi.context cimport ServerContext
from esg_protocols.asgi.fresh cimport FreshBytes
from esg_protocols.asgi.line_format cimport request_id
from esg_protocols.asgi.scope cimport ScopeTemplate
from esg_protocols.asgi.websocket cimport WebSocketProtocol
from esg_protocols.head cimport CHUNKED, CONTENT_LENGTH, HEADERS, HTTP_VERSION, METHOD, PATH, UPGRADE
from esg_protocols.http1.connection cimport (
    READING_BODY, READING_CLOSED, READING_DONE, WRITING_BODY, WRITING_DONE, WRITING_FILE, WRITING_HEAD,
    WRITING_TRAILERS, HTTPConnection,
)
from esg_protocols.http1.serialize cimport BY_CLOSE, NO_BODY
from esg_protocols.words cimport is_word

import errno
import functools
import os
import stat
from collections.abc import Iterable

from esg_parser import END, RequestHead

from esg_protocols.errors import ClientDisconnected, LocalProtocolError, RemoteProtocolError
from esg_protocols.websocket.handshake import ServerHandshake, is_handshake, refusal_fields

cdef object end_of_message = END
cdef type request_head = RequestHead
cdef bytes NO_BYTES = b""
cdef bytes RETRY_AFTER = b"retry-after: 1\r\n"
cdef str START = "http.response.start"
cdef str BODY = "http.response.body"
cdef str TRAILERS = "http.response.trailers"
cdef str EARLY_HINT = "http.response.early_hint"
cdef str PATHSEND = "http.response.pathsend"
cdef str ZEROCOPYSEND = "http.response.zerocopysend"
cdef str TYPE_KEY = "type"
cdef str STATUS_KEY = "status"
cdef str HEADERS_KEY = "headers"
cdef str BODY_KEY = "body"
cdef str MORE_BODY_KEY = "more_body"
cdef str TRAILERS_KEY = "trailers"
cdef dict interned = {
    key: key for key in (TYPE_KEY, STATUS_KEY, HEADERS_KEY, BODY_KEY, MORE_BODY_KEY, TRAILERS_KEY)
}


cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *)


# How long a server that stops waits for the request of a client that has connected before.
cdef double FIRST_REQUEST_SECONDS = 1.0

cdef enum:
    # Pipelined requests answered in one go before the loop gets a turn.
    LONGEST_RUN = 16
    # Body bytes that are joined when an app takes several reads at once.
    MOST_JOINED = 65536
    # A body of so many bytes or more is read into bytes objects of its own, each of up to the second size. The third is
    # for the read behind such a body, which brings the next request's head; what it holds of the body is copied.
    LEAST_DIRECT = 131072
    LARGEST_DIRECT = 262144
    FIRST_DIRECT = 16384
    # Body bytes that are read and thrown away once the answer is out, to keep the connection; more costs it.
    MOST_DISCARDED = 262144
    # Exchanges kept for other requests: as many as were in work at once, up to this.
    MOST_SPARES = 64


include "messages.pxi"
include "files.pxi"
include "exchange.pxi"


cdef class HTTPProtocol(StreamProtocol):
    cdef HTTPConnection connection
    cdef ScopeTemplate template
    # What a proxy has said of the connection before HTTP began on it
    cdef object proxy_header
    # The exchange in work; the one before it may still run its app
    cdef Exchange exchange
    # What it sends past the transport
    cdef FileBody file
    # The head of a request for a WebSocket, which takes the transport over
    cdef tuple websocket_head
    cdef bint running
    # Events of the next request, which starts when the loop has read from all connections
    cdef list later
    cdef Py_ssize_t read_buffer_size
    cdef Py_ssize_t discarded
    # Bytes of a body of known length that are still to come, and what they are read into while they are many
    cdef unsigned long long body_left
    cdef FreshBytes fresh
    # Requests that have begun on this connection, and how many it were at the last tick
    cdef long long requests
    cdef long long requests_before
    # Parts of a body are in the connection's buffer, and leave in the next round
    cdef bint parts_held
    # The time for a head that has begun is running
    cdef bint head_awaited

    def __init__(self, ServerContext context not None, proxy_header=None):
        StreamProtocol.__init__(self, context)
        self.proxy_header = proxy_header
        self.connection = HTTPConnection(
            context.settings, server_line=context.server_line, default_lines=context.default_lines
        )
        self.read_buffer_size = context.settings.read_buffer_size

    def connection_made(self, transport):
        StreamProtocol.connection_made(self, transport)
        self.template = self.context.make_template(transport, self.secure, self.proxy_header)
        self.await_head()
        if self.context.closing:
            self.shutdown()

    def connection_lost(self, error):
        self.stop_file()
        if self.exchange is not None:
            self.log_unfinished()
            self.exchange.disconnect()
            self.drop_exchange()
        StreamProtocol.connection_lost(self, error)

    def data_received(self, data):
        if self.lingering:
            self.throw_away(len(data))
            return
        if self.connection.early_size + len(data) > self.read_buffer_size and self.connection.read_state == READING_DONE:
            # Requests behind the one in work are kept as they came; with more than a little the socket waits.
            self.pause_reading()
        try:
            events = self.connection.receive_data(data)
        except RemoteProtocolError as error:
            self.refuse(error)
            return
        if self.later is not None:
            self.later.extend(events)
            self.go_on_with_read()
        elif events and self.may_wait(events, len(data)):
            self.later = events
            self.go_on_in_round()
        elif events:
            self.run(events)
        elif self.connection.head_begun and not self.head_awaited:
            self.head_awaited = True
            self.await_head()

    cdef bint may_wait(self, list events, Py_ssize_t size) noexcept:
        """Whether a request starts when the loop has read from all connections (see Round).

        The first one of a connection would wait nearly alone, as uvloop lets in few clients a turn. One that may change the protocol
        does so before more is read. Older tasks than eager ones wait anyway.
        """
        if self.exchange is not None or not self.requests or not self.context.has_eager_tasks:
            return False
        return size < LEAST_AT_ONCE and type(events[0]) is request_head and (<tuple> events[0])[UPGRADE] is None

    cdef int choose_reading(self) except -1:
        """Read as is best for the request that has begun."""
        cdef bint directly = self.body_left >= LEAST_DIRECT
        if directly != (self.fresh is not None) and self.copies_reads and self.transport is not None:
            self.fresh = FreshBytes.__new__(FreshBytes) if directly else None
            self.transport.set_protocol(DirectReader(self) if directly else self)
        return 0

    # -- Writing

    cdef int hold_parts(self) except -1:
        """What is in the connection's buffer leaves with what comes behind it: a write for every part is what costs."""
        self.parts_held = True
        return self.post()

    cdef int write_out(self) except -1:
        cdef bytes parts
        if self.parts_held:
            self.parts_held = False
            parts = self.connection.flush()
            self.outgoing = parts if self.outgoing is None else self.outgoing + parts
        return StreamProtocol.write_out(self)

    # -- The end of the input

    def eof_received(self):
        """Whether the transport stays open: a client may close its side behind a request and still be answered."""
        self.go_on_with_read()  # its answer leaves before the end
        if self.transport is None:
            return True  # a WebSocket has it now
        cdef bint in_work = self.exchange is not None or self.later is not None
        cdef bint answer_is_due = in_work and self.connection.read_state == READING_DONE
        self.connection.receive_eof()
        if self.secure:
            self.watch_writing()  # TLS has no half: the connection ends, behind what is written
        elif answer_is_due and not self.lingering:
            if self.exchange is not None:
                self.exchange.end_input()
            return True
        self.close()
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
                elif self.websocket_head is not None:
                    self.hand_over()
                    break
                elif self.exchange is not None and self.exchange.waiter is not None:
                    self.exchange.wake(True)
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
                if self.exchange is not None:
                    self.exchange.end_body()
            elif type(event) is bytes:
                self.extend_deadline(self.context.body_seconds, len(<bytes> event))
                if self.body_left:
                    self.body_left -= len(<bytes> event)
                if self.exchange is not None:
                    self.exchange.add_body(<bytes> event)
            elif type(event) is request_head:
                if (<tuple> event)[UPGRADE] is None or not self.begin_websocket(<tuple> event):
                    started = self.begin(<tuple> event)
        return started

    # -- WebSockets

    cdef bint begin_websocket(self, tuple head) except -1:
        """Whether the request asks for a WebSocket that can be had; other upgrades are ignored (RFC 9110 section 7.8)."""
        if self.context.codec is None or not is_handshake(head[METHOD], head[UPGRADE]):
            return False
        self.count_request()
        self.websocket_head = head
        return True

    cdef int hand_over(self) except -1:
        """Let a WebSocket have the transport: nothing is parsed again, and what came behind the request goes along."""
        cdef tuple head = self.websocket_head
        cdef WebSocketProtocol websocket
        if self.context.is_overloaded():
            self.note_overload()
            return self.give_up(503, RETRY_AFTER)
        try:
            handshake = ServerHandshake(head[METHOD], head[HTTP_VERSION], head[HEADERS], self.context.settings)
            if head[CONTENT_LENGTH] or head[CHUNKED]:
                raise RemoteProtocolError("a WebSocket handshake has no body", 400)
        except RemoteProtocolError as error:
            return self.refuse(error)
        self.write_out()  # the answers to requests before this one
        websocket = WebSocketProtocol(self.context)
        websocket.secure = self.secure
        transport, self.transport = self.transport, None
        self.lost = True
        self.clear_deadline()
        websocket.take_over(transport, self.connection, self.template, handshake)
        self.context.forget_connection(self)
        return 0

    cdef Exchange begin(self, tuple head):
        cdef Exchange exchange = self.take_spare()
        if exchange is None:
            exchange = Exchange.__new__(Exchange)
        exchange.protocol = self
        exchange.connection = self.connection
        exchange.scope = self.template.scope(head, self.context.state)
        self.exchange = exchange
        self.discarded = 0
        self.body_left = 0 if head[CONTENT_LENGTH] is None else head[CONTENT_LENGTH]
        if self.fresh is not None or self.body_left >= LEAST_DIRECT:
            self.choose_reading()
        if self.connection.awaits_continue:
            self.clear_deadline()  # the app has not asked for the body yet
        else:
            self.await_body()
        exchange.deadline = self.context.now + self.context.request_seconds + 1 if self.context.request_seconds else 0
        if self.context.access_log is not None and self.context.access_log.timed:
            exchange.began = moment()
        self.count_request()
        return exchange

    cdef int count_request(self) except -1:
        self.requests += 1
        if self.context.draining:
            self.connection.response.close = True
        if self.requests == self.context.most_per_connection:
            self.connection.response.close = True
            self.context.counters.connection_limits += 1
            self.context.error_logger.debug(
                "%s: the last request of its connection (limit_requests_per_connection is %d)",
                self.client(),
                self.requests,
            )
        return self.context.count_request()

    cdef int start(self, Exchange exchange) except -1:
        if self.context.readiness_path is not None and self.asks_if_ready():
            return exchange.tell_if_ready()
        if not self.context.is_overloaded():
            return exchange.start()
        self.note_overload()
        return exchange.refuse(503, RETRY_AFTER)

    cdef int note_overload(self) except -1:
        self.context.counters.overloads += 1
        return self.log_limit("limit_concurrency", self.context.most_at_once, "a request more than can be worked on")

    cdef bint asks_if_ready(self) except -1:
        cdef tuple head = self.connection.request
        return head[PATH] == self.context.readiness_path and head[METHOD] in ("GET", "HEAD")

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

    cdef Exchange take_spare(self):
        """An exchange that has served, for another request."""
        cdef Exchange exchange = <Exchange> self.context.spare
        if exchange is None:
            return None
        self.context.spare = exchange.next
        self.context.spares -= 1
        exchange.next = None
        return exchange if exchange.renew() else None

    cdef int retire_exchange(self) except -1:
        """It is over, and may serve another request, of whatever connection."""
        cdef Exchange exchange = self.exchange
        self.exchange = None
        exchange.scope = None
        exchange.headers = None
        exchange.spare = True
        if exchange.ended:
            exchange.forget()
        if self.context.spares == MOST_SPARES:
            exchange.release()
            return 0
        exchange.next = <Exchange> self.context.spare
        self.context.spare = exchange
        self.context.spares += 1
        return 0

    cdef bint may_go_on(self) noexcept:
        """Whether the exchange in work is over and the next one may begin.

        Not while the client leaves its responses unread, or a flood of requests would fill memory with answers.
        """
        if self.connection.write_state != WRITING_DONE or self.connection.read_state != READING_DONE:
            return False
        return not (self.writing_paused or self.lingering or self.lost)

    def resume_writing(self):
        StreamProtocol.resume_writing(self)
        if self.may_go_on():
            self.go_on_later()  # a transport may resume inside a write, and that be inside a step of some app's task

    cdef list next_events(self):
        """Make ready for the next request; what of it was read already."""
        self.retire_exchange()
        self.set_deadline(self.context.keep_alive_seconds)
        self.head_awaited = False
        try:
            events = self.connection.begin_next()
        except RemoteProtocolError as error:
            self.refuse(error)
            return []
        if self.connection.read_state != READING_DONE:
            self.resume_reading()
        elif self.transport.is_closing():
            return []  # nobody waits for the answers to what is still there
        elif not self.connection.pending():
            # Not while others wait behind this one: a flood of them would all be taken in.
            self.resume_reading()
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
        if self.may_go_on():
            self.run(self.next_events())

    cdef int on_response(self) except -1:
        """A response is out whole; see what the connection is for now."""
        if self.context.access_log is not None:
            self.log_access(self.exchange)
        if self.lost:
            return 0
        if self.connection.response.close or self.connection.read_state >= READING_CLOSED:
            self.retire_exchange()
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
                self.go_on_in_round()
        return 0

    cdef int go_on_with_read(self) except -1:
        cdef list events = self.later
        self.later = None
        if events is not None and not self.lost and not self.lingering:
            self.run(events)
        return 0

    cdef int discard(self, Py_ssize_t size) except -1:
        self.discarded += size
        if self.discarded > MOST_DISCARDED:
            self.connection.close()
            self.finish(True)
        return 0

    cdef int resume_body(self) except -1:
        """The app has taken what was kept for it; only a request that waits its turn may still stop the socket."""
        if self.connection.early_size <= self.read_buffer_size:
            self.resume_reading()
        return 0

    cdef int cut(self) except -1:
        """End the connection in the middle of a response."""
        if self.context.access_log is not None:
            self.log_access(self.exchange)
        self.drop_exchange()
        return self.break_off(self.connection.read_state == READING_BODY)

    cdef int break_off(self, bint client_may_be_sending) except -1:
        """Let nothing more out, and let the client see that something is missing."""
        self.stop_file()
        self.write(self.connection.flush())
        self.connection.close()
        if self.connection.response.framing == BY_CLOSE:
            # An orderly end would make this body look whole (RFC 9112 section 8).
            self.reset()
            return 0
        return self.finish(client_may_be_sending)

    cdef int refuse(self, error) except -1:
        """Answer what cannot be read, and end the connection."""
        self.context.counters.count_refusal(error.status)
        self.context.error_logger.warning("Invalid HTTP request received from %s: %s", self.client(), error)
        return self.give_up(error.status, refusal_fields(error.status))

    cdef int give_up(self, int status, bytes fields=NO_BYTES) except -1:
        """End the connection with an answer, or without one where there is one already; an app at work learns of it."""
        cdef Exchange exchange = self.exchange
        if exchange is not None:
            self.log_unfinished()
            exchange.disconnect()
            self.drop_exchange()
        if self.connection.write_state > WRITING_HEAD:
            return self.break_off(True)
        self.write(self.connection.send_refusal(status, self.context.date_line, fields))
        return self.finish(True)

    cdef int stop_file(self) except -1:
        return 0 if self.file is None else self.file.stop()

    cdef int log_unfinished(self) except -1:
        """A response that ends before it is whole has its line in the access log too: streams end when clients leave."""
        if self.context.access_log is not None and WRITING_BODY <= self.connection.write_state <= WRITING_TRAILERS:
            self.log_access(self.exchange)
        return 0

    cdef int log_access(self, Exchange exchange) except -1:
        # The client as the app knows it, for whom a proxy may speak; the rest as it was sent.
        cdef tuple head = self.connection.request
        cdef long long sent = self.connection.response.sent - (0 if self.file is None else self.file.left)
        return self.context.access_log.note(
            self.template, exchange.scope, exchange.scope.get("client"), <str> head[METHOD], head,
            self.connection.response.status, sent, exchange.began, exchange.headers,
        )

    # -- From the server

    def tick(self):
        # A head waits for the first body bytes, so as to leave with them; not for ever.
        if self.connection.write_state == WRITING_BODY and self.connection.out.size:
            self.write(self.connection.flush())
        StreamProtocol.tick(self)
        if self.fresh is not None:
            self.fresh.drop()  # it may be a long time until something comes
        if self.exchange is None:
            if self.requests == self.requests_before:
                self.connection.free_buffer()  # an idle connection has no use for it
            self.requests_before = self.requests
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
        elif self.exchange is None and self.later is None:
            self.end_idle()
        elif self.exchange is None:
            pass  # a request has come in time
        elif self.exchange.responded:
            self.finish(True)
        else:
            self.context.counters.body_timeouts += 1
            self.log_limit("timeout_request_body", self.context.body_seconds, "a request body that came too slowly")
            self.give_up(408)

    cdef int end_idle(self) except -1:
        """Nothing is in work: the client was silent too long, or in the middle of a head."""
        if self.context.closing:
            return self.finish(False)
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
        # Between requests it is the peer's turn, whomever it spoke for before.
        client = self.template.peer if self.exchange is None else self.template.client
        return client_name(client) or "a client"

    def end_exchange(self):
        """End the request in work, if there is one, with 503 or in the middle of its response."""
        if self.owes_answer() and not self.lingering:
            self.give_up(503)

    cdef bint owes_answer(self) noexcept:
        return self.later is not None or self.exchange is not None and not self.exchange.responded

    def shutdown(self):
        """End the connection: now if it is idle, otherwise behind the response in work."""
        if self.lingering or self.transport is None:
            return
        if self.exchange is None and self.requests == 0:
            # Who has just come has a request on its way, and gets one answer.
            self.connection.response.close = True
            self.set_deadline(min(FIRST_REQUEST_SECONDS, self.context.head_seconds or FIRST_REQUEST_SECONDS))
        elif self.owes_answer():
            self.connection.response.close = True
        else:
            self.finish(self.exchange is not None)


cdef class DirectReader:
    """What the transport reads for while a large body comes.

    uvloop copies what it reads out of a buffer of its own, unless a protocol has one, for which it looks when the protocol
    is set: at a large body it gets this one, and HTTPProtocol again at a request without one. asyncio and TLS do not
    copy. bench/micro/served.py
    """

    cdef HTTPProtocol protocol

    def __cinit__(self, HTTPProtocol protocol not None):
        self.protocol = protocol

    def get_buffer(self, size_hint):
        cdef HTTPProtocol protocol = self.protocol
        cdef unsigned long long size = FIRST_DIRECT
        if protocol.body_left:
            # One byte more than there is: a read that fills its buffer is tried again.
            size = min(protocol.body_left, <unsigned long long> LARGEST_DIRECT - 1) + 1
        protocol.fresh.make(size)
        return protocol.fresh

    def buffer_updated(self, size):
        self.protocol.data_received(self.protocol.fresh.take(size))

    def eof_received(self):
        return self.protocol.eof_received()

    def connection_lost(self, error):
        self.protocol.connection_lost(error)

    def pause_writing(self):
        self.protocol.pause_writing()

    def resume_writing(self):
        self.protocol.resume_writing()
