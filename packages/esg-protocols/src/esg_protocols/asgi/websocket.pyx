# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False, binding=False
# cython: nonecheck=True
"""WebSockets on an asyncio transport: the protocol reads and writes, a session is what the application sees."""

from cpython.ref cimport PyObject

from esg_protocols.asgi.access cimport client_name, moment
from esg_protocols.asgi.app_run cimport AppSide, is_about_the_client
from esg_protocols.asgi.awaitables cimport OVER, Waiting, step_fast
from esg_protocols.asgi.base cimport LEAST_AT_ONCE, StreamProtocol
from esg_protocols.asgi.context cimport ServerContext
from esg_protocols.asgi.line_format cimport request_id
from esg_protocols.asgi.scope cimport ScopeTemplate
from esg_protocols.head cimport METHOD
from esg_protocols.http1.connection cimport WRITING_DONE, HTTPConnection
from esg_protocols.websocket.codecs.native cimport NativeCodec
from esg_protocols.words cimport is_word

from esg_protocols.errors import ClientDisconnected, LocalProtocolError, RemoteProtocolError
from esg_protocols.websocket.codec import Close, Pong


cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *)


cdef type close_event = Close
cdef type pong_event = Pong
cdef str CONNECT = "websocket.connect"
cdef str ACCEPT = "websocket.accept"
cdef str SEND = "websocket.send"
cdef str CLOSE = "websocket.close"
cdef str RESPONSE_START = "websocket.http.response.start"
cdef str RESPONSE_BODY = "websocket.http.response.body"
# A copy is made faster than a dict is put together.
cdef dict TEXT_CAME = {"type": "websocket.receive", "text": ""}
cdef dict BYTES_CAME = {"type": "websocket.receive", "bytes": b""}
cdef dict DUE = {
    CONNECTING: f"{ACCEPT!r}, {CLOSE!r} or {RESPONSE_START!r} is due",
    DENYING: f"{RESPONSE_BODY!r} is due",
    OPEN: f"{SEND!r} or {CLOSE!r} is due",
}

cdef enum:
    # Close codes (RFC 6455 section 7.4.1)
    NORMAL = 1000
    LOST = 1006
    APP_ERROR = 1011
    RESTART = 1012
    # Characters and bytes of messages kept for an app before the socket waits, beside their number; or one larger message.
    MOST_KEPT = 1048576
    # Places in the list of messages kept for an app that may be behind their reader.
    MOST_TAKEN = 32

# How long a client may take to answer a close frame, in seconds.
cdef double CLOSE_SECONDS = 10.0


