# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False, binding=False
"""permessage-deflate (RFC 7692): the two contexts of one connection.

They are those of Python's zlib module, called once per message, so that building needs no zlib header; the compressor may
be that of isal, which has the same face (bench/micro/deflate.py).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_XDECREF, PyObject
from libc.string cimport memcpy

import zlib
from functools import cache
from importlib import import_module

from esg_protocols.errors import RemoteProtocolError

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL

cdef enum:
    # Bytes of a message that are decompressed at once: zlib's module holds them twice while it joins them.
    PIECE = 1 << 18
    # Bytes of a payload that are given to zlib at once: it copies what it has not used after every piece.
    SLICE = 1 << 16


cdef object compressobj = zlib.compressobj
cdef object decompressobj = zlib.decompressobj
cdef object zlib_error = zlib.error
cdef int LEVEL = zlib.Z_DEFAULT_COMPRESSION
cdef int DEFLATED = zlib.DEFLATED
# isal's: of its levels and sizes those that take a third of zlib's time without a multiple of its memory.
cdef int ISAL_LEVEL = 1
cdef int ISAL_MEMORY_LEVEL = 1
cdef int SYNC_FLUSH = zlib.Z_SYNC_FLUSH
cdef bytes TAIL = b"\x00\x00\xff\xff"
cdef bytes NO_BYTES = b""


cdef class Deflate:
    def __cinit__(self, parameters, settings):
        self.compress_bits = parameters.server_max_window_bits
        # A window of 256 bytes, which zlib's compressor cannot have, is 512 with some clients.
        self.decompress_bits = max(9, parameters.client_max_window_bits)
        self.memory_level = settings.ws_deflate_memory_level
        self.fast_compressobj = None if settings.ws_deflate_library == "zlib" else find_isal(settings.ws_deflate_library)
        self.forget_sent = parameters.server_no_context_takeover
        self.forget_received = parameters.client_no_context_takeover

    cdef tuple deflate(self, data):
        """The payload of a message in two parts, of which the last 4 bytes are not sent (RFC 7692 section 7.2.1)."""
        if self.compressor is None:
            if self.fast_compressobj is not None:
                self.compressor = self.fast_compressobj(ISAL_LEVEL, DEFLATED, -self.compress_bits, ISAL_MEMORY_LEVEL)
            else:
                self.compressor = compressobj(LEVEL, DEFLATED, -self.compress_bits, self.memory_level)
            self.compress = self.compressor.compress
            self.flush = self.compressor.flush
        parts = (self.compress(data), self.flush(SYNC_FLUSH))
        if self.forget_sent:
            self.compressor = self.compress = self.flush = None
        return parts

    cdef bytes inflate(self, bytes data, Py_ssize_t max_size):
        """The message whose payload, with the 4 bytes at its end, is ``data`` (RFC 7692 section 7.2.2).

        No more than one byte above ``max_size`` is ever decompressed.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t most = min(max_size + 1, <Py_ssize_t> PIECE)
        cdef bytes result
        if self.decompressor is None:
            self.decompressor = decompressobj(-self.decompress_bits)
        result = self.next_piece(data if size <= SLICE else memoryview(data)[:SLICE], most)
        if size > SLICE or PyBytes_GET_SIZE(result) == most:
            return self.inflate_large(result, data, max_size)
        if self.decompressor.eof:
            self.end_stream(result, NO_BYTES)
        elif self.forget_received:
            self.decompressor = None
        return result

    cdef bytes inflate_large(self, bytes piece, bytes data, Py_ssize_t max_size):
        """Go on behind the first piece. What there is stands once in memory, and half of it again while it grows."""
        cdef Py_ssize_t at = min(<Py_ssize_t> SLICE, PyBytes_GET_SIZE(data))
        cdef Py_ssize_t most = min(max_size + 1, <Py_ssize_t> PIECE)
        cdef Py_ssize_t have = 0
        cdef Py_ssize_t size
        cdef PyObject *message = new_bytes(NULL, min(max_size, <Py_ssize_t> 2 * PIECE))
        try:
            while True:
                size = PyBytes_GET_SIZE(piece)
                if size > max_size - have:
                    raise RemoteProtocolError(f"a message of more than {max_size} bytes once decompressed", 1009)
                if have + size > PyBytes_GET_SIZE(<object> message):
                    _PyBytes_Resize(&message, min(max_size, 2 * (have + size)))
                memcpy(PyBytes_AS_STRING(<object> message) + have, PyBytes_AS_STRING(piece), size)
                have += size
                if self.decompressor.eof:
                    break
                if size == most:
                    payload = self.decompressor.unconsumed_tail
                elif at < PyBytes_GET_SIZE(data):
                    payload = memoryview(data)[at:at + SLICE]
                    at += len(payload)
                else:
                    break
                most = min(max_size + 1 - have, <Py_ssize_t> PIECE)
                piece = self.next_piece(payload, most)
            if have < PyBytes_GET_SIZE(<object> message):
                _PyBytes_Resize(&message, have)
            if self.decompressor.eof:
                self.end_stream(<bytes> message, data[at:])
            elif self.forget_received:
                self.decompressor = None
            return <bytes> message
        finally:
            Py_XDECREF(message)

    cdef bytes next_piece(self, data, Py_ssize_t most):
        try:
            return self.decompressor.decompress(data, most)
        except zlib_error as error:
            raise RemoteProtocolError(f"a message that cannot be decompressed: {error}", 1002) from None

    cdef int end_stream(self, bytes result, bytes behind) except -1:
        """A sender may end its stream with each message (RFC 7692 section 7.2.3.4); then an empty block comes, and no more.

        The next message may refer to this one. To what came before it, it cannot: zlib's context has gone with the stream.
        """
        if self.decompressor.unused_data + behind != b"\x00" + TAIL:
            raise RemoteProtocolError("a compressed message with something behind its end", 1002)
        if self.forget_received:
            self.decompressor = None
        else:
            window = result[max(0, PyBytes_GET_SIZE(result) - (1 << self.decompress_bits)):]
            self.decompressor = decompressobj(-self.decompress_bits, zdict=window)
        return 0


@cache
def find_isal(library):
    """isal's compressor. Looked for when the first connection may need it; None where it is not installed and need not be."""
    try:
        return import_module("isal.isal_zlib").compressobj
    except ImportError:
        if library == "isal":
            raise
        return None
