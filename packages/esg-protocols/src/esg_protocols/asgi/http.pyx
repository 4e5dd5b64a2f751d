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


cdef inline bint is_word(kind, str word) noexcept:
    """``kind == word`` for ASCII words, which are not the same object in every module: no hash, no general comparison."""
    if type(kind) is not str or PyUnicode_GET_LENGTH(kind) != PyUnicode_GET_LENGTH(word):
        return False
    return PyUnicode_IS_COMPACT_ASCII(kind) and not memcmp(
        PyUnicode_DATA(kind), PyUnicode_DATA(word), PyUnicode_GET_LENGTH(word)
    )


# -- Messages --------------------------------------------------------------------------------------------------------

# What an app's message says: borrowed from it, and NULL where it says nothing.
cdef struct Fields:
    PyObject *kind
    PyObject *status
    PyObject *headers
    PyObject *body
    PyObject *more_body


cdef int read_fields(dict message, Fields *fields) except -1:
    """One walk over the message, not a look-up for every key there may be: bench/micro/messages.py."""
    cdef Py_ssize_t at = 0
    cdef PyObject *key
    cdef PyObject *value
    cdef object written
    memset(fields, 0, sizeof(Fields))
    while PyDict_Next(message, &at, &key, &value):
        # A key that is written in a program is the same object everywhere; one that was put together is not. A look-up
        # of a plain str runs no code of the application's, which could change the message under our hands.
        if not put_field(fields, key, value) and type(<object> key) is str:
            written = interned.get(<object> key)
            put_field(fields, <PyObject *> written, value)
    return 0


cdef inline bint put_field(Fields *fields, PyObject *key, PyObject *value) noexcept:
    if key == <PyObject *> TYPE_KEY:
        fields.kind = value
    elif key == <PyObject *> BODY_KEY:
        fields.body = value
    elif key == <PyObject *> MORE_BODY_KEY:
        fields.more_body = value
    elif key == <PyObject *> STATUS_KEY:
        fields.status = value
    elif key == <PyObject *> HEADERS_KEY:
        fields.headers = value
    else:
        return False
    return True


cdef inline object said(PyObject *value, otherwise):
    return otherwise if value == NULL else <object> value


# -- Awaitables ------------------------------------------------------------------------------------------------------
# Coroutines in all but type: asyncio.create_task, asyncio.iscoroutine and wait_for take them, and one that need not
# wait costs no frame and no turn of the loop: bench/micro/awaitables.py.

