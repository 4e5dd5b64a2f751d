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
    WRITING_FILE = 3
    WRITING_TRAILERS = 4
    WRITING_DONE = 5
    WRITING_CLOSED = 6


cdef class HTTPConnection:
    # What may happen next
    cdef int read_state
    cdef int write_state
    # Input: the parser, its feed and pending, and what came before its turn
    cdef object parser
    cdef object feed
    cdef object pending
    cdef list early
    cdef Py_ssize_t early_size
    cdef bint early_eof
    # The request
    cdef readonly tuple request
    cdef bint answers_head
    cdef bint answers_connect
    cdef bint version_1_1
    cdef bint awaits_continue
    # Bytes of a head have come, and not all
    cdef bint head_begun
    # The response; its head waits in the buffer for the first body bytes
    cdef Buffer out
    cdef Response response
    # For every response; the first is for those without a Server field of their own, and holds both
    cdef bytes server_line
    cdef bytes default_lines
    # Of the file on its way: whether its bytes are a chunk, and whether more of the body follows
    cdef bint file_is_chunk
    cdef bint file_has_more

    # -- Reading
    cpdef list receive_data(self, data)
    cpdef receive_eof(self)
    cdef list begin_next(self)
    cdef int step_read(self, int event) except -1
    cdef int begin_exchange(self, tuple head) except -1

    # -- Writing
    cdef int start_response(self, status, headers, bytes date, bint trailers) except -1
    cdef object write_body(self, data, bint more, bint hold)
    cdef int step_end(self) except -1
    cdef int append_end(self) except -1
    cpdef bytes begin_file(self, long long size, bint more_body=*)
    cpdef bytes end_file(self)
    cpdef bytes send_trailers(self, headers=*, bint more_trailers=*)
    cdef bint takes_trailers(self) except -1
    cpdef bytes send_early_hint(self, links)
    cpdef bytes send_continue(self)
    cpdef bytes send_refusal(self, int status, bytes date=*, bytes fields=*)
    cpdef bytes flush(self)
    cdef void free_buffer(self) noexcept
    cpdef close(self)
    cdef int step_write(self, int event) except -1
    cdef object frame_large(self, bytes data, bint more)
    cdef int check_length(self, long long size, bint more) except -1
