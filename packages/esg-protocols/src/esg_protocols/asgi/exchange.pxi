"""One request and its response. Part of http.pyx."""

cdef dict REQUEST = {"type": "http.request", "body": NO_BYTES, "more_body": False}
cdef dict DUE = {
    WRITING_HEAD: repr(START),
    WRITING_BODY: repr(BODY),
    WRITING_FILE: "the end of a file",
    WRITING_TRAILERS: repr(TRAILERS),
}


cdef class Exchange(AppSide):
    cdef HTTPProtocol protocol
    cdef HTTPConnection connection
    cdef dict scope
    # It is over, and may serve again; another one that may
    cdef bint spare
    cdef Exchange next
    # The request's body as it came and was not received yet: the first read of it, and the others
    cdef bytes part
    cdef list parts
    cdef Py_ssize_t body_size
    cdef bint body_complete
    cdef bint body_delivered
    # How it stands
    cdef bint responded
    cdef bint input_ended
    # When it must be over; 0 is never
    cdef double deadline
    # For the access log, where that says so: when it began, and the response's header fields
    cdef double began
    cdef object headers
    # What the app calls; kept, so that an exchange can be used again with them
    cdef object receive_method
    cdef object send_method
    # What ``receive`` returned last, to be returned again
    cdef Receive receiver

    # -- The request

    cdef int add_body(self, bytes data) except -1:
        if self.responded:
            return self.protocol.discard(len(data))
        if self.part is None:
            self.part = data
        elif self.parts is None:
            self.parts = [data]
        else:
            self.parts.append(data)
        self.body_size += len(data)
        # An app that waits for the bytes is about to take them: stopping the socket for it would cost two system calls.
        if self.waiter is None and self.body_size >= self.protocol.read_buffer_size:
            self.protocol.pause_reading()
        return 0

    cdef int end_body(self) except -1:
        self.body_complete = True
        return 0

    cdef int disconnect(self) except -1:
        self.disconnected = True
        self.protocol.wake_drains()
        return self.wake(False)

    cdef int end_input(self) except -1:
        """The client closed its side behind the request: it may have left, or only have no more to say.

        An app that asks learns of it, one that answers is let to: RFC 9112 section 9.6 knows both kinds of client.
        """
        self.input_ended = True
        return self.wake(False)

    cdef dict next_message(self):
        """The next message for the app, or None when there is none yet."""
        cdef dict message
        if not self.body_delivered and not self.responded and (self.part is not None or self.body_complete):
            message = REQUEST.copy()  # a third less than to put it together
            if self.part is not None:
                message["body"] = self.take_body()
            self.body_delivered = self.body_complete and self.part is None
            if not self.body_delivered:
                message["more_body"] = True
            return message
        if self.disconnected or self.responded or self.input_ended:
            return {"type": "http.disconnect"}
        return None

    cdef bytes take_body(self):
        cdef bytes part = self.part
        if self.parts is not None:
            part = self.take_parts()
        else:
            self.part = None
            self.body_size = 0
        if self.part is None:
            self.protocol.resume_body()
        return part

    cdef bytes take_parts(self):
        """What came in several reads: together up to a size. Joining much takes memory that the system must clear first."""
        cdef list parts = [self.part, *self.parts]
        cdef Py_ssize_t size = len(<bytes> parts[0])
        cdef Py_ssize_t taken = 1
        while taken < len(parts) and size + len(<bytes> parts[taken]) <= MOST_JOINED:
            size += len(<bytes> parts[taken])
            taken += 1
        self.part = parts[taken] if taken < len(parts) else None
        self.parts = parts[taken + 1 :] or None
        self.body_size -= size
        return b"".join(parts[:taken])

    cdef int drop_body(self) except -1:
        self.part = None
        self.parts = None
        return 0

    cdef object wait_for_input(self):
        cdef Wakeup future = self.wait(self.protocol.context)
        # The app reads, so the client may send (RFC 9110 section 10.1.1).
        if self.connection.awaits_continue:
            self.protocol.write(self.connection.send_continue())
            self.protocol.await_body()
        return future

    # -- Used again
    # One exchange serves request after request, as long as no app keeps hold of it or of its methods:
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
        self.drop_body()
        self.body_size = 0
        self.body_complete = self.body_delivered = self.responded = self.disconnected = self.input_ended = False
        self.sends = 0
        self.spare = False
        return True

    cdef void forget(self) noexcept:
        """Let go of the connection: no app uses it any more."""
        self.protocol = None
        self.connection = None

    cdef void release(self) noexcept:
        """Give up the methods, which refer back to the exchange."""
        self.receive_method = None
        self.send_method = None
        self.receiver = None

    # -- The application

    cdef int start(self) except -1:
        if self.send_method is None:
            self.receive_method = self.receive
            self.send_method = self.send
        return self.run_app(self.protocol.context, self.scope, self.receive_method, self.send_method)

    def receive(self):
        # The attribute and the variable: nobody else has it any more.
        cdef Receive receiver = self.receiver
        if receiver is None or Py_REFCNT(<PyObject *> receiver) != 2:
            self.receiver = receiver = Receive.__new__(Receive)
        receiver.exchange = self
        return receiver

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
                return self.send_otherwise(kind, held)
            headers = said(fields.headers, ())
            if protocol.context.minds_headers:
                headers = self.mind(headers)
            connection.start_response(
                said(fields.status, None),
                headers,
                protocol.context.date_line,
                said(fields.trailers, False),
            )
            return DONE
        if connection.write_state != WRITING_BODY or not is_word(kind, BODY):
            return self.send_otherwise(kind, held)
        if self.sends and protocol.transport.is_closing():
            self.disconnect()
            raise ClientDisconnected("the client has gone")
        more = said(fields.more_body, False)
        try:
            data = connection.write_body(said(fields.body, NO_BYTES), more, more)
        except LocalProtocolError as error:
            self.fail(error)
            raise
        if data is NO_BYTES:
            protocol.hold_parts()
        else:
            protocol.write(data)
        return self.after_writing()

    cdef object send_otherwise(self, kind, dict message):
        """The messages of the extensions."""
        cdef int state = self.connection.write_state
        if is_word(kind, EARLY_HINT) and state <= WRITING_BODY:
            self.protocol.write(self.connection.send_early_hint(message.get("links", ())))
            return DONE
        if is_word(kind, TRAILERS) and state == WRITING_TRAILERS:
            data = self.connection.send_trailers(message.get("headers", ()), message.get("more_trailers", False))
            self.protocol.write(data)
            return self.after_writing()
        if is_word(kind, ZEROCOPYSEND) and state == WRITING_BODY:
            return self.send_file(given_file(message))
        if is_word(kind, PATHSEND) and state == WRITING_BODY:
            if self.sends:
                raise LocalProtocolError(f"{kind!r} must be all of the body")
            return self.send_file(named_file(message))
        raise LocalProtocolError(f"{kind!r} sent where {DUE[state]} is due")

    cdef object mind(self, headers):
        """What becomes of the application's header fields: one more for the request's id; the log may say them."""
        cdef ServerContext context = self.protocol.context
        name = None if context.request_ids is None else request_id(<PyObject *> self.scope)
        if not isinstance(headers, (list, tuple)) and isinstance(headers, Iterable):
            headers = list(headers)  # it can be asked once only
        if name is not None:
            headers = context.request_ids.added(headers, str(name))
        self.headers = headers
        return headers

    cdef object send_file(self, FileBody file):
        if self.protocol.transport.is_closing():
            self.disconnect()
            raise ClientDisconnected("the client has gone")
        file.begin(self)
        return self.after_writing() if file.finished else file

    cdef object after_writing(self):
        """What a ``send`` that has written returns."""
        if self.connection.write_state == WRITING_DONE:
            self.complete()
        return self.after_send(self.protocol, self.responded)

    cdef int complete(self) except -1:
        """The response is out."""
        self.responded = True
        self.drop_body()
        self.wake(False)
        return self.protocol.on_response()

    cdef int fail(self, error) except -1:
        """The response cannot be finished: nothing more goes out, and the client sees that it is cut short."""
        self.protocol.context.error_logger.error("The application's response was cut short: %s", error)
        return self.cut()

    cdef int cut(self) except -1:
        self.responded = True
        self.drop_body()
        self.wake(False)
        return self.protocol.cut()

    cdef int end(self, error) except -1:
        self.note_end(self.protocol.context)
        if error is None:
            if not self.responded and not self.disconnected:
                self.miss()
        elif not (self.disconnected or self.responded) or not is_about_the_client(error):
            self.blame(error)
        if self.spare:
            self.forget()
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
        extra = None if context.request_ids is None else {"request_id": request_id(<PyObject *> self.scope)}
        context.error_logger.error("Exception in ASGI application", exc_info=error, extra=extra)
        if self.responded or self.disconnected:
            return 0
        return self.refuse() if self.connection.write_state == WRITING_HEAD else self.cut()

    cdef int refuse(self, int status=500, bytes fields=NO_BYTES) except -1:
        """Answer for the application."""
        self.responded = True
        self.drop_body()
        self.wake(False)
        if self.protocol.context.request_ids is not None:
            fields += self.protocol.context.request_ids.line(str(request_id(<PyObject *> self.scope)))
        self.protocol.write(self.connection.send_refusal(status, self.protocol.context.date_line, fields))
        return self.protocol.on_response()

    cdef int tell_if_ready(self) except -1:
        """Answer for the server: whether it can take requests, and will for some time."""
        cdef ServerContext context = self.protocol.context
        cdef bint ready = (not context.draining or context.replaced) and not context.is_overloaded()
        cdef bytes text = b"ready" if ready else b"not ready"
        self.connection.start_response(
            200 if ready else 503,
            [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"cache-control", b"no-store"),
                (b"content-length", b"%d" % len(text)),
            ],
            self.protocol.context.date_line,
            False,
        )
        self.protocol.write(self.connection.write_body(text, False, False))
        return self.complete()

    cdef int time_out(self) except -1:
        """It has taken too long: the client gets its answer, or sees that there is none, and the application is stopped."""
        task = self.task
        self.disconnected = True
        if self.connection.write_state == WRITING_HEAD:
            self.refuse(503, RETRY_AFTER)
        else:
            self.cut()
        if task is not None:
            task.cancel()
        return 0


cdef class Receive(Waiting):
    # Until there is a message
    cdef Exchange exchange

    cdef object poll(self):
        if self.exchange is None:
            raise RuntimeError("cannot reuse already awaited receive()")
        self.result = self.exchange.next_message()
        if self.result is None:
            return self.exchange.wait_for_input()
        self.exchange = None
        return OVER


step_fast(Receive)
