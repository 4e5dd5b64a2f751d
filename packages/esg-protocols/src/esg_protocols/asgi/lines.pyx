# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False, binding=False
"""Lines on their way to a log, many in one write."""

from libc.stdlib cimport free

from esg_protocols.http1.serialize cimport append_bytes, take

import contextvars
import os
import select
import stat
import time

cdef enum:
    # Written at once when there is so much; more than that is kept only for a reader that is behind.
    MUCH = 65536
    MOST_KEPT = 1048576
    # What a pipe takes whole or not at all, so that the lines of several processes do not mix (POSIX, write).
    PIPE_SIZE = 4096

# Lines that follow each other sooner than this wait for each other.
cdef double INTERVAL = 0.05
# How long the last lines may wait for a reader that is behind.
cdef double LAST_SECONDS = 1.0


cdef class LineWriter:
    def __init__(self, handler not None, loop not None, on_trouble not None):
        self.handler = handler
        self.loop = loop
        self.on_trouble = on_trouble
        self.context = contextvars.Context()  # nobody's: a timer must not keep a request's variables
        self.pid = os.getpid()

    def __dealloc__(self):
        free(self.out.data)

    cdef int end_line(self, size_t start) except -1:
        """A line was appended, from ``start`` on."""
        if self.closed:
            return self.settle()
        if self.out.size > MUCH and not self.behind:
            self.settle()
        if self.out.size > MOST_KEPT:
            self.out.size = start
            self.lost += 1
        if self.handle is None:
            # The first after a while: at the end of this turn. Those that come soon after it wait for each other.
            self.handle = self.loop.call_soon(self.go_on, context=self.context)
        return 0

    def go_on(self):
        self.handle = None
        if self.out.size:
            self.settle()
            if not self.closed:
                self.handle = self.loop.call_later(INTERVAL, self.go_on, context=self.context)

    def flush(self):
        if self.out.size:
            self.settle()

    def close(self):
        cdef double deadline = time.monotonic() + LAST_SECONDS
        if self.closed:
            return
        self.closed = True
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None
        self.flush()
        while self.out.size and not self.trouble and is_writable(self.handler.stream.fileno(), deadline):
            self.settle()
        if self.out.size:
            self.lost += self.take_lines().count(b"\n")
        self.tell_lost()

    cdef int settle(self) except -1:
        """Write what there is; what is not taken stays."""
        cdef bytes data = self.take_lines()
        cdef Py_ssize_t written = 0
        if os.getpid() != self.pid:
            return 0  # a fork of an application's: these lines are its parent's to write
        try:
            written = write_lines(self.handler, data)
        except (OSError, ValueError) as error:  # ValueError: somebody has closed the stream
            self.keep(data)
            return self.note_trouble(str(error))
        self.behind = written < len(data)
        if self.behind:
            return self.keep(data[written:])
        self.trouble = None
        self.tell_lost()
        return 0

    def tell_lost(self):
        cdef long long lost = self.lost
        if lost:
            self.lost = 0
            self.on_trouble(f"{lost} lines of the access log were lost, as they could not be written")

    cdef bytes take_lines(self):
        """What is there now: others may add lines while it is written."""
        return take(&self.out)

    cdef int keep(self, bytes data) except -1:
        """Put back what was not written, before what has come since."""
        cdef bytes since = self.take_lines()
        append_bytes(&self.out, data)
        append_bytes(&self.out, since)
        return 0

    cdef int note_trouble(self, str trouble) except -1:
        self.behind = True
        if self.trouble != trouble:
            self.trouble = trouble
            self.on_trouble(f"The access log cannot be written: {trouble}; lines are kept for a while, then lost")
        return 0


cdef Py_ssize_t write_lines(handler, bytes data) except -1:
    """Write whole lines, without waiting for a reader; how many bytes were taken."""
    cdef object stream = handler.stream
    cdef Py_ssize_t at = 0
    stream.flush()  # what the application printed comes first
    cdef object descriptor = stream.fileno()
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        # Behind each other whoever writes: log files are opened to append, and a shell's > is shared by all workers.
        return os.write(descriptor, data)
    try:
        while at < len(data) and is_writable(descriptor, 0):
            at += os.write(descriptor, data[at : end_of_lines(data, at)])
    except BlockingIOError:
        pass  # somebody has made it so, or was faster
    return at


cdef bint is_writable(descriptor, double deadline) except -1:
    """Whether a pipe, a socket or a terminal takes some bytes without a wait, or does so before the deadline."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    events = poll.poll(max(0, deadline - time.monotonic()) * 1000 if deadline else 0)
    # An error is for the write to find.
    return bool(events)


cdef Py_ssize_t end_of_lines(bytes data, Py_ssize_t at) except -1:
    """As many whole lines as a pipe takes in one piece, without a wait; of a line that is longer, as much."""
    if len(data) - at <= PIPE_SIZE:
        return len(data)
    return data.rfind(b"\n", at, at + PIPE_SIZE) + 1 or at + PIPE_SIZE
