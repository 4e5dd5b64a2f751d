"""What a server lends its connections."""


cdef class Counters:
    cdef public long long connections
    cdef public long long requests
    cdef public long long protocol_errors
    cdef public long long app_errors
    # Limits that were passed
    cdef public long long head_timeouts
    cdef public long long body_timeouts
    cdef public long long keep_alive_timeouts
    cdef public long long write_timeouts
    cdef public long long request_timeouts
    cdef public long long overloads


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
    # The settings that every request or connection looks at; 0 is no limit
    cdef double keep_alive_seconds
    cdef double head_seconds
    cdef double body_seconds
    cdef double write_seconds
    cdef double request_seconds
    cdef double minimum_rate
    cdef Py_ssize_t most_at_once
    cdef long long most_per_connection
    # Changed while it runs
    cdef public dict state
    cdef public bint closing
    cdef public object on_empty
    cdef public long long requests_wanted
    cdef public object on_requests
    # Written by the clock
    cdef public double now
    cdef public bytes date_line
    # Who is there
    cdef readonly set connections
    cdef readonly set tasks

    cdef bint is_overloaded(self) noexcept
    cdef int count_request(self) except -1
    cdef int forget_connection(self, connection) except -1
    cdef int forget_task(self, task) except -1
    cdef int tell_if_empty(self) except -1
    cdef object start_task(self, coroutine)
