"""One HTTP/1.1 connection, the server's side of it."""

from esg_protocols.http1.serialize cimport Buffer, Response


# The states of states.py as C numbers; tests/test_states.py checks that they are the same.
cdef enum:
    READING_HEAD = 0
    READING_BODY = 1
    READING_DONE = 2
    READING_CLOSED = 3
    READING_FAILED = 4

cdef enum:
    WRITING_IDLE = 0
    WRITING_HEAD = 1
    WRITING_BODY = 2
    WRITING_DONE = 3
    WRITING_CLOSED = 4


cdef class HTTPConnection:
    # What may happen next
    cdef int read_state
    cdef int write_state
    # Input: the parser's feed and pending, and what came before its turn
    cdef object feed
    cdef object pending
    cdef list early
    cdef bint early_eof
    # The request
    cdef readonly tuple request
    cdef bint answers_head
    cdef bint version_1_1
    cdef bint awaits_continue
    # Bytes of a head have come, and not all
    cdef bint head_begun
    # The response; its head waits in the buffer for the first body bytes
    cdef Buffer out
    cdef Response response
    cdef bytes server_line

    # -- Reading
    cpdef list receive_data(self, data)
    cpdef receive_eof(self)
    cpdef list next_exchange(self)
    cdef int step_read(self, int event) except -1
    cdef int begin_exchange(self, tuple head) except -1

    # -- Writing
    cdef int start_response(self, status, headers, bytes date) except -1
    cdef object write_body(self, data, bint more)
    cpdef bytes send_continue(self)
    cpdef bytes send_refusal(self, int status, bytes date=*, bytes fields=*)
    cpdef bytes flush_head(self)
    cpdef close(self)
    cdef int step_write(self, int event) except -1
    cdef object frame_large(self, bytes data, bint more)
    cdef int check_length(self, Py_ssize_t size, bint more) except -1
