# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False, binding=False
"""What a server lends its connections: the app, its state, the settings, counters, the time."""

from cpython.contextvars cimport PyContext_Copy
from cpython.object cimport PyObject_Call

from esg_protocols.asgi.access cimport AccessLog
from esg_protocols.asgi.awaitables cimport ForWakeups, Wakeup
from esg_protocols.asgi.scope cimport ScopeTemplate, client_address, make_template, server_address

import asyncio
import contextvars
import logging
import sys

from esg_protocols.asgi.request_ids import RequestIds
from esg_protocols.websocket.codec import load_codec

# Eager tasks run the app's first step at once, without a turn of the loop: bench/micro/tasks.py.
cdef bint HAS_EAGER_TASKS = sys.version_info >= (3, 12)
cdef bint HAS_TASK_CONTEXT = sys.version_info >= (3, 11)
cdef object Task = asyncio.Task

# Seconds that an answer waits for applications that run behind its own, so as to leave together with theirs.
cdef double LONGEST_ROUND = 0.002

cdef enum:
    # A server has few addresses; one that answers for a whole network has more than are worth keeping.
    MOST_TEMPLATES = 64


cdef class Counters:
    def __cinit__(self):
        self.close_codes = {}

    cdef int count_refusal(self, int status) except -1:
        self.protocol_errors += 1
        if status == 431:
            self.head_limits += 1
        elif status == 414:
            self.target_limits += 1
        elif status == 413:
            self.body_limits += 1
        return 0

    cdef int count_close(self, int code) except -1:
        self.close_codes[code] = self.close_codes.get(code, 0) + 1
        return 0


cdef class ServerContext:
    def __init__(
        self,
        app,
        settings,
        *,
        loop,
        state=None,
        access_logger=None,
        AccessLog access_log=None,
        error_logger=None,
        bytes server_name=b"esg",
        server_cert=None,
        headers=(),
        forwarded=None,
    ):
        self.app = app
        self.settings = settings
        self.loop = loop
        self.state = state
        self.context = contextvars.copy_context()
        self.counters = Counters()
        self.error_logger = error_logger or logging.getLogger("esg.error")
        self.access_log = AccessLog(access_logger) if access_logger is not None else access_log
        self.request_ids = RequestIds(settings.request_id_header) if settings.request_id_header else None
        self.minds_headers = self.request_ids is not None or self.access_log is not None and self.access_log.has_headers
        others = [field for field in headers if field[0] != b"server"]
        server = [field[1] for field in headers if field[0] == b"server"] or [server_name] * bool(settings.server_header)
        self.server_line = b"".join([b"server: %s\r\n" % name for name in server[-1:]])
        self.default_lines = b"".join([b"%s: %s\r\n" % field for field in others])
        self.server_cert = server_cert
        self.forwarded = forwarded
        self.readiness_path = settings.readiness_path
        self.codec = None if settings.ws == "none" else load_codec("esg" if settings.ws == "auto" else settings.ws)
        self.ping_seconds = settings.ws_ping_interval
        self.pong_seconds = settings.ws_ping_timeout
        self.most_messages = settings.ws_max_queue
        self.date_line = b""
        self.longest_round = LONGEST_ROUND
        self.keep_alive_seconds = settings.timeout_keep_alive
        self.head_seconds = settings.timeout_request_head
        self.body_seconds = settings.timeout_request_body
        self.write_seconds = settings.timeout_write
        self.request_seconds = settings.timeout_request
        self.minimum_rate = settings.minimum_rate
        self.most_at_once = settings.limit_concurrency or 0
        self.most_per_connection = settings.limit_requests_per_connection or 0
        self.task_options = {"loop": loop}
        self.has_eager_tasks = HAS_EAGER_TASKS
        if HAS_EAGER_TASKS:
            self.task_options["eager_start"] = True
        self.templates = {}
        self.connections = set()
        self.tasks = set()

    cdef ScopeTemplate make_template(self, transport, bint secure, proxy_header):
        cdef tuple server = server_address(transport)
        cdef ScopeTemplate template = self.templates.get(server)
        if template is None or secure:
            template = make_template(transport, self.settings.root_path, self.server_cert)
            if template.tls is None:
                if len(self.templates) >= MOST_TEMPLATES:
                    self.templates.clear()
                self.templates[server] = template
        client = client_address(transport) if proxy_header is None or proxy_header.keeps_peer else proxy_header.source
        template = template.for_client(client)
        template.request_ids = self.request_ids
        if self.forwarded is not None:
            template.forwarded = self.forwarded(template.client, server)
        return template

    cdef object start_task(self, coroutine):
        """A task in a context of its own: a copy of the server's, so that nothing leaks from request to request."""
        cdef object context = PyContext_Copy(self.context)
        if not HAS_TASK_CONTEXT:
            return context.run(Task, coroutine, loop=self.loop)
        self.task_options["context"] = context
        return PyObject_Call(Task, (coroutine,), self.task_options)

    cdef Wakeup make_wakeup(self):
        if self.for_wakeups is None:
            self.for_wakeups = ForWakeups(self.loop)
        return Wakeup.__new__(Wakeup, self.for_wakeups)

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
