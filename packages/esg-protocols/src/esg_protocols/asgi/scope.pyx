# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False, binding=False
"""The scope of an exchange (ASGI HTTP specification, "HTTP Connection Scope"), built here and nowhere else."""

from cpython.dict cimport PyDict_Next
from cpython.ref cimport PyObject
from libc.string cimport memcmp

from esg_protocols.head cimport AUTHORITY, HEADERS, HTTP_VERSION, METHOD, PATH, QUERY_STRING, RAW_PATH

import os
import sys

from esg_protocols.asgi.tls import tls_extension


cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *)
    PyObject *PyList_GET_ITEM(PyObject *, Py_ssize_t)
    PyObject *PyTuple_GET_ITEM(PyObject *, Py_ssize_t)
    const char *PyBytes_AS_STRING(PyObject *)
    Py_ssize_t PyBytes_GET_SIZE(PyObject *)


# The ASGI version, and the newest version of the HTTP and WebSocket specification that is kept.
cdef dict ASGI_VERSIONS = {"version": "3.0", "spec_version": "2.5"}
# What ``Exchange.send`` takes beyond that specification; ``tls`` is there only where there is TLS.
cdef tuple EXTENSIONS = (
    "http.response.early_hint", "http.response.pathsend", "http.response.trailers", "http.response.zerocopysend",
)
cdef str TLS = "tls"
# What may stand in a path as it is (RFC 3986 section 3.3).
cdef str SAFE_IN_PATHS = "/!$&'()*+,;=:@"
# Interned, as the parser's are.
cdef str USUAL_VERSION = sys.intern("1.1")
cdef str USUAL_METHOD = sys.intern("GET")


cdef bytes percent_encode(str path):
    from urllib.parse import quote  # who has no root path starts faster without

    return quote(path, safe=SAFE_IN_PATHS).encode()


cdef ScopeTemplate make_template(transport, str root_path, server_cert):
    """A template for connections to the address of this one; with TLS, for this one."""
    cdef ScopeTemplate made = ScopeTemplate.__new__(ScopeTemplate)
    made.root_path = root_path
    made.raw_root_path = percent_encode(root_path) if root_path else b""
    made.tls = tls_extension(transport.get_extra_info("ssl_object"), server_cert)
    # The places of what changes are there too, so that a copy never has to grow, and hold what most requests say.
    made.fields = {
        "type": "http",
        "asgi": None,
        "http_version": USUAL_VERSION,
        "server": server_address(transport),
        "client": None,
        "scheme": "http" if transport.get_extra_info("sslcontext") is None else "https",
        "method": USUAL_METHOD,
        "root_path": root_path,
        "path": None,
        "raw_path": None,
        "query_string": b"",
        "headers": None,
        "extensions": None,
    }
    return made


cdef class ScopeTemplate:
    cdef ScopeTemplate for_client(self, tuple client):
        """The template of one connection."""
        cdef ScopeTemplate made = ScopeTemplate.__new__(ScopeTemplate)
        made.root_path = self.root_path
        made.raw_root_path = self.raw_root_path
        made.tls = self.tls
        made.fields = self.fields.copy()
        made.fields["client"] = made.peer = made.client = client
        return made

    cdef dict scope(self, tuple head, dict state):
        cdef dict scope
        cdef list headers = head[HEADERS]
        self.renew(state)
        if self.raw_path is None or <bytes> head[RAW_PATH] != self.raw_path:
            self.put_path(head)
        scope = self.fields.copy()
        if head[HTTP_VERSION] is not USUAL_VERSION:
            scope["http_version"] = head[HTTP_VERSION]
        if head[METHOD] is not USUAL_METHOD:
            scope["method"] = head[METHOD]
        if <bytes> head[QUERY_STRING]:
            scope["query_string"] = head[QUERY_STRING]
        if head[AUTHORITY] is not None:
            headers = with_host(headers, head[AUTHORITY])
        scope["headers"] = headers
        if self.request_ids is not None:
            self.add_request_id(scope)
        if self.forwarded is not None:
            self.apply_forwarded(scope, headers)
        return scope

    cdef int add_request_id(self, dict scope) except -1:
        state = scope.get("state")
        if state is None:
            state = scope["state"] = {}
        state["request_id"] = self.request_ids.of(scope["headers"], self.forwarded is not None)
        return 0

    cdef int put_path(self, tuple head) except -1:
        """Into the template, as the next request of a connection often asks for the same."""
        self.raw_path = head[RAW_PATH]
        self.fields["path"] = head[PATH]
        self.fields["raw_path"] = head[RAW_PATH]
        if self.root_path and (<str> head[PATH]).startswith("/"):
            # The whole path is in ``path``: what an app sees below its root is behind root_path in it.
            self.fields["path"] = self.root_path + <str> head[PATH]
            self.fields["raw_path"] = self.raw_root_path + <bytes> head[RAW_PATH]
        return 0

    cdef int apply_forwarded(self, dict scope, list headers) except -1:
        """Let the proxy at the other end speak for its client, if it has anything to say."""
        if speaks_for_others(headers):
            self.forwarded(scope)
            self.client = scope["client"]
        elif self.client is not self.peer:
            self.client = self.peer
        return 0

    cdef dict websocket_scope(self, tuple head, dict state, list subprotocols):
        """The scope of a WebSocket (ASGI WebSocket specification, "Connection Scope")."""
        cdef dict scope = self.scope(head, state)
        scope["type"] = "websocket"
        scope["scheme"] = "ws" if scope["scheme"] == "http" else "wss"
        scope["subprotocols"] = subprotocols
        scope["extensions"] = {"websocket.http.response": {}}
        if self.tls is not None:
            scope["extensions"][TLS] = self.tls.copy()
        del scope["method"]
        return scope

    cdef int renew(self, dict state) except -1:
        """Every scope has inner dicts of its own; those of the last one serve again if they are as good as new."""
        if not is_as_new(<PyObject *> self.asgi, ASGI_VERSIONS):
            self.asgi = self.fields["asgi"] = ASGI_VERSIONS.copy()
        if not is_as_offered(<PyObject *> self.extensions, self.tls):
            self.extensions = self.fields["extensions"] = {name: {} for name in EXTENSIONS}
            if self.tls is not None:
                self.extensions[TLS] = self.tls.copy()
        if state is not None and not is_as_new(<PyObject *> self.state, state):
            self.state = self.fields["state"] = state.copy()
        return 0


