# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False, binding=False
"""The transport's side of a connection: writing, flow control, the deadline and the end."""

from cpython.time cimport monotonic

import socket
import struct

try:
    import fcntl
    import termios
except ImportError:  # not a POSIX system
    fcntl = None

# How long a client that is still sending may take to notice that it was answered and the connection is over.
cdef double LINGER_SECONDS = 2.0
# How much of it is read and thrown away in that time; then the socket waits. It costs about as much as one request of a
# size that is seldom refused, and a client that sends first and reads then has its answer.
cdef long long MOST_THROWN_AWAY = 16 << 20

# struct linger: closing waits for nothing, so that TCP resets the connection.
cdef bytes NO_LINGER = struct.pack("ii", 1, 0)
cdef object UNIX = getattr(socket, "AF_UNIX", None)


cdef class StreamProtocol:
    def __init__(self, ServerContext context not None):
        self.context = context
        if context.round is None:
            context.round = Round(context)

    def connection_made(self, transport):
        self.transport = transport
        self.transport_write = transport.write
        self.secure = transport.get_extra_info("sslcontext") is not None
        cdef str origin = type(transport).__module__
        self.copies_reads = origin == "uvloop.loop" and not self.secure
        # asyncio's writelines pauses nobody in CPython 3.12.0 to 3.12.8 and 3.13.0 to 3.13.1 (CVE-2024-12254).
        if origin.startswith("asyncio."):
            set_no_delay(transport)
        else:
            self.transport_writelines = transport.writelines
        self.context.connections.add(self)
        self.context.counters.connections += 1
        transport.set_write_buffer_limits(high=self.context.settings.write_buffer_size)

    def connection_lost(self, error):
        self.lost = True
        self.broken = self.broken or error is not None or not self.lingering
        self.clear_deadline()
        self.write_deadline = 0
        self.wake_drains()
        self.transport = self.transport_write = self.transport_writelines = self.outgoing = None
        self.context.forget_connection(self)

    def tick(self):
        """Called once a second by the clock."""
        if self.write_deadline:
            self.check_writing()
        if self.lingering:
            self.check_goodbye()
        if self.deadline and self.deadline <= self.context.now:
            self.deadline = 0
            self.on_deadline()

    def on_deadline(self):
        self.abort()

    def abort(self):
        """Drop the connection, and of what is written that which the system has not taken."""
        if self.transport is not None:
            self.broken = True
            self.write_out()
            self.transport.abort()

    def reset(self):
        """Drop the connection so that the client sees an error where an ordinary end would look like ours."""
        cdef object sock
        if self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            if sock is not None and sock.family != UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self.abort()

    # -- Writing

    cdef int write(self, data) except -1:
        """The one way that bytes leave."""
        if self.transport_write is None:
            return 0
        if type(data) is bytes and len(<bytes> data) < LEAST_AT_ONCE:
            return self.hold_back(<bytes> data) if data else 0
        self.write_out()
        if type(data) is not list:
            self.transport_write(data)
        elif self.transport_writelines is not None:
            self.transport_writelines(data)
        else:
            for part in <list> data:
                self.transport_write(part)
        return 0

    cdef int hold_back(self, bytes data) except -1:
        """Let ``data`` leave in the next round (see Round)."""
        if self.outgoing is not None:
            if len(self.outgoing) + len(data) < LEAST_AT_ONCE:
                self.outgoing += data
                return 0
            self.write_out()
        self.outgoing = data
        return self.post()

    cdef int post(self) except -1:
        return 0 if self.posted else (<Round> self.context.round).write(self)

    cdef int write_out(self) except -1:
        """Let what was held back leave now: before what must come behind it, and before the end."""
        cdef bytes data = self.outgoing
        self.outgoing = None
        if data and self.transport_write is not None:
            self.transport_write(data)
        return 0

    def pause_writing(self):
        self.writing_paused = True
        self.watch_writing()

    def resume_writing(self):
        self.writing_paused = False
        self.write_deadline = 0
        self.wake_drains()

    cdef int watch_writing(self) except -1:
        """See to it, tick by tick, that the client takes what is written."""
        if self.context.write_seconds and self.transport is not None:
            self.unwritten = self.to_be_written()
            self.write_deadline = self.context.now + self.context.write_seconds + 1 if self.unwritten else 0
        return 0

    cdef int check_writing(self) except -1:
        cdef long long unwritten = self.to_be_written()
        if unwritten < self.unwritten:
            self.write_deadline = self.extended(
                self.write_deadline, self.context.write_seconds, self.unwritten - unwritten
            )
        self.unwritten = unwritten
        if unwritten == 0:
            self.write_deadline = 0
        elif self.write_deadline <= self.context.now:
            self.write_deadline = 0
            self.on_write_deadline()
        return 0

    cdef long long to_be_written(self) except -1:
        cdef long long size = <long long> self.transport.get_write_buffer_size() + self.outside
        if self.outgoing is not None:
            size += len(self.outgoing)
        if self.secure:
            # The socket below TLS has a buffer of its own, of which nobody tells: it drains into the system's.
            size += unsent(self.transport)
        return size

    def on_write_deadline(self):
        self.abort()

    cdef object wait_for_drain(self):
        future = self.context.loop.create_future()
        waiters = self.drain_waiters or []
        self.drain_waiters = [waiter for waiter in waiters if not waiter.done()] + [future]  # without the cancelled ones
        return future

    cdef int wake_drains(self) except -1:
        cdef list waiters = self.drain_waiters
        self.drain_waiters = None
        if waiters is not None:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
        return 0

    # -- Reading

    cdef int go_on_in_round(self) except -1:
        """Let what was read be gone on with when the loop has read from all connections (see Round)."""
        return (<Round> self.context.round).start(self)

    cdef int go_on_with_read(self) except -1:
        raise AssertionError

    cdef int pause_reading(self) except -1:
        if not self.reading_paused and self.transport is not None:
            self.reading_paused = True
            self.transport.pause_reading()
            if self.deadline:
                self.held = self.deadline - self.context.now
                self.deadline = 0
        return 0

    cdef int resume_reading(self) except -1:
        if self.reading_paused and self.transport is not None:
            self.reading_paused = False
            self.transport.resume_reading()
            if self.held:
                self.deadline = self.context.now + self.held
                self.held = 0
        return 0

    # -- The end

    cdef int set_deadline(self, double seconds) except -1:
        # The clock's time may be a tick old: one more, so that it is never early.
        self.deadline = self.context.now + seconds + 1
        self.held = 0
        return 0

    cdef int clear_deadline(self) noexcept:
        self.deadline = self.held = 0
        return 0

    cdef int extend_deadline(self, double seconds, Py_ssize_t size) noexcept:
        """Give the client more time for ``size`` bytes that came, up to ``seconds`` from now."""
        if self.deadline:
            self.deadline = self.extended(self.deadline, seconds, size)
        return 0

    cdef double extended(self, double deadline, double seconds, long long size) noexcept:
        """As a bucket of time that bytes fill and that holds ``seconds``: a rate without a count of the seconds gone."""
        cdef double most = self.context.now + seconds + 1
        if self.context.minimum_rate:
            return min(most, deadline + size / self.context.minimum_rate)
        return most

    cdef int close(self) except -1:
        """Close the transport behind what is written; once, as asyncio's TLS has lost its protocol behind a second time."""
        self.write_out()
        if not self.transport.is_closing():
            self.transport.close()
        return 0

    cdef int finish(self, bint client_may_be_sending) except -1:
        """Close behind what is written.

        A socket closed while bytes lie unread is reset, and the reset may overtake the last response (RFC 9112 section
        9.6): then only our side is closed, and the client's bytes are thrown away until it ends too or time is up.
        """
        if self.transport is None or self.lingering:
            return 0
        self.lingering = True
        self.may_be_sending = client_may_be_sending
        self.watch_writing()
        if not client_may_be_sending:
            return self.close()
        self.set_deadline(LINGER_SECONDS)
        self.resume_reading()
        if self.transport.can_write_eof():
            self.write_out()
            self.transport.write_eof()
        elif not (self.secure and ends_at_data(self.transport)):
            self.close()
        return 0

    cdef int check_goodbye(self) except -1:
        """Do not wait for the client's answer to the goodbye of TLS once it has all that is before (RFC 8446 section 6.1).

        One that may still be sending would be reset, and has until the deadline.
        """
        if self.may_be_sending or self.transport is None or not self.transport.is_closing():
            return 0
        if self.secure and not self.to_be_written():
            self.transport.abort()
        return 0

    cdef int throw_away(self, Py_ssize_t size) except -1:
        """What comes behind the last bytes is of no use to anybody."""
        self.thrown_away += size
        if self.thrown_away > MOST_THROWN_AWAY and self.transport is not None:
            self.transport.pause_reading()  # the deadline stays
        return 0