cdef class Done:
    """The awaitable of a ``send`` that need not wait. It keeps nothing, so one serves all."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration

    def send(self, value):
        raise StopIteration

    def throw(self, kind, value=None, traceback=None):
        raise as_exception(kind, value, traceback)

    def close(self):
        pass


cdef Done DONE = Done()


cdef object as_exception(kind, value, traceback):
    """The exception of a ``throw``, which may come as one, two or three arguments."""
    cdef object error = kind if isinstance(kind, BaseException) else value
    if not isinstance(error, BaseException):
        error = kind() if error is None else kind(error)
    return error if traceback is None else error.with_traceback(traceback)


cdef class Waiting:
    """An awaitable that looks whether it must wait when it is first stepped, and again whenever it is woken."""

    cdef object future_steps

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.step()

    def send(self, value):
        return self.step()

    def throw(self, kind, value=None, traceback=None):
        self.future_steps = None
        raise as_exception(kind, value, traceback)

    def close(self):
        self.future_steps = None

    cdef object step(self):
        cdef object future
        while True:
            if self.future_steps is not None:
                try:
                    return next(self.future_steps)
                except StopIteration:
                    self.future_steps = None
            future = self.poll()
            self.future_steps = iter(future)

    cdef object poll(self):
        """Raise StopIteration with the result, or return a future to wait for."""
        raise AssertionError


cdef class Receive(Waiting):
    cdef Exchange exchange

    cdef object poll(self):
        cdef dict message = self.exchange.next_message()
        if message is not None:
            raise StopIteration(message)
        return self.exchange.wait_for_input()


cdef class Drain(Waiting):
    cdef HTTPProtocol protocol
    # Behind a whole response once is enough: what fills the buffer again is the responses behind it
    cdef bint last
    cdef bint waited

    cdef object poll(self):
        if self.protocol.broken:
            raise ClientDisconnected("the client has gone")
        if self.protocol.lost or not self.protocol.writing_paused or self.last and self.waited:
            raise StopIteration
        self.waited = True
        future = self.protocol.context.loop.create_future()
        self.protocol.drain_waiters = with_waiter(self.protocol.drain_waiters, future)
        return future


cdef list with_waiter(list waiters, future):
    """The futures still waited for, and one more; cancelled ones go."""
    if waiters is None:
        return [future]
    return [waiter for waiter in waiters if not waiter.done()] + [future]


cdef class Turn(Waiting):
    """The awaitable of a ``send`` that lets others have their turn."""

    cdef bint taken

    cdef object step(self):
        if self.taken:
            raise StopIteration
        self.taken = True
        return None  # a task that is given nothing to wait for goes on in the loop's next turn


# -- The application's run -------------------------------------------------------------------------------------------

@freelist(16)
cdef class AppRun:
    """The coroutine of an exchange's task: it calls the application and steps what that returns.

    So the application is called inside its task, whatever kind of callable it is, and its end is seen where it happens,
    without a callback. A coroutine in all but type, like the awaitables above.
    """

    cdef Exchange exchange
    # What the application is called with: the exchange may have given up its methods before a task has its first turn
    cdef tuple arguments
    cdef object coroutine

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        cdef PyObject *yielded = NULL
        if self.step(&yielded) != PYGEN_NEXT:
            raise StopIteration
        return take_reference(yielded)

    def send(self, value):
        return self.__next__()

    def throw(self, kind, value=None, traceback=None):
        try:
            if self.coroutine is None:
                raise as_exception(kind, value, traceback)
            return self.coroutine.throw(as_exception(kind, value, traceback))
        except StopIteration:
            self.exchange.end(None)
        except BaseException as error:
            self.exchange.end(error)
            if isinstance(error, FOR_THE_LOOP):
                raise
        raise StopIteration

    def close(self):
        if self.coroutine is not None:
            self.coroutine.close()

    def __getattr__(self, str name):
        # Debuggers and anyio look at a task's coroutine: cr_frame, cr_running and the like are the application's.
        if name.startswith("cr_"):
            return getattr(self.coroutine, name)
        raise AttributeError(name)

    cdef PySendResult step(self, PyObject **yielded) except PYGEN_ERROR:
        cdef PySendResult result
        try:
            if self.coroutine is None:
                self.coroutine = steps_of(self.call_app())
            result = PyIter_Send(self.coroutine, None, yielded)
        except BaseException as error:
            self.exchange.end(error)
            if isinstance(error, FOR_THE_LOOP):
                raise
            return PYGEN_RETURN
        if result == PYGEN_RETURN:
            take_reference(yielded[0])
            self.exchange.end(None)
        return result


    cdef object call_app(self):
        cdef tuple arguments = self.arguments
        self.arguments = None
        return PyObject_Call(self.exchange.protocol.context.app, arguments, NULL)


cdef bint is_about_the_client(error) except -1:
    """Whether an app ended because its client had left: by our error, by its own in place of it, or cancelled."""
    cdef int depth
    for depth in range(16):
        if error is None or isinstance(error, (ClientDisconnected, CancelledError)):
            return error is not None
        if hasattr(error, "exceptions"):  # what a task group makes of it
            return all([is_about_the_client(part) for part in error.exceptions])
        error = error.__cause__ or error.__context__
    return False


cdef object take_reference(PyObject *owned):
    """The object of a reference that is ours, as one that Cython counts."""
    cdef object taken = <object> owned
    Py_DECREF(taken)
    return taken


cdef object steps_of(awaitable):
    """What to step when an application is awaited."""
    if type(awaitable) is coroutine_type:
        return awaitable
    try:
        return awaitable.__await__()
    except AttributeError:
        raise TypeError(f"the application returned {awaitable!r}, which cannot be awaited") from None


# -- One request and its response ------------------------------------------------------------------------------------

cdef class Exchange:
    cdef HTTPProtocol protocol
    cdef HTTPConnection connection
    cdef dict scope
    cdef object task
    cdef bint ended
    # The request's body as it came and was not received yet
    cdef list body
    cdef Py_ssize_t body_size
    cdef bint body_complete
    cdef bint body_delivered
    cdef list waiters
    # How it stands
    cdef bint responded
    cdef bint disconnected
    cdef bint input_ended
    cdef int sends
    # What the app calls; kept, so that an exchange can be used again with them
    cdef object receive_method
    cdef object send_method

    # -- The request

    cdef int add_body(self, bytes data) except -1:
        if self.responded:
            return self.protocol.discard(len(data))
        if self.body is None:
            self.body = []
        self.body.append(data)
        self.body_size += len(data)
        # An app that waits for the bytes is about to take them: stopping the socket for it would cost two system calls.
        if self.waiters is None and self.body_size >= self.protocol.read_buffer_size:
            self.protocol.pause_reading()
        return self.wake()

    cdef int end_body(self) except -1:
        self.body_complete = True
        return self.wake()

    cdef int disconnect(self) except -1:
        self.disconnected = True
        return self.wake()

    cdef int end_input(self) except -1:
        """The client closed its side behind the request: it may have left, or only have no more to say.

        An app that asks learns of it, one that answers is let to: RFC 9112 section 9.6 knows both kinds of client.
        """
        self.input_ended = True
        return self.wake()

    cdef int wake(self) except -1:
        cdef list waiters = self.waiters
        self.waiters = None
        if waiters is not None:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
        return 0

    cdef dict next_message(self):
        """The next message for the app, or None when there is none yet."""
        cdef bytes data
        if not self.body_delivered and not self.responded and (self.body is not None or self.body_complete):
            data = self.take_body()
            self.body_delivered = self.body_complete
            return {"type": "http.request", "body": data, "more_body": not self.body_complete}
        if self.disconnected or self.responded or self.input_ended:
            return {"type": "http.disconnect"}
        return None

    cdef bytes take_body(self):
        cdef list parts = self.body
        self.body = None
        self.body_size = 0
        self.protocol.resume_body()
        if parts is None:
            return NO_BYTES
        return <bytes> parts[0] if len(parts) == 1 else b"".join(parts)

    cdef object wait_for_input(self):
        cdef object future = self.protocol.context.loop.create_future()
        self.waiters = with_waiter(self.waiters, future)
        # The app reads, so the client may send (RFC 9110 section 10.1.1).
        self.protocol.write(self.connection.send_continue())
        return future

    # -- Used again
    # One exchange serves request after request of a connection, as long as no app keeps hold of it or of its methods:
    # making it and them is felt in a small request (bench/micro/exchange.py).

    cdef bint renew(self) noexcept:
        """Make ready for another request, unless somebody still holds on to the last one."""
        # Two methods and the caller's variable refer to an exchange that is free, only it refers to them.
        if (
            self.task is not None
            or self.send_method is None
            or Py_REFCNT(<PyObject *> self) != 3
            or Py_REFCNT(<PyObject *> self.send_method) != 1
            or Py_REFCNT(<PyObject *> self.receive_method) != 1
        ):
            self.release()
            return False
        self.scope = None
        self.body = None
        self.body_size = 0
        self.body_complete = self.body_delivered = self.responded = self.disconnected = self.input_ended = False
        self.sends = 0
        return True

    cdef void release(self) noexcept:
        """Give up the methods, which refer back to the exchange."""
        self.receive_method = None
        self.send_method = None

    # -- The application

    cdef int start(self) except -1:
        """Run the application in a task of its own. With eager tasks its first step is over when this returns."""
        cdef ServerContext context = self.protocol.context
        cdef AppRun run = AppRun.__new__(AppRun)
        if self.send_method is None:
            self.receive_method = self.receive
            self.send_method = self.send
        run.exchange = self
        run.arguments = (self.scope, self.receive_method, self.send_method)
        self.ended = False
        task = context.start_task(run)
        if not self.ended:
            self.task = task
            context.tasks.add(task)
        return 0

    def receive(self):
        cdef Receive receive = Receive.__new__(Receive)
        receive.exchange = self
        return receive

    def send(self, message):
        # Held for as long as its fields are borrowed.
        cdef dict held = <dict> message if type(message) is dict else dict(message)
        cdef Fields fields
        cdef object kind
        cdef HTTPConnection connection = self.connection
        cdef HTTPProtocol protocol = self.protocol
        read_fields(held, &fields)
        kind = said(fields.kind, None)
        if self.disconnected:
            raise ClientDisconnected("the client has gone")
        if self.responded:
            raise LocalProtocolError(f"{kind!r} sent after the response was complete")
        if connection.write_state == WRITING_HEAD:
            if not is_word(kind, START):
                raise LocalProtocolError(f"{kind!r} sent where 'http.response.start' is due")
            connection.start_response(
                said(fields.status, None), said(fields.headers, ()), protocol.context.date_line
            )
            return DONE
        if not is_word(kind, BODY):
            raise LocalProtocolError(f"{kind!r} sent where 'http.response.body' is due")
        if self.sends and protocol.transport.is_closing():
            self.disconnect()
            raise ClientDisconnected("the client has gone")
        try:
            data = connection.write_body(said(fields.body, NO_BYTES), said(fields.more_body, False))
        except LocalProtocolError as error:
            self.fail(error)
            raise
        protocol.write(data)
        if connection.write_state == WRITING_DONE:
            self.complete()
        self.sends += 1
        if protocol.writing_paused:
            return self.drain()
        return DONE if self.sends % SENDS_IN_A_ROW else Turn()

    cdef Drain drain(self):
        cdef Drain drain = Drain.__new__(Drain)
        drain.protocol = self.protocol
        drain.last = self.responded
        return drain

    cdef int complete(self) except -1:
        """The response is out."""
        self.responded = True
        self.body = None
        self.wake()
        return self.protocol.on_response()

    cdef int fail(self, error) except -1:
        """The response cannot be finished: nothing more goes out, and the client sees that it is cut short."""
        self.protocol.context.error_logger.error("The application's response was cut short: %s", error)
        return self.cut()

    cdef int cut(self) except -1:
        self.responded = True
        self.body = None
        self.wake()
        return self.protocol.cut()

    cdef int end(self, error) except -1:
        """The application has returned, or raised ``error``."""
        self.ended = True
        if self.task is not None:
            self.protocol.context.forget_task(self.task)
            self.task = None
        if error is None:
            if not self.responded and not self.disconnected:
                self.miss()
        elif not (self.disconnected or self.responded) or not is_about_the_client(error):
            self.blame(error)
        return 0

    cdef int miss(self) except -1:
        if self.connection.write_state == WRITING_HEAD:
            self.protocol.context.error_logger.error("The application returned without a response.")
            return self.refuse()
        self.protocol.context.error_logger.error("The application returned before its response was complete.")
        return self.cut()

    cdef int blame(self, error) except -1:
        cdef ServerContext context = self.protocol.context
        context.counters.app_errors += 1
        context.error_logger.error("Exception in ASGI application", exc_info=error)
        if self.responded or self.disconnected:
            return 0
        return self.refuse() if self.connection.write_state == WRITING_HEAD else self.cut()

    cdef int refuse(self) except -1:
        self.responded = True
        self.body = None
        self.wake()
        self.protocol.write(self.connection.send_refusal(500, self.protocol.context.date_line))
        return self.protocol.on_response()


# -- The connection --------------------------------------------------------------------------------------------------

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

    def __init__(self, ServerContext context not None):
        StreamProtocol.__init__(self, context)
        self.connection = HTTPConnection(context.settings, server_line=context.server_line)
        self.read_buffer_size = context.settings.read_buffer_size

    def connection_made(self, transport):
        StreamProtocol.connection_made(self, transport)
        self.template = ScopeTemplate(transport, "")
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
        else:
            self.run(events)

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
                    started.start()
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
                self.exchange.end_body()
            elif type(event) is bytes:
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
        self.deadline = 0
        self.discarded = 0
        self.context.counters.requests += 1
        return exchange

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
        """Answer what cannot be read, and end the connection; an app that is at it learns that its client is lost."""
        cdef Exchange exchange = self.exchange
        self.context.counters.protocol_errors += 1
        self.context.error_logger.warning("Invalid HTTP request received: %s", error)
        if exchange is not None:
            exchange.disconnect()
            self.drop_exchange()
        if self.connection.write_state > WRITING_HEAD:
            return self.break_off(True)
        self.write(self.connection.send_refusal(error.status, self.context.date_line))
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

    def on_deadline(self):
        if self.lingering:
            self.abort()
        else:
            self.finish(self.exchange is not None)

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
