# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False, binding=False
"""The scope of an exchange (ASGI HTTP specification, "HTTP Connection Scope"), built here and nowhere else."""

from cpython.dict cimport PyDict_Next
from cpython.ref cimport PyObject

from esg_protocols.head cimport AUTHORITY, HEADERS, HTTP_VERSION, METHOD, PATH, QUERY_STRING, RAW_PATH

import os
import socket
from urllib.parse import quote


cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *)


# The ASGI version and the newest HTTP specification that is kept: ``send`` raises OSError once the client has gone.
cdef dict ASGI_VERSIONS = {"version": "3.0", "spec_version": "2.4"}
# What may stand in a path as it is (RFC 3986 section 3.3).
cdef str SAFE_IN_PATHS = "/!$&'()*+,;=:@"
cdef str USUAL_VERSION = "1.1"
cdef str USUAL_METHOD = "GET"


cdef class ScopeTemplate:
    def __cinit__(self, transport, str root_path):
        self.root_path = root_path
        self.raw_root_path = quote(root_path, safe=SAFE_IN_PATHS).encode()
        # The places of what changes are there too, so that a copy never has to grow, and hold what most requests say.
        self.fields = {
            "type": "http",
            "asgi": None,
            "http_version": USUAL_VERSION,
            "server": server_address(transport),
            "client": client_address(transport),
            "scheme": "http" if transport.get_extra_info("sslcontext") is None else "https",
            "method": USUAL_METHOD,
            "root_path": root_path,
            "path": None,
            "raw_path": None,
            "query_string": b"",
            "headers": None,
        }

    cdef dict scope(self, tuple head, dict state):
        cdef dict scope
        self.renew(state)
        scope = self.fields.copy()
        if head[HTTP_VERSION] is not USUAL_VERSION:
            scope["http_version"] = head[HTTP_VERSION]
        if head[METHOD] is not USUAL_METHOD:
            scope["method"] = head[METHOD]
        scope["path"] = head[PATH]
        scope["raw_path"] = head[RAW_PATH]
        if self.root_path and (<str> head[PATH]).startswith("/"):
            # The whole path is in ``path``: what an app sees below its root is behind root_path in it.
            scope["path"] = self.root_path + <str> head[PATH]
            scope["raw_path"] = self.raw_root_path + <bytes> head[RAW_PATH]
        if <bytes> head[QUERY_STRING]:
            scope["query_string"] = head[QUERY_STRING]
        if head[AUTHORITY] is None:
            scope["headers"] = head[HEADERS]
        else:
            scope["headers"] = with_host(head[HEADERS], head[AUTHORITY])
        return scope

    cdef int renew(self, dict state) except -1:
        """Every scope has inner dicts of its own; those of the last one serve again if they are as good as new."""
        if not is_as_new(<PyObject *> self.asgi, ASGI_VERSIONS):
            self.asgi = self.fields["asgi"] = ASGI_VERSIONS.copy()
        if state is not None and not is_as_new(<PyObject *> self.state, state):
            self.state = self.fields["state"] = state.copy()
        return 0


cdef bint is_as_new(PyObject *inner, dict model) noexcept:
    """Whether nobody but the template holds a dict, and it is what a copy of ``model`` would be.

    It comes as a pointer, so that the call itself holds nothing.
    """
    cdef Py_ssize_t at = 0, model_at = 0
    cdef PyObject *key
    cdef PyObject *value
    cdef PyObject *model_key
    cdef PyObject *model_value
    # The template refers to it twice.
    if inner == <PyObject *> None or Py_REFCNT(inner) != 2 or len(<dict> inner) != len(model):
        return False
    while PyDict_Next(<dict> inner, &at, &key, &value):
        PyDict_Next(model, &model_at, &model_key, &model_value)
        if key != model_key or value != model_value:
            return False
    return True


cdef list with_host(list headers, bytes authority):
    """The Host that an absolute-form target stands for; the one that was sent is ignored (RFC 9112 section 3.2.2)."""
    return [(b"host", authority)] + [field for field in headers if field[0] != b"host"]


cdef object client_address(transport):
    """``(host, port)``, or None where there is no such thing."""
    cdef object name = transport.get_extra_info("peername")
    return (str(name[0]), int(name[1])) if isinstance(name, (tuple, list)) and len(name) >= 2 else None


cdef object server_address(transport):
    """``(host, port)``, or ``(path, None)`` on a UNIX socket."""
    cdef object sock = transport.get_extra_info("socket")
    cdef object name = transport.get_extra_info("sockname")
    if sock is not None and getattr(socket, "AF_UNIX", None) == sock.family:
        return (os.fsdecode(name), None) if name else None  # bytes of an abstract one
    return (str(name[0]), int(name[1])) if isinstance(name, (tuple, list)) and len(name) >= 2 else None
