"""Bodies that come from files: the ASGI extensions pathsend and zerocopysend. Part of http.pyx."""

cdef enum:
    # What a fast client is sent before the loop gets a turn.
    MOST_IN_A_ROW = 8388608
    # Read at once where the system cannot send by itself.
    READ_AT_ONCE = 262144

cdef bint HAS_SENDFILE = hasattr(os, "sendfile")
# What a system says that cannot send this file on this socket by itself.
cdef frozenset CANNOT_SEND = frozenset((errno.EINVAL, errno.ENOSYS, errno.ENOTSOCK, errno.ENOTSUP, errno.EOPNOTSUPP))


cdef class FileBody(Waiting):
    """The awaitable of a ``send`` whose body is in a file.

    On a plain socket the system sends it, past the transport, whose buffer must be empty meanwhile. Where it cannot,
    as with TLS, a thread reads and the transport writes.
    """

    cdef Exchange exchange
    cdef HTTPProtocol protocol
    # The file: its descriptor, which is ours to close or not; the object whose position moves on
    cdef int descriptor
    cdef bint ours
    cdef object moved
    cdef long long offset
    cdef long long left
    cdef bint more_body
    # The transport's socket; -1 where its bytes are copied. The loop watches a duplicate: the one is the transport's
    cdef int socket
    cdef int watched
    cdef object writable
    cdef object reading
    # What to wait for before anything else
    cdef object waited
    # Behind the last byte: what a ``send`` waits for that has written
    cdef bint finished
    cdef Waiting after

    def __cinit__(self):
        self.descriptor = self.socket = self.watched = -1

    def __dealloc__(self):
        if self.ours and self.descriptor >= 0:
            os.close(self.descriptor)

    def throw(self, kind, value=None, traceback=None):
        self.stop()
        return Waiting.throw(self, kind, value, traceback)

    def close(self):
        self.stop()
        Waiting.close(self)

    cdef int begin(self, Exchange exchange) except -1:
        """Send off what goes before it, and as much of it as can go at once."""
        self.exchange = exchange
        self.protocol = exchange.protocol
        try:
            head = exchange.connection.begin_file(self.left, self.more_body)
        except LocalProtocolError as error:
            exchange.fail(error)
            raise
        if exchange.connection.response.framing == NO_BODY:
            self.left = 0
        self.protocol.file = self
        self.protocol.outside = self.left
        if self.left and HAS_SENDFILE:
            self.take_socket()
        self.protocol.write(head)
        self.protocol.write_out()  # the system may send what is behind it at once
        self.waited = self.go_on()
        return 0

    cdef int take_socket(self) except -1:
        cdef object transport = self.protocol.transport
        cdef object sock = transport.get_extra_info("socket")
        if sock is not None and not self.protocol.secure:
            self.socket = sock.fileno()
            transport.set_write_buffer_limits(high=0)
        return 0

    cdef bint is_over(self) noexcept:
        return self.protocol.file is not self

    cdef object poll(self):
        cdef object waited = self.waited
        self.waited = None
        if waited is not None:
            return waited
        if not self.finished:
            if self.is_over():
                raise ClientDisconnected("the client has gone")
            waited = self.go_on()
            if not self.finished:
                return waited
            waited = self.exchange.after_writing()
            self.after = <Waiting> waited if isinstance(waited, Waiting) else None
        return OVER if self.after is None else self.after.poll()

    cdef object go_on(self):
        """Send what can be sent, and say what to wait for; afterwards it is over, or there is more to come."""
        try:
            waited = self.copy() if self.socket < 0 else self.send_by_system()
            if self.left == 0 and waited is None:
                self.finish()
            return waited
        except LocalProtocolError as error:
            self.stop()
            self.exchange.fail(error)
            raise
        except BaseException:
            self.stop()
            raise

    cdef object send_by_system(self):
        if self.writable is None and self.protocol.transport.get_write_buffer_size():
            return self.protocol.wait_for_drain() if self.protocol.writing_paused else None
        try:
            return None if self.push() else self.wait_until_writable()
        except OSError as error:
            if error.errno not in CANNOT_SEND:
                self.protocol.abort()
                self.exchange.disconnect()
                raise ClientDisconnected("the client has gone") from None
            self.give_socket_back()
            return self.copy()

    cdef bint push(self) except -1:
        """Send what the socket takes; whether the client keeps up, so that all of it is out or others shall have a turn."""
        cdef long long asked = min(self.left, MOST_IN_A_ROW)
        cdef long long sent
        if asked == 0:
            return True
        try:
            sent = os.sendfile(self.socket, self.descriptor, self.offset, asked)
        except BlockingIOError:
            return False
        self.count(sent)
        # To be told so by a second call would cost as much as the sending.
        return sent == asked

    cdef object copy(self):
        while self.left or self.reading is not None:
            if self.protocol.writing_paused:
                return self.protocol.wait_for_drain()
            if self.reading is None:
                self.reading = self.protocol.context.loop.run_in_executor(
                    None, read_part, self.descriptor, min(self.left, READ_AT_ONCE), self.offset
                )
            if not self.reading.done():
                return self.reading
            data = self.reading.result()
            self.reading = None
            self.count(len(data))
            self.protocol.write(data)
        return None

    cdef int count(self, long long size) except -1:
        if size == 0:
            raise LocalProtocolError(f"the file ended {self.left} bytes too early")
        self.offset += size
        self.left -= size
        self.protocol.outside = self.left
        return 0

    cdef object wait_until_writable(self):
        if self.writable is None:
            self.writable = self.protocol.context.loop.create_future()
            if self.watched < 0:
                self.watched = os.dup(self.socket)
                self.protocol.watch_writing()
                self.protocol.context.loop.add_writer(self.watched, self.on_writable)
        return self.writable

    def on_writable(self):
        # The loop goes on watching: to unwatch and wake the app each time costs as much again as the sending.
        try:
            self.push()
            if self.left:
                return
        except (OSError, LocalProtocolError):
            pass  # the app's own step meets the same error
        self.protocol.context.loop.remove_writer(self.watched)
        self.wake()

    cdef int wake(self) except -1:
        future = self.writable
        self.writable = None
        if future is not None and not future.done():
            future.set_result(None)
        return 0

    cdef int finish(self) except -1:
        self.finished = True
        self.release()
        self.protocol.write(self.exchange.connection.end_file())
        return 0

    cdef int stop(self) except -1:
        """Send no more of it. Whoever waits for it learns that the client has gone."""
        if self.protocol is not None and not self.is_over():
            self.release()
        return 0

    cdef int release(self) except -1:
        self.protocol.file = None
        self.protocol.outside = 0
        self.give_socket_back()
        if self.moved is not None:
            self.moved.seek(self.offset)
        if self.reading is not None:
            # The thread still reads: the descriptor is closed behind it, and what comes is dropped.
            self.reading.add_done_callback(functools.partial(close_behind, self.descriptor if self.ours else -1))
            self.reading = None
        elif self.ours:
            os.close(self.descriptor)
        self.descriptor = -1
        return 0

    cdef int give_socket_back(self) except -1:
        if self.socket < 0:
            return 0
        self.socket = -1
        if self.watched >= 0:
            self.protocol.context.loop.remove_writer(self.watched)
            os.close(self.watched)
            self.watched = -1
            self.protocol.write_deadline = 0
        self.wake()
        if self.protocol.transport is not None:
            self.protocol.transport.set_write_buffer_limits(high=self.protocol.context.settings.write_buffer_size)
        return 0


