"""A bytes object that is read into."""

from cpython.ref cimport PyObject


cdef class FreshBytes:
    # Ours alone until it is taken; NULL between two
    cdef PyObject *data

    cdef int make(self, Py_ssize_t size) except -1
    cdef void drop(self) noexcept
    cdef bytes take(self, Py_ssize_t size)
