# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False, binding=False
"""A bytes object that the system reads into, so that what was read need not be copied out of another buffer."""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_XDECREF, PyObject


cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL


cdef class FreshBytes:
    def __dealloc__(self):
        self.drop()

    def __getbuffer__(self, Py_buffer *view, int flags):
        # Writable, as nobody else has seen the object yet. Who takes it has no more use for the view.
        if self.data == NULL:
            raise BufferError("there are no bytes to read into")
        PyBuffer_FillInfo(
            view, self, PyBytes_AS_STRING(<object> self.data), PyBytes_GET_SIZE(<object> self.data), False, flags
        )

    cdef int make(self, Py_ssize_t size) except -1:
        """Make sure that there are bytes to read into; those that nothing was read into serve again."""
        if self.data == NULL:
            self.data = new_bytes(NULL, size)
        return 0

    cdef void drop(self) noexcept:
        Py_XDECREF(self.data)
        self.data = NULL

    cdef bytes take(self, Py_ssize_t size):
        """The bytes, as far as they were read into."""
        cdef bytes data
        if size < PyBytes_GET_SIZE(<object> self.data):
            _PyBytes_Resize(&self.data, size)
        data = <bytes> self.data
        self.drop()
        return data
