"""The scope of an exchange."""


cdef class ScopeTemplate:
    # What is the same for every request of a connection, and a place for what is not
    cdef dict fields
    cdef str root_path
    cdef bytes raw_root_path
    # The inner dicts of the last scope
    cdef dict asgi
    cdef dict state

    cdef dict scope(self, tuple head, dict state)
    cdef int renew(self, dict state) except -1
