# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False, binding=False
"""What a server lends its connections: the app, its state, the settings, counters, the time."""

from cpython.contextvars cimport PyContext_Copy
from cpython.object cimport PyObject_Call

import asyncio
import contextvars
import logging
import sys

# Eager tasks run the app's first step at once, without a turn of the loop: bench/micro/tasks.py.
cdef bint HAS_EAGER_TASKS = sys.version_info >= (3, 12)
cdef bint HAS_TASK_CONTEXT = sys.version_info >= (3, 11)
cdef object Task = asyncio.Task


cdef class Counters:
    pass


cdef class ServerContext:
    def __init__(
        self, app, settings, *, loop, state=None, access_logger=None, error_logger=None, bytes server_name=b"esg"
    ):
        self.app = app
        self.settings = settings
        self.loop = loop
        self.state = state
        self.context = contextvars.copy_context()
        self.counters = Counters()
        self.error_logger = error_logger or logging.getLogger("esg.error")
        self.access_logger = access_logger
        self.server_line = b"server: %s\r\n" % server_name if settings.server_header else b""
        self.date_line = b""
        self.keep_alive_seconds = settings.timeout_keep_alive
        self.head_seconds = settings.timeout_request_head
        self.body_seconds = settings.timeout_request_body
        self.write_seconds = settings.timeout_write
        self.request_seconds = settings.timeout_request
        self.minimum_rate = settings.minimum_rate
        self.most_at_once = settings.limit_concurrency or 0
        self.most_per_connection = settings.limit_requests_per_connection or 0
        self.task_options = {"loop": loop}
        if HAS_EAGER_TASKS:
            self.task_options["eager_start"] = True
        self.connections = set()
        self.tasks = set()

    cdef object start_task(self, coroutine):
        """A task in a context of its own: a copy of the server's, so that nothing leaks from request to request."""
        cdef object context = PyContext_Copy(self.context)
        if not HAS_TASK_CONTEXT:
            return context.run(Task, coroutine, loop=self.loop)
        self.task_options["context"] = context
        return PyObject_Call(Task, (coroutine,), self.task_options)

    cdef bint is_overloaded(self) noexcept:
        """Whether a request more is one too many; its own connection is among the connections already."""
        if self.most_at_once == 0:
            return False
        return len(self.connections) > self.most_at_once or len(self.tasks) >= self.most_at_once

    cdef int count_request(self) except -1:
        self.counters.requests += 1
        if self.counters.requests == self.requests_wanted and self.on_requests is not None:
            self.on_requests()
        return 0

    cdef int forget_connection(self, connection) except -1:
        self.connections.discard(connection)
        return self.tell_if_empty()

    cdef int forget_task(self, task) except -1:
        self.tasks.discard(task)
        return self.tell_if_empty()

    cdef int tell_if_empty(self) except -1:
        if self.on_empty is not None and not self.connections and not self.tasks:
            self.on_empty()
        return 0
