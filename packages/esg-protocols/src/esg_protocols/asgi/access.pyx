# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False, binding=False
"""The access log: one line for each response, and for each end of a WebSocket."""

from cpython.ref cimport PyObject
from cpython.time cimport monotonic
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from esg_protocols.asgi.line_format cimport Entry, LineFormat, as_ascii, request_id
from esg_protocols.asgi.lines cimport LineWriter
from esg_protocols.asgi.scope cimport ScopeTemplate
from esg_protocols.head cimport HTTP_VERSION, QUERY_STRING, RAW_PATH
from esg_protocols.http1.serialize cimport append

import logging


cdef extern from "Python.h":
    PyObject *PyDict_GetItemWithError(object, object) except? NULL
    PyObject *PyList_GET_ITEM(object, Py_ssize_t)
    Py_ssize_t PyList_GET_SIZE(object)


cdef int INFO = logging.INFO
cdef str MESSAGE = '%s - "%s %s HTTP/%s" %d'
# For a message that is whole already: the arguments, which formatters unpack, add nothing to it.
cdef str NO_ARGUMENTS = "%.0s" * 5
# What a record says of where it was made; looking for it would cost more than all the rest.
cdef str HERE = "esg_protocols/asgi/access.pyx"


cdef class AccessLog:
    def __init__(
        self, logger not None, LineFormat message=None, *, LineWriter writer=None, LineFormat line_format=None,
        list as_it_was=None,
    ):
        self.logger = logger
        self.message = message
        self.writer = writer
        self.line_format = line_format
        self.as_it_was = list(as_it_was or ())
        self.find_places()
        self.timed = writer is None or line_format.timed
        self.has_headers = (
            message is not None and message.has_headers or line_format is not None and line_format.has_headers
        )

    def __dealloc__(self):
        free(self.places)

    cdef int note(
        self, ScopeTemplate template, dict scope, client, str method, tuple head, int status, long long sent,
        double began, headers,
    ) except -1:
        """One more line. Client, method and status may be other than in the head: a proxy speaks for one, a WebSocket
        has a close code."""
        cdef Entry entry
        cdef size_t start
        cdef bint past_logging = self.writer is not None and self.is_untouched()
        if not past_logging and not self.logger.isEnabledFor(INFO):
            return 0
        memset(&entry, 0, sizeof(entry))
        if template.noted is not client or template.client_text is None:
            template.noted = client
            template.client_text = as_ascii(whole_name(client))
            template.host_text = host_name(client)
        entry.client = <PyObject *> template.client_text
        entry.host = <PyObject *> template.host_text
        entry.method = <PyObject *> method
        entry.head = <PyObject *> head
        entry.scope = NULL if scope is None else <PyObject *> scope
        entry.headers = NULL if headers is None else <PyObject *> headers
        entry.status = status
        entry.sent = sent
        entry.micros = <long long> ((monotonic() - began) * 1000000) if self.timed and began else -1
        if not past_logging:
            self.timed = True  # records say it, from now on
            return self.log(&entry, client)
        start = self.writer.out.size
        self.line_format.append_to(&self.writer.out, &entry)
        append(&self.writer.out, b"\n", 1)
        return self.writer.end_line(start)

    cdef int find_places(self) except -1:
        """Make ready for a look at each of them with every response."""
        cdef Place *place
        self.places = <Place *> calloc(max(len(self.as_it_was), 1), sizeof(Place))
        if self.places == NULL:
            raise MemoryError
        for held, key, value in self.as_it_was:
            place = &self.places[self.count]
            place.held = <PyObject *> held
            place.value = <PyObject *> value
            if isinstance(held, dict):
                place.key = <PyObject *> key
            else:
                place.size = key
            self.count += 1
        return 0

    cdef bint is_untouched(self) except -1:
        """Whether logging is still as it was."""
        cdef Place *place
        cdef int i
        for i in range(self.count):
            place = &self.places[i]
            if place.key != NULL:
                if PyDict_GetItemWithError(<object> place.held, <object> place.key) != place.value:
                    return False
            elif PyList_GET_SIZE(<object> place.held) != place.size:
                return False
            elif place.size and PyList_GET_ITEM(<object> place.held, 0) != place.value:
                return False
        return True

    cdef int log(self, Entry *entry, client) except -1:
        """A record, as uvicorn's are, and what formatters for JSON find beside its message."""
        cdef tuple head = <tuple> entry.head
        cdef str method = <str> entry.method
        cdef str message = MESSAGE
        cdef tuple arguments = (client_name(client), method, full_path(head), head[HTTP_VERSION], entry.status)
        cdef dict fields
        if self.message is not None:
            message = self.message.line(entry).decode("ascii").replace("%", "%%") + NO_ARGUMENTS
        logger = self.logger
        record = logger.makeRecord(logger.name, INFO, HERE, 0, message, arguments, None)
        fields = record.__dict__  # not as ``extra``: a record factory may have set one of these, and it stays
        fields.setdefault("client_addr", arguments[0])
        fields.setdefault("method", method)
        fields.setdefault("path", as_text(head[RAW_PATH]))
        fields.setdefault("query_string", as_text(head[QUERY_STRING]))
        fields.setdefault("http_version", head[HTTP_VERSION])
        fields.setdefault("scheme", "-" if entry.scope == NULL else (<dict> entry.scope).get("scheme", "-"))
        fields.setdefault("status_code", entry.status)
        fields.setdefault("response_bytes", entry.sent)
        fields.setdefault("duration", None if entry.micros < 0 else entry.micros / 1000000)
        fields.setdefault("request_id", request_id(entry.scope))
        logger.handle(record)
        return 0


cdef double moment() noexcept:
    """Now, to know later how long something took."""
    return monotonic()


cdef str client_name(client):
    """A client for the log; a proxy may have said anything of it."""
    cdef str name = whole_name(client)
    return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")


cdef str whole_name(client):
    if client is None:
        return ""
    if not isinstance(client, (tuple, list)) or len(client) < 2:
        return str(client)  # what an application has made of its scope
    return f"{client[0]}:{client[1]}"


cdef bytes host_name(client):
    if isinstance(client, (tuple, list)) and len(client):
        return as_ascii(client[0])
    return b"-" if client is None else as_ascii(client)


cdef str full_path(tuple head):
    """Path and query as they came, but with nothing that could end a value in quotes; both are visible ASCII."""
    cdef str path = as_text(head[RAW_PATH])
    cdef bytes query = head[QUERY_STRING]
    if query:
        path += "?" + as_text(query)
    if '"' in path or "\\" in path:
        path = path.replace('"', "%22").replace("\\", "%5C")
    return path


cdef str as_text(bytes data):
    return data.decode("ascii", "backslashreplace")
