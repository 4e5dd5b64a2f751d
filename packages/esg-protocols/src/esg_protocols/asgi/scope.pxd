"""The scope of an exchange."""


cdef class ScopeTemplate:
    # What is the same for every request of a connection, and a place for what is not
    cdef dict fields
    cdef str root_path
    cdef bytes raw_root_path
    # What the tls extension says; None without TLS
    cdef dict tls
    # What changes scopes by the fields of a proxy; None where the peer is none that is trusted
    cdef object forwarded
    # The peer; and who asks: it or, for the request begun last, whom it speaks for
    cdef tuple peer
    cdef object client
    # The path of the last scope as it was sent, and its inner dicts
    cdef bytes raw_path
    cdef dict asgi
    cdef dict extensions
    cdef dict state
    # Who was noted last in the access log, and as which text, with a port and without
    cdef object noted
    cdef bytes client_text
    cdef bytes host_text
    # What gives each request an id; None where nothing does
    cdef object request_ids

    cdef ScopeTemplate for_client(self, tuple client)
    cdef dict scope(self, tuple head, dict state)
    cdef dict websocket_scope(self, tuple head, dict state, list subprotocols)
    cdef int put_path(self, tuple head) except -1
    cdef int apply_forwarded(self, dict scope, list headers) except -1
    cdef int add_request_id(self, dict scope) except -1
    cdef int renew(self, dict state) except -1


cdef ScopeTemplate make_template(transport, str root_path, server_cert)
cdef tuple client_address(transport)
cdef tuple server_address(transport)
