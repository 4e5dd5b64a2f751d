"""What an application's messages say. Part of http.pyx."""

# What an app's message says: borrowed from it, and NULL where it says nothing.
cdef struct Fields:
    PyObject *kind
    PyObject *status
    PyObject *headers
    PyObject *body
    PyObject *more_body
    PyObject *trailers


cdef int read_fields(dict message, Fields *fields) except -1:
    """One walk over the message, not a look-up for every key there may be: bench/micro/messages.py."""
    cdef Py_ssize_t at = 0
    cdef PyObject *key
    cdef PyObject *value
    cdef object written
    memset(fields, 0, sizeof(Fields))
    while PyDict_Next(message, &at, &key, &value):
        # A key that is written in a program is the same object everywhere; one that was put together is not. A look-up
        # of a plain str runs no code of the application's, which could change the message under our hands.
        if not put_field(fields, key, value) and type(<object> key) is str:
            written = interned.get(<object> key)
            put_field(fields, <PyObject *> written, value)
    return 0


cdef inline bint put_field(Fields *fields, PyObject *key, PyObject *value) noexcept:
    if key == <PyObject *> TYPE_KEY:
        fields.kind = value
    elif key == <PyObject *> BODY_KEY:
        fields.body = value
    elif key == <PyObject *> MORE_BODY_KEY:
        fields.more_body = value
    elif key == <PyObject *> STATUS_KEY:
        fields.status = value
    elif key == <PyObject *> HEADERS_KEY:
        fields.headers = value
    elif key == <PyObject *> TRAILERS_KEY:
        fields.trailers = value
    else:
        return False
    return True


cdef inline object said(PyObject *value, otherwise):
    return otherwise if value == NULL else <object> value
