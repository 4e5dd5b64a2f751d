"""What a server lends its connections."""


cdef class Counters:
    cdef public long long connections
    cdef public long long requests
    cdef public long long protocol_errors
    cdef public long long app_errors


cdef class ServerContext:
    # Lent for good
    cdef readonly object app
    cdef readonly object settings
    cdef readonly object loop
    cdef readonly object context
    cdef readonly Counters counters
    cdef readonly object error_logger
    cdef readonly object access_logger
    cdef readonly bytes server_line
    cdef dict task_options
    cdef double keep_alive_seconds
    # Changed while it runs
    cdef public dict state
    cdef public bint closing
    cdef public object on_empty
    # Written by the clock
    cdef public double now
    cdef public bytes date_line
    # Who is there
    cdef readonly set connections
    cdef readonly set tasks

    cdef int forget_connection(self, connection) except -1
    cdef int forget_task(self, task) except -1
    cdef int tell_if_empty(self) except -1
    cdef object start_task(self, coroutine)
