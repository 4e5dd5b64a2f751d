"""What a server lends its connections."""

from esg_protocols.asgi.access cimport AccessLog
from esg_protocols.asgi.awaitables cimport ForWakeups, Wakeup
from esg_protocols.asgi.scope cimport ScopeTemplate


cdef class Counters:
    cdef public long long connections
    cdef public long long requests
    cdef public long long protocol_errors
    cdef public long long app_errors
    # Limits that were passed
    cdef public long long head_limits
    cdef public long long target_limits
    cdef public long long body_limits
    cdef public long long connection_limits
    cdef public long long head_timeouts
    cdef public long long body_timeouts
    cdef public long long keep_alive_timeouts
    cdef public long long write_timeouts
    cdef public long long request_timeouts
    cdef public long long overloads
    cdef public long long ping_timeouts
    # TLS, which servers count
    cdef public long long handshake_failures
    cdef public long long handshake_timeouts
    # WebSockets
    cdef public long long websockets
    cdef public long long websocket_denials
    cdef public long long messages_received
    cdef public long long messages_sent
    cdef public long long message_bytes_received
    cdef public long long message_bytes_sent
    cdef readonly dict close_codes

    cdef int count_refusal(self, int status) except -1
    cdef int count_close(self, int code) except -1


cdef class ServerContext:
    # Lent for good
    cdef readonly object app
    cdef readonly object settings
    cdef readonly object loop
    cdef readonly object context
    cdef readonly Counters counters
    cdef readonly object error_logger
    cdef readonly AccessLog access_log
    # What gives each request an id, if anything does; whether it or the log has to do with an app's header fields
    cdef readonly object request_ids
    cdef bint minds_headers
    cdef readonly bytes server_line
    cdef readonly bytes default_lines
    cdef readonly object server_cert
    # Says for a peer what changes the scopes of its requests
    cdef object forwarded
    cdef str readiness_path
    # What makes a WebSocket's codec; None where there are no WebSockets
    cdef object codec
    cdef double ping_seconds
    cdef double pong_seconds
    cdef Py_ssize_t most_messages
    cdef dict task_options
    # An app's first step is over when its task is made
    cdef bint has_eager_tasks
    cdef ForWakeups for_wakeups
    # What connections have to do behind all reading of the loop's turn; theirs to make
    cdef object round
    # The exchange used last of those that may serve again; scopes to be, by the address that was connected to
    cdef object spare
    cdef int spares
    cdef dict templates
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
    cdef public bint draining
    cdef public bint replaced
    cdef public object on_empty
    cdef public long long requests_wanted
    cdef public object on_requests
    cdef public double longest_round
    # Written by the clock
    cdef public double now
    cdef public bytes date_line
    # Who is there
    cdef readonly set connections
    cdef readonly set tasks

    cdef ScopeTemplate make_template(self, transport, bint secure, proxy_header)
    cdef Wakeup make_wakeup(self)
    cdef bint is_overloaded(self) noexcept
    cdef int count_request(self) except -1
    cdef int forget_connection(self, connection) except -1
    cdef int forget_task(self, task) except -1
    cdef int tell_if_empty(self) except -1
    cdef object start_task(self, coroutine)
