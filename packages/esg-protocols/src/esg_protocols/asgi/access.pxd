"""The access log."""

from cpython.ref cimport PyObject

from esg_protocols.asgi.line_format cimport Entry, LineFormat
from esg_protocols.asgi.lines cimport LineWriter
from esg_protocols.asgi.scope cimport ScopeTemplate


# A place where a program may change what becomes of a record: a dictionary, a key and the value there; or a list, how
# many items it has, and the one if it has one. The AccessLog holds the objects.
cdef struct Place:
    PyObject *held
    PyObject *key           # NULL for a list
    PyObject *value
    Py_ssize_t size


cdef class AccessLog:
    cdef readonly object logger
    # What the message of a record is, where it is not the usual one
    cdef LineFormat message
    # Where lines go past the logger, and as long as what; None where they do not
    cdef LineWriter writer
    cdef LineFormat line_format
    cdef list as_it_was
    cdef Place *places
    cdef int count
    # What must be known of a response
    cdef readonly bint timed
    cdef readonly bint has_headers

    cdef int note(
        self, ScopeTemplate template, dict scope, client, str method, tuple head, int status, long long sent,
        double began, headers,
    ) except -1
    cdef int find_places(self) except -1
    cdef bint is_untouched(self) except -1
    cdef int log(self, Entry *entry, client) except -1


cdef double moment() noexcept
cdef str client_name(client)