cdef bint is_as_new(PyObject *inner, dict model) noexcept:
    """Whether nobody but the template, which has it twice, holds a dict, and it is what a copy of ``model`` would be.

    It comes as a pointer, so that the call itself holds nothing.
    """
    return inner != <PyObject *> None and Py_REFCNT(inner) == 2 and is_copy(inner, model)


cdef bint is_copy(PyObject *inner, dict model) noexcept:
    cdef Py_ssize_t at = 0, model_at = 0
    cdef PyObject *key
    cdef PyObject *value
    cdef PyObject *model_key
    cdef PyObject *model_value
    if len(<dict> inner) != len(model):
        return False
    for _ in range(len(model)):
        PyDict_Next(<dict> inner, &at, &key, &value)
        PyDict_Next(model, &model_at, &model_key, &model_value)
        if key != model_key or value != model_value:
            return False
    return True


cdef bint is_as_offered(PyObject *extensions, dict tls) noexcept:
    """The same of ``extensions``, whose values are empty dicts of its own and, with TLS, a copy of ``tls``."""
    cdef Py_ssize_t at = 0, known, count = len(EXTENSIONS) + (tls is not None)
    cdef PyObject *key
    cdef PyObject *value
    if extensions == <PyObject *> None or Py_REFCNT(extensions) != 2 or len(<dict> extensions) != count:
        return False
    for known in range(count):
        PyDict_Next(<dict> extensions, &at, &key, &value)
        if Py_REFCNT(value) != 1:
            return False
        if known == len(EXTENSIONS):
            return key == <PyObject *> TLS and is_copy(value, tls)
        if key != <PyObject *> EXTENSIONS[known] or len(<dict> value):
            return False
    return True


cdef bint speaks_for_others(list headers) noexcept:
    """Whether there is a field ``Forwarded`` or ``X-Forwarded-...``: most requests have none, and pay no more than this."""
    cdef PyObject *name
    cdef Py_ssize_t i, size
    for i in range(len(headers)):
        name = PyTuple_GET_ITEM(PyList_GET_ITEM(<PyObject *> headers, i), 0)
        size = PyBytes_GET_SIZE(name)
        if size == 9 and not memcmp(PyBytes_AS_STRING(name), b"forwarded", 9):
            return True
        if size > 12 and not memcmp(PyBytes_AS_STRING(name), b"x-forwarded-", 12):
            return True
    return False


cdef list with_host(list headers, bytes authority):
    """The Host that an absolute-form target stands for; the one that was sent is ignored (RFC 9112 section 3.2.2)."""
    return [(b"host", authority)] + [field for field in headers if field[0] != b"host"]


cdef tuple client_address(transport):
    """``(host, port)``, or None where there is no such thing."""
    cdef object name = transport.get_extra_info("peername")
    return (str(name[0]), int(name[1])) if isinstance(name, (tuple, list)) and len(name) >= 2 else None


cdef tuple server_address(transport):
    """``(host, port)``, or ``(path, None)`` on a UNIX socket, which is known by the type of its name."""
    cdef object name = transport.get_extra_info("sockname")
    if isinstance(name, (str, bytes)):
        return (os.fsdecode(name), None) if name else None  # bytes of an abstract one
    return (str(name[0]), int(name[1])) if isinstance(name, (tuple, list)) and len(name) >= 2 else None
