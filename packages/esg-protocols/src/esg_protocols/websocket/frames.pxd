"""WebSocket frames as bytes (RFC 6455 section 5): their headers, the mask, the UTF-8 of what they carry."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef enum Opcode:
    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA

cdef enum:
    FIN = 0x80
    RSV1 = 0x40
    RSV2_RSV3 = 0x30
    CONTROL = 0x08          # the bit of an opcode that makes it a control frame
    MASK = 0x80
    LARGEST_HEADER = 14
    LARGEST_CONTROL = 125   # payload bytes (RFC 6455 section 5.5)


# A frame on its way in.
cdef struct Frame:
    uint8_t header[LARGEST_HEADER]
    int have                # bytes of the header that are here
    bint begun              # the header is whole and has been taken; its payload is on its way
    uint64_t size           # of the payload
    uint64_t taken          # payload bytes that have come


# A UTF-8 text on its way in: what its next byte may be.
cdef struct Utf8:
    uint8_t left            # bytes that the character still needs
    uint8_t low
    uint8_t high


# -- Reading
cdef Py_ssize_t take_header(Frame *frame, const uint8_t *data, Py_ssize_t size) except -1
cdef uint8_t unmask(uint8_t *to, const uint8_t *data, Py_ssize_t size, const uint8_t *key, uint64_t offset) noexcept nogil
cdef Py_ssize_t find_bad_utf8(Utf8 *state, const uint8_t *data, Py_ssize_t size) noexcept nogil
cpdef bint is_close_code(long code) noexcept

# -- Writing
cdef bytes make_frame(int first, const void *data, Py_ssize_t size)
cdef bytes new_frame(int first, Py_ssize_t size, uint8_t **payload)