cdef class Round:
    """What connections have to do when the loop has read from every one that had something: applications run, answers leave.

    So a turn of the loop is one of reading, one of running, one of writing. The code of a whole request is more than a
    processor keeps at hand, that of a part is not, and is there still for the next connection. And an answer written at
    once finds its client asleep, which the system has to wake; answers written in a row wake it once. Where
    applications take long, so that this is little of it all, answers leave before the others have run.
    """

    def __init__(self, ServerContext context not None):
        self.context = context
        self.starters = []
        self.senders = []
        self.run_method = self.run

    cdef int start(self, StreamProtocol starter) except -1:
        """Let it go on with what it has read."""
        self.starters.append(starter)
        return self.call()

    cdef int write(self, StreamProtocol sender) except -1:
        """Let it write what it holds back."""
        self.senders.append(sender)
        sender.posted = True
        return self.write_overdue() if self.due else self.call()

    cdef int write_overdue(self) except -1:
        """Let what is held back leave if that has taken long already."""
        cdef double now = monotonic()
        if now - self.since <= self.context.longest_round:
            return 0
        self.since = now
        return self.write_all()

    cdef int call(self) except -1:
        if not self.due:
            self.due = True
            self.since = monotonic()
            self.context.loop.call_soon(self.run_method, context=self.context.context)
        return 0

    def run(self):
        try:
            self.start_all()
        finally:
            self.due = False
            self.write_all()
            if self.starters:
                self.call()

    cdef int start_all(self) except -1:
        cdef StreamProtocol starter
        cdef Py_ssize_t begun = 0
        try:
            for starter in self.starters:
                begun += 1
                try:
                    starter.go_on_with_read()
                except Exception as error:
                    self.tell(starter, error)
        except BaseException:
            del self.starters[:begun]  # an application ends the process; the others have their turn if it goes on
            raise
        self.starters.clear()
        return 0

    cdef int write_all(self) except -1:
        cdef list senders = self.senders
        cdef StreamProtocol sender
        self.senders = []
        for sender in senders:
            sender.posted = False
            try:
                sender.write_out()
            except Exception as error:
                self.tell(sender, error)
        return 0

    cdef int tell(self, StreamProtocol connection, error) except -1:
        """One that cannot be served keeps none of the others waiting."""
        told = {"message": "A connection failed", "exception": error, "protocol": connection}
        self.context.loop.call_exception_handler(told)
        connection.abort()
        return 0


cdef int set_no_delay(transport) except -1:
    """Let nothing wait for more to come (Nagle): asyncio sees to it only on sockets that were made with IPPROTO_TCP."""
    cdef object sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return 0


cdef bint ends_at_data(transport) except -1:
    """Whether a TLS transport that was closed resets the connection when more data comes: then the client closes."""
    return not type(transport).__module__.startswith("aiofastnet.")


cdef long long unsent(transport) except -1:
    """Bytes that the system has taken and the client has not; 1 where the system does not say."""
    cdef object sock = transport.get_extra_info("socket")
    if fcntl is None or sock is None:
        return 1
    try:
        return <long long> struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    except OSError:
        return 1
