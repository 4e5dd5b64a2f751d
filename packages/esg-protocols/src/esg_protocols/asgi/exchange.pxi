"""One request and its response. Part of http.pyx."""

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
    # When it must be over; 0 is never
    cdef double deadline
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
        if self.connection.awaits_continue:
            self.protocol.write(self.connection.send_continue())
            self.protocol.await_body()
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

    cdef int refuse(self, int status=500, bytes fields=NO_BYTES) except -1:
        """Answer for the application."""
        self.responded = True
        self.body = None
        self.wake()
        self.protocol.write(self.connection.send_refusal(status, self.protocol.context.date_line, fields))
        return self.protocol.on_response()

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
