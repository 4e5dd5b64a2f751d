"""Response heads as bytes: a buffer that is used again, and the one function that fills it."""

from libc.stdint cimport int64_t


# Bytes on their way out. Used again for every head of a connection.
cdef struct Buffer:
    char *data
    size_t size
    size_t room


cdef enum Framing:
    NO_BODY       # HEAD, 204, 304: whatever the application sends stays here
    BY_LENGTH
    CHUNKED
    BY_CLOSE      # an HTTP/1.0 client and no Content-Length


# What is known of a response once its head is written.
cdef struct Response:
    int status
    int framing
    int64_t remaining    # body bytes that Content-Length still promises
    int64_t sent         # body bytes, without their framing
    bint close           # the connection ends with this response
    bint trailers        # trailer fields end it, not its body


cdef int append(Buffer *out, const char *data, size_t size) except -1
cdef int append_bytes(Buffer *out, bytes data) except -1
cdef int append_chunk_size(Buffer *out, size_t size) except -1
cdef int append_head(
    Buffer *out, Response *response, object status, object headers, bytes server, bytes date, bytes defaults,
    bint answers_head, bint version_1_1,
) except -1
cdef int append_trailers(Buffer *out, object headers, bint keep) except -1
cdef int append_link(Buffer *out, object link) except -1
cdef bytes take(Buffer *out)
cdef bytes status_line(int status)
