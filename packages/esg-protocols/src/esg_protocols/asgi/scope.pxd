"""The scope of an exchange."""


cdef dict connection_scope(transport, str root_path)
cdef dict http_scope(dict template, tuple head, dict state)
