"""The server's side of a WebSocket, compiled."""

from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t

from esg_protocols.websocket.deflate cimport Deflate
from esg_protocols.websocket.frames cimport LARGEST_CONTROL, Frame, Utf8


# The states of states.py as C numbers; the tests check that they are the same.
cdef enum:
    READING_MESSAGE = 0
    READING_FRAGMENT = 1
    READING_CLOSED = 2
    READING_FAILED = 3

cdef enum:
    WRITING_OPEN = 0
    WRITING_CLOSED = 1


cdef class NativeCodec:
    # What may happen next
    cdef int read_state
    cdef int write_state
    # What is agreed on
    cdef Py_ssize_t max_size
    cdef Py_ssize_t max_payload      # of a compressed message: the limit and what deflate may add
    cdef Py_ssize_t min_deflate
    cdef Deflate deflate             # None without compression
    # The frame on its way in, and the payload of a control frame
    cdef Frame frame
    cdef uint8_t control[LARGEST_CONTROL]
    # The message on its way in: a bytes object with room to grow, which becomes the message itself
    cdef PyObject *message
    cdef Py_ssize_t message_size
    cdef bint is_text
    cdef bint is_compressed
    cdef Utf8 utf8
    # Decompressed bytes in the events of one read, where it stops, and the input that waits then
    cdef Py_ssize_t inflated
    cdef Py_ssize_t most_inflated
    cdef bytes kept
    # A failure behind good messages, to be raised by the next call
    cdef object failure
    # What the codec itself has to say: the payloads of pongs, a close frame
    cdef list pongs
    cdef bytes close_frame

    # -- Reading
    cpdef list receive_data(self, data)
    cdef object receive_one(self, data)
    cpdef list receive_eof(self)
    cdef Py_ssize_t read_frames(self, const uint8_t *data, Py_ssize_t size, list events) except -1
    cdef int begin_frame(self) except -1
    cdef Py_ssize_t read_payload(self, const uint8_t *data, Py_ssize_t size, list events) except -1
    cdef int end_frame(self, list events) except -1
    cdef object take_whole(self, const uint8_t *data, Py_ssize_t size)
    cdef int append(self, const uint8_t *data, Py_ssize_t size) except -1
    cdef int make_room(self, Py_ssize_t more) except -1
    cdef int check_text(self, const uint8_t *data, Py_ssize_t size) except -1
    cdef object take_message(self)
    cdef bytes take_buffer(self)
    cdef object end_control(self)
    cdef object take_close(self, const uint8_t *payload, Py_ssize_t size)
    cdef int fail(self, error) except -1
    cdef void step_read(self, int event) noexcept

    # -- Writing
    cpdef bytes data_to_send(self)
    cpdef bytes send_text(self, text)
    cpdef bytes send_bytes(self, data)
    cpdef bytes send_close(self, code=*, reason=*)
    cdef bytes send_message(self, int opcode, data, const char *at, Py_ssize_t size)
    cdef bytes send_control(self, int opcode, payload)
    cdef int step_write(self, int event) except -1
