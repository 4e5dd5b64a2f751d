"""What a line of the access log looks like."""

from cpython.ref cimport PyObject

from esg_protocols.http1.serialize cimport Buffer


# What is known of a response; borrowed, and NULL where there is nothing.
cdef struct Entry:
    PyObject *client        # its address, as bytes
    PyObject *host          # and without the port
    PyObject *method
    PyObject *head
    PyObject *scope
    PyObject *headers       # of the response, as the application gave them
    int status
    long long sent
    long long micros        # how long it took; negative where that is not known


cdef struct Step:
    int atom
    PyObject *argument


cdef class LineFormat:
    cdef list held
    cdef Step *steps
    cdef int count
    # How what comes from outside is escaped
    cdef int escape
    cdef int escape_target
    # The message of a line that is JSON, and where it is put together
    cdef LineFormat message
    cdef Buffer scratch
    # Whether it needs the time that a response took; the response's header fields
    cdef readonly bint timed
    cdef readonly bint has_headers
    # The time as text, made once a second
    cdef long long second
    cdef bytes stamp

    cdef int append_to(self, Buffer *out, Entry *entry) except -1
    cdef int append_step(self, Buffer *out, Entry *entry, Step *step) except -1
    cdef int append_target(self, Buffer *out, Entry *entry) except -1
    cdef int append_time(self, Buffer *out, int atom) except -1
    cdef int append_message(self, Buffer *out, Entry *entry) except -1
    cdef int append_field(self, Buffer *out, list fields, bytes name) except -1
    cdef bytes line(self, Entry *entry)


cdef object request_id(PyObject *scope)
cdef bytes as_ascii(text)