step_fast(FileBody)


cdef FileBody named_file(dict message):
    """The file of a ``http.response.pathsend``."""
    cdef FileBody body = FileBody.__new__(FileBody)
    cdef object path = message.get("path")
    if not isinstance(path, (str, os.PathLike)) or not os.path.isabs(path):
        raise LocalProtocolError(f"path must be an absolute path, not {path!r}")
    # Not blocking, or a FIFO would stop everybody.
    body.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    body.ours = True
    body.left = file_size(body.descriptor, path)
    return body


cdef FileBody given_file(dict message):
    """The file of a ``http.response.zerocopysend``."""
    cdef FileBody body = FileBody.__new__(FileBody)
    cdef object file = message.get("file")
    cdef object count = message.get("count")
    if not hasattr(file, "fileno") or not hasattr(file, "seek"):
        raise LocalProtocolError(f"file must be an open file with a descriptor, not {file!r}")
    body.descriptor = file.fileno()
    body.left = file_size(body.descriptor, file)
    body.more_body = message.get("more_body", False)
    if message.get("offset") is None:
        body.moved = file
        body.offset = file.tell()
    else:
        body.offset = whole_number(message["offset"], "offset", body.left)
    body.left = max(body.left - body.offset, 0)
    if count is not None:
        body.left = whole_number(count, "count", body.left)
    return body


cdef long long file_size(int descriptor, file) except -1:
    cdef object found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise LocalProtocolError(f"{file!r} is not a regular file")
    return found.st_size


cdef long long whole_number(value, str name, long long most) except -1:
    if not isinstance(value, int) or not 0 <= value <= most:
        raise LocalProtocolError(f"{name} must be from 0 to {most}, which is where the file ends, not {value!r}")
    return value


def read_part(int descriptor, long long size, long long offset):
    """Read in a thread."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, size)


def close_behind(int descriptor, reading):
    """Close a file that a thread has done with; whatever came of its reading is of no use any more."""
    reading.cancelled() or reading.exception()
    if descriptor >= 0:
        os.close(descriptor)
