"""Lines on their way to a log, many in one write."""

from esg_protocols.http1.serialize cimport Buffer


cdef class LineWriter:
    # The lines that wait; whoever adds one appends to this and calls end_line
    cdef Buffer out
    cdef object handler
    cdef object loop
    cdef object on_trouble
    # The loop's next call; None after a while without lines
    cdef object handle
    cdef object context
    cdef bint closed
    # What was not taken is kept until the next try
    cdef bint behind
    cdef readonly long long lost
    # An error that stands, and was told
    cdef str trouble
    cdef object pid

    cdef int end_line(self, size_t start) except -1
    cdef int settle(self) except -1
    cdef int keep(self, bytes data) except -1
    cdef bytes take_lines(self)
    cdef int note_trouble(self, str trouble) except -1
