# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False, binding=False
"""The scope of an exchange (ASGI HTTP specification, "HTTP Connection Scope"), built here and nowhere else."""

from esg_protocols.head cimport AUTHORITY, HEADERS, HTTP_VERSION, METHOD, PATH, QUERY_STRING, RAW_PATH

import os
import socket

# The ASGI version and the newest HTTP specification that is kept: ``send`` raises OSError once the client has gone.
cdef dict ASGI_VERSIONS = {"version": "3.0", "spec_version": "2.4"}
cdef str USUAL_VERSION = "1.1"
cdef str USUAL_METHOD = "GET"


cdef dict connection_scope(transport, str root_path):
    """What is the same for every request of a connection, and a place for what is not.

    The places are there so that a copy never has to grow, and hold what most requests say, which then stays.
    """
    return {
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


cdef dict http_scope(dict template, tuple head, dict state):
    cdef dict scope = template.copy()
    scope["asgi"] = ASGI_VERSIONS.copy()
    if head[HTTP_VERSION] is not USUAL_VERSION:
        scope["http_version"] = head[HTTP_VERSION]
    if head[METHOD] is not USUAL_METHOD:
        scope["method"] = head[METHOD]
    scope["path"] = head[PATH]
    scope["raw_path"] = head[RAW_PATH]
    if <bytes> head[QUERY_STRING]:
        scope["query_string"] = head[QUERY_STRING]
    if head[AUTHORITY] is None:
        scope["headers"] = head[HEADERS]
    else:
        scope["headers"] = with_host(head[HEADERS], head[AUTHORITY])
    if state is not None:
        scope["state"] = state.copy()
    return scope


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
