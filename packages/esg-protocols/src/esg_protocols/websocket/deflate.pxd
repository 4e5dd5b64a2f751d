"""permessage-deflate (RFC 7692): the two contexts of one connection."""


cdef class Deflate:
    # What is agreed on
    cdef int compress_bits
    cdef int decompress_bits
    cdef int memory_level
    cdef object fast_compressobj     # isal's, or None
    cdef bint forget_sent
    cdef bint forget_received
    # The contexts, and their methods; None where none is kept
    cdef object compressor
    cdef object compress
    cdef object flush
    cdef object decompressor

    cdef tuple deflate(self, data)
    cdef bytes inflate(self, bytes data, Py_ssize_t max_size)
    cdef bytes inflate_large(self, bytes piece, bytes data, Py_ssize_t max_size)
    cdef bytes next_piece(self, data, Py_ssize_t most)
    cdef int end_stream(self, bytes result, bytes behind) except -1