cdef class WebSocketProtocol(StreamProtocol):
    # -- The transport's calls

    def connection_lost(self, error):
        self.over(LOST)
        StreamProtocol.connection_lost(self, error)

    def data_received(self, data):
        if self.state == OPEN or self.state == CLOSING:
            self.context.counters.message_bytes_received += len(data)
            self.go_on_with_read()  # the application answers what came before
            self.feed(data)
        elif self.state == CONNECTING:
            # Nothing may come before the handshake is over; what does is looked at then, and the socket waits.
            self.early += data
            self.pause_reading()
        elif self.lingering:
            self.throw_away(len(data))

    def eof_received(self):
        self.go_on_with_read()
        self.close()

    def tick(self):
        StreamProtocol.tick(self)
        if self.state == OPEN:
            self.check_pings()

    def on_write_deadline(self):
        self.context.counters.write_timeouts += 1
        self.context.error_logger.warning(
            "%s: %s (%s is %g)", self.client(), "a message that was not read", "timeout_write", self.context.write_seconds
        )
        self.reset()

    # -- The handshake

    cdef int take_over(self, transport, HTTPConnection http, ScopeTemplate template, handshake) except -1:
        """Go on where an HTTP connection has read a request for a WebSocket."""
        self.transport = transport
        self.transport_write = transport.write
        self.template = template
        self.http = http
        self.http.response.close = True  # there is nothing but this request
        self.head = http.request
        self.handshake = handshake
        self.early = http.trailing_data
        self.session = WebSocket.__new__(WebSocket)
        self.session.protocol = self
        self.session.messages = []
        self.context.connections.add(self)
        transport.set_protocol(self)
        scope = template.websocket_scope(self.head, self.context.state, handshake.subprotocols)
        self.scope = scope
        if self.context.access_log is not None and self.context.access_log.timed:
            self.began = moment()
        self.session.run_app(self.context, scope, self.session.receive, self.session.send)
        return 0

    cdef int accept(self, dict message) except -1:
        cdef ServerContext context = self.context
        cdef bytes defaults = context.server_line + context.default_lines + context.date_line
        data = self.handshake.send_accept(message.get("subprotocol"), self.fields(message), defaults=defaults)
        self.codec = context.codec(context.settings, deflate=self.handshake.deflate)
        self.native = self.codec if type(self.codec) is NativeCodec else None
        self.receive_data = self.codec.receive_data
        self.data_to_send = self.codec.data_to_send
        self.send_text = self.codec.send_text
        self.send_bytes = self.codec.send_bytes
        self.state = OPEN
        self.http.close()
        self.http = None
        self.handshake = None
        context.counters.websockets += 1
        self.write(data)
        self.log_access((<str> self.head[METHOD]), 101)
        if context.ping_seconds:
            self.ping_due = context.now + context.ping_seconds + 1
        if self.early:
            early, self.early = self.early, b""
            self.data_received(early)
        self.resume_reading()
        if context.closing:
            self.shutdown()
        return 0

    cdef int deny(self, int status) except -1:
        """Answer for the application."""
        self.context.counters.websocket_denials += 1
        cdef bytes fields = b""
        if self.context.request_ids is not None:
            fields = self.context.request_ids.line(str(request_id(<PyObject *> self.scope)))
        self.write(self.http.send_refusal(status, self.context.date_line, fields))
        self.log_access((<str> self.head[METHOD]), status)
        self.over(LOST)
        return self.finish(self.early != b"")

    cdef int begin_denial(self, dict message) except -1:
        self.http.start_response(
            message.get("status"), self.fields(message), self.context.date_line, False
        )
        self.context.counters.websocket_denials += 1
        self.state = DENYING
        return 0

    cdef object fields(self, dict message):
        """The header fields of the application's answer, with one for the request's id where it has one."""
        headers = message.get("headers", ())
        name = None if self.context.request_ids is None else request_id(<PyObject *> self.scope)
        if name is not None:
            headers = self.context.request_ids.added(headers, str(name))
        return headers

    cdef int go_on_denying(self, dict message) except -1:
        try:
            data = self.http.write_body(message.get("body", b""), message.get("more_body", False), False)
        except LocalProtocolError as error:
            self.cut_denial(error)
            raise
        self.write(data)
        if self.http.write_state == WRITING_DONE:
            self.log_access((<str> self.head[METHOD]), self.http.response.status)
            self.over(LOST)
            self.finish(self.early != b"")
        return 0

    cdef int cut_denial(self, why) except -1:
        self.context.error_logger.error("The application's response was cut short: %s", why)
        self.over(LOST)
        self.abort()
        return 0

    # -- Messages

    cdef int feed(self, data) except -1:
        """Take in what was read, and what the codec has more of it, as long as the app keeps up."""
        cdef bint woken, more
        while True:
            try:
                if self.native is not None:
                    message = self.native.receive_one(data)
                    if message is not None:
                        self.add(message)
                        return self.wake_in_round() if len(data) < LEAST_AT_ONCE else self.session.wake(True)
                events = self.receive_data(data) if self.native is None else self.native.receive_data(data)
            except RemoteProtocolError as failure:
                return self.fail(failure)
            woken = self.take(events)
            if self.state == CLOSED:
                return 0
            more = self.has_more()
            data = b""
            if more and self.native is None:
                continue  # a library has failed behind these messages, and lets no app answer them any more
            if woken:
                self.session.wake(True)
            if self.state == CLOSED or self.reading_paused or not more:
                return 0

    cdef int wake_in_round(self) except -1:
        self.wakes = True
        return self.go_on_in_round()

    cdef int go_on_with_read(self) except -1:
        cdef bint wakes = self.wakes
        self.wakes = False
        return self.session.wake(True) if wakes else 0

    cdef bint has_more(self) except -1:
        """Whether the codec has more to say of what it was given."""
        if self.native is not None:  # the same question without a look-up
            return self.native.failure is not None or self.native.kept is not None
        return self.codec.pending

    cdef int go_on_reading(self) except -1:
        """The app has taken what was kept for it, or has no use for it."""
        self.resume_reading()
        if self.has_more():
            self.feed(b"")
        return 0

    cdef int take(self, list events) except -1:
        """Keep what was read for the app; whether there is anything that it may wait for."""
        cdef bint answers_are_due = False
        cdef bint woken = False
        for event in events:
            if type(event) is str or type(event) is bytes:
                self.add(event)
                woken = True
            else:
                answers_are_due = True
                if type(event) is close_event:
                    self.on_close(event.code, event.reason)
                    return False
                elif type(event) is pong_event and event.payload == self.ping:
                    self.pong_due = 0
        if answers_are_due:
            self.flush()
        return woken

    cdef int add(self, message) except -1:
        cdef dict told
        self.context.counters.messages_received += 1
        if type(message) is str:
            told = TEXT_CAME.copy()
            told["text"] = message
            return self.session.add(told, len(<str> message))
        told = BYTES_CAME.copy()
        told["bytes"] = message
        return self.session.add(told, len(<bytes> message))

    cdef int flush(self) except -1:
        """Let out what the codec has to say of its own accord: pongs, and answers to close frames."""
        data = self.data_to_send()
        if data:
            self.write(data)
        return 0

    # -- The end

    cdef int on_close(self, int code, str reason) except -1:
        """The client's close frame has come, and ours is out: the server ends the connection (RFC 6455 section 7.1.1)."""
        self.flush()
        self.session.disconnect(code, reason)
        self.over(code)
        return self.finish(False)

    cdef int begin_close(self, int code, str reason) except -1:
        self.write(self.codec.send_close(code, reason))
        self.closed_with = code
        self.state = CLOSING
        self.set_deadline(CLOSE_SECONDS)
        return self.go_on_reading()

    cdef int fail(self, error) except -1:
        """The client broke a rule: it is told which, and the connection ends."""
        self.context.counters.protocol_errors += 1
        self.context.error_logger.warning("Invalid WebSocket data received from %s: %s", self.client(), error)
        self.flush()
        self.session.disconnect(error.status, str(error))
        self.over(error.status)
        return self.finish(True)

    cdef int over(self, int code) except -1:
        """Nothing comes and nothing goes any more."""
        cdef int state = self.state
        if state == CLOSED:
            return 0
        self.state = CLOSED
        self.clear_deadline()
        self.session.disconnect(code, "")
        if state == OPEN or state == CLOSING:
            if state == CLOSING:
                code = self.closed_with  # the side that closes first says why; what the other one answers adds nothing
            self.context.counters.count_close(code)
            self.log_access("WEBSOCKET", code)
        self.codec = self.receive_data = self.data_to_send = self.send_text = self.send_bytes = None
        self.native = None
        return 0

    def shutdown(self):
        """Close with 1012, as the server restarts or goes; a handshake that is not over yet ends behind its answer."""
        if self.state == OPEN:
            self.session.disconnect(RESTART, "")
            self.begin_close(RESTART, "")

    def end_exchange(self):
        """Drop the connection: the client did not answer the close frame, or the app the handshake."""
        if self.state == CONNECTING:
            self.deny(503)
        elif self.state != CLOSED:
            self.over(RESTART)
            self.abort()

    # -- Pings

    cdef int check_pings(self) except -1:
        cdef ServerContext context = self.context
        if self.reading_paused:
            # A pong may be among what we do not read.
            if self.pong_due:
                self.pong_due = context.now + context.pong_seconds + 1
        elif self.pong_due and self.pong_due <= context.now:
            context.counters.ping_timeouts += 1
            context.error_logger.warning(
                "%s: %s (%s is %g)", self.client(), "a ping that was not answered", "ws_ping_timeout", context.pong_seconds
            )
            self.write(self.codec.send_close(APP_ERROR, "keepalive ping timeout"))
            self.session.disconnect(APP_ERROR, "keepalive ping timeout")
            self.over(APP_ERROR)
            self.finish(True)
        elif self.ping_due and self.ping_due <= context.now and not self.pong_due:
            self.ping_due = context.now + context.ping_seconds
            self.ping = b"%d" % <long long> (context.now * 1000)
            self.write(self.codec.send_ping(self.ping))
            if context.pong_seconds:
                self.pong_due = context.now + context.pong_seconds + 1
        return 0

    # -- The log

    cdef int log_access(self, str method, int status) except -1:
        """A line for the handshake, with its status, and one for the end, with its close code."""
        cdef long long sent = self.sent if self.http is None else self.http.response.sent
        if self.context.access_log is None:
            return 0
        return self.context.access_log.note(
            self.template, self.scope, self.template.client, method, self.head, status, sent, self.began, None
        )

    cdef str client(self):
        return client_name(self.template.client) or "a client"


cdef class WebSocket(AppSide):
    # -- What comes

    cdef int add(self, dict message, Py_ssize_t size) except -1:
        if self.disconnect_message is not None or self.protocol.state == CLOSING:
            return 0  # an app that closes has no use for more, and the client's close frame comes behind it
        if self.message is None:
            self.message = message
        else:
            self.messages.append(message)
        self.waiting += 1
        self.kept += size
        if self.waiting >= self.protocol.context.most_messages or self.kept >= MOST_KEPT:
            self.protocol.pause_reading()
        return 0

    cdef int disconnect(self, int code, str reason) except -1:
        """The last message there is; the first of several counts."""
        if self.disconnect_message is None:
            self.disconnect_message = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self.disconnected = True
            self.protocol.wake_drains()
            self.wake(False)
        return 0

    cdef dict next_message(self):
        if not self.connect_told:
            self.connect_told = True
            return {"type": CONNECT}
        if self.message is not None:
            return self.take_message()
        return self.disconnect_message

    cdef dict take_message(self):
        cdef dict message = self.message
        self.waiting -= 1
        if self.waiting:
            self.message = <dict> self.messages[self.taken]
            self.taken += 1
            if self.taken == MOST_TAKEN:
                del self.messages[:MOST_TAKEN]
                self.taken = 0
            return message
        self.message = None
        self.kept = 0
        if self.taken:
            self.messages.clear()
            self.taken = 0
        if self.protocol.reading_paused and self.protocol.state == OPEN:
            self.protocol.go_on_reading()
        return message

    def receive(self):
        # The attribute and the variable: nobody else has it any more.
        cdef NextMessage receiver = self.receiver
        if receiver is None or Py_REFCNT(<PyObject *> receiver) != 2:
            self.receiver = receiver = NextMessage.__new__(NextMessage)
        receiver.session = self
        return receiver

    # -- What goes

    def send(self, message):
        cdef dict held = <dict> message if type(message) is dict else dict(message)
        cdef object kind = held.get("type")
        if self.protocol.state == OPEN and is_word(kind, SEND):
            return self.send_data(held)
        return self.send_otherwise(kind, held)

    cdef object send_data(self, dict message):
        cdef WebSocketProtocol protocol = self.protocol
        text = message.get("text")
        data = message.get("bytes")
        if text is not None and data is None:
            if not isinstance(text, str):
                raise LocalProtocolError(f"text must be a str, not {type(text).__name__}")
            written = protocol.send_text(text) if protocol.native is None else protocol.native.send_text(text)
        elif data is not None and text is None:
            written = protocol.send_bytes(data) if protocol.native is None else protocol.native.send_bytes(data)
        else:
            raise LocalProtocolError(f"{SEND!r} needs either text or bytes")
        protocol.context.counters.messages_sent += 1
        protocol.context.counters.message_bytes_sent += len(written)
        protocol.sent += len(written)
        protocol.write(written)
        return self.after_send(protocol, False)

    cdef object send_otherwise(self, kind, dict message):
        cdef WebSocketProtocol protocol = self.protocol
        cdef int state = protocol.state
        if state == CONNECTING and is_word(kind, ACCEPT):
            protocol.accept(message)
        elif state == CONNECTING and is_word(kind, CLOSE):
            self.closed_by_app = True
            protocol.deny(403)
        elif state == CONNECTING and is_word(kind, RESPONSE_START):
            protocol.begin_denial(message)
        elif state == DENYING and is_word(kind, RESPONSE_BODY):
            protocol.go_on_denying(message)
            self.closed_by_app = protocol.state == CLOSED
        elif state == OPEN and is_word(kind, CLOSE):
            protocol.begin_close(close_code(message.get("code", NORMAL)), message.get("reason") or "")
            self.closed_by_app = True
        elif state in DUE:
            raise LocalProtocolError(f"{kind!r} sent where {DUE[state]}")
        elif self.closed_by_app:
            raise LocalProtocolError(f"{kind!r} sent after {CLOSE!r} or a whole response")
        else:
            raise ClientDisconnected("the client has gone")
        return self.after_send(protocol, False)

    # -- The application's end

    cdef int end(self, error) except -1:
        cdef WebSocketProtocol protocol = self.protocol
        self.note_end(protocol.context)
        self.receiver = None  # which may refer back
        if error is not None and (protocol.state < CLOSING or not is_about_the_client(error)):
            protocol.context.counters.app_errors += 1
            protocol.context.error_logger.error("Exception in ASGI application", exc_info=error)
        if protocol.state == CONNECTING:
            if error is None:
                protocol.context.error_logger.error("The application returned without accepting or denying a WebSocket.")
            protocol.deny(500)
        elif protocol.state == DENYING:
            protocol.cut_denial("it returned before its response was complete")
        elif protocol.state == OPEN:
            protocol.begin_close(NORMAL if error is None else APP_ERROR, "")
        return 0


cdef class NextMessage(Waiting):
    """The awaitable of a session's ``receive``."""

    cdef object poll(self):
        if self.session is None:
            raise RuntimeError("cannot reuse already awaited receive()")
        self.result = self.session.next_message()
        if self.result is None:
            return self.session.wait(self.session.protocol.context)
        self.session = None
        return OVER


step_fast(NextMessage)


cdef int close_code(code) except -1:
    """A close code that an endpoint may send (RFC 6455 section 7.4)."""
    if not isinstance(code, int) or not (1000 <= code <= 1014 and code not in (1004, 1005, 1006) or 3000 <= code <= 4999):
        raise LocalProtocolError(f"code must be a close code, not {code!r}")
    return code
