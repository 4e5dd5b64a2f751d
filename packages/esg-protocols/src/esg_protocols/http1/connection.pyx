# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False, binding=False
"""One HTTP/1.1 connection as a server sees it, without I/O.

The tables of :mod:`esg_protocols.http1.states` say what may happen; this module does it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport free
from libc.string cimport memset

from esg_protocols.head cimport AUTHORITY, EXPECT_CONTINUE, HEADERS, HTTP_VERSION, KEEP_ALIVE, METHOD
from esg_protocols.http1.serialize cimport (
    BY_LENGTH, CHUNKED, NO_BODY, append, append_bytes, append_chunk_size, append_head, append_link, append_trailers,
    status_line, take,
)
from esg_protocols.words cimport is_word

from http import HTTPStatus

from esg_parser import END, ParserError, RequestHead, RequestParser

from esg_protocols.errors import LocalProtocolError, RemoteProtocolError
from esg_protocols.http1.states import READING, WRITING, ReadEvent, Reading, WriteEvent, Writing
from esg_protocols.settings import Settings


# -- The tables, as arrays -------------------------------------------------------------------------------------------

cdef enum:
    READ_HEAD = 0
    READ_DATA = 1
    READ_END = 2
    READ_EOF = 3
    READ_ERROR = 4
    READ_NEXT = 5
    READ_EVENTS = 6

cdef enum:
    WRITE_REQUEST = 0
    WRITE_INFORMATIONAL = 1
    WRITE_RESPONSE = 2
    WRITE_DATA = 3
    WRITE_FILE = 4
    WRITE_FILE_END = 5
    WRITE_BODY_END = 6
    WRITE_TRAILERS = 7
    WRITE_END = 8
    WRITE_REFUSAL = 9
    WRITE_CLOSE = 10
    WRITE_NEXT = 11
    WRITE_EVENTS = 12

cdef enum:
    STATES = 7
    # Up to here a body is copied behind its head and leaves in one write; beyond, copying costs more than it saves.
    LARGEST_JOINED = 65536
    # Up to here a part of a body may wait for the next one: a write costs as much as copying some of them.
    LARGEST_HELD = 16384

cdef int reading[STATES * READ_EVENTS]
cdef int writing[STATES * WRITE_EVENTS]


cdef int read_tables() except -1:
    cdef int state, event
    for state in range(STATES):
        for event in range(READ_EVENTS):
            reading[state * READ_EVENTS + event] = READING.get((state, event), -1)
        for event in range(WRITE_EVENTS):
            writing[state * WRITE_EVENTS + event] = WRITING.get((state, event), -1)
    return 0


read_tables()

cdef object end_of_message = END
cdef type request_head = RequestHead
cdef bytes NO_BYTES = b""
cdef bytes CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


cdef class HTTPConnection:
    def __cinit__(self, settings=None, *, bytes server_line=b"", bytes default_lines=b""):
        if settings is None:
            settings = Settings()
        parser = RequestParser(
            max_head_size=settings.limit_head_size,
            max_headers=settings.limit_header_count,
            max_header_size=settings.limit_header_size,
            max_target_size=settings.limit_target_size,
            max_body_size=settings.limit_request_body,
        )
        self.parser = parser
        self.feed = parser.feed
        self.pending = parser.pending
        self.server_line = server_line + default_lines
        self.default_lines = default_lines

    def __dealloc__(self):
        free(self.out.data)

    @property
    def reading(self):
        return Reading(self.read_state)

    @property
    def writing(self):
        return Writing(self.write_state)

    @property
    def carries_body(self):
        return self.response.framing != NO_BODY

    @property
    def trailing_data(self):
        return self.parser.trailing_data + b"".join(self.early or ())

    @property
    def must_close(self):
        return self.response.close or self.read_state >= READING_CLOSED or self.write_state == WRITING_CLOSED

    # -- Reading

    cpdef list receive_data(self, data):
        cdef list events
        if self.read_state >= READING_DONE:
            # Of a request behind this one, or after the last: the first waits its turn, the other is of no use.
            if self.read_state == READING_DONE:
                self.early = self.early or []
                self.early.append(data)
                self.early_size += len(data)
            return []
        try:
            events = self.feed(data)
        except ParserError as error:
            self.step_read(READ_ERROR)
            raise RemoteProtocolError(str(error), error.status) from None
        if not events and self.read_state == READING_HEAD:
            self.head_begun = True
        for event in events:
            if event is end_of_message:
                self.awaits_continue = False
                self.step_read(READ_END)
            elif type(event) is bytes:
                self.awaits_continue = False
                self.step_read(READ_DATA)
            elif type(event) is request_head:
                self.begin_exchange(<tuple> event)
        return events

    cdef int begin_exchange(self, tuple head) except -1:
        self.step_read(READ_HEAD)
        self.step_write(WRITE_REQUEST)
        self.request = head
        self.head_begun = False
        self.answers_head = is_word(head[METHOD], "HEAD")
        self.version_1_1 = not is_word(head[HTTP_VERSION], "1.0")
        self.awaits_continue = head[EXPECT_CONTINUE] is True
        if head[KEEP_ALIVE] is not True:
            self.response.close = True
        self.answers_connect = head[AUTHORITY] is not None and is_word(head[METHOD], "CONNECT")
        return 0

    cpdef receive_eof(self):
        if self.read_state == READING_DONE:
            # What was sent before it comes first.
            self.early_eof = True
        elif self.read_state < READING_CLOSED:
            self.step_read(READ_EOF)

    def next_exchange(self):
        return self.begin_next() or []

    cdef list begin_next(self):
        """Go on to the next request; the events of what came of it already, or None."""
        cdef bytes early = NO_BYTES
        cdef list events = None
        # Whichever of them must not happen, nothing has changed.
        if self.write_state != WRITING_DONE:
            self.step_write(WRITE_NEXT)
        if self.response.close:
            raise LocalProtocolError("the connection ends with this response")
        self.step_read(READ_NEXT)
        self.step_write(WRITE_NEXT)
        self.request = None
        self.answers_head = False
        if self.early is not None:
            early = b"".join(self.early)
            self.early = None
            self.early_size = 0
        if early or self.pending():
            events = self.receive_data(early)
        if self.early_eof and self.read_state != READING_DONE:
            self.step_read(READ_EOF)
        return events

    cdef int step_read(self, int event) except -1:
        cdef int state = reading[self.read_state * READ_EVENTS + event]
        if state < 0:
            raise LocalProtocolError(f"{ReadEvent(event).name} must not come when reading is {Reading(self.read_state).name}")
        self.read_state = state
        return 0

    # -- Writing

    def send_response(self, status, headers=(), *, bytes date=b"", bint trailers=False):
        self.start_response(status, headers, date, trailers)
        return NO_BYTES

    def send_body(self, data=b"", more_body=False):
        parts = self.write_body(data, more_body, False)
        return parts if type(parts) is bytes else b"".join(parts)

    cdef int start_response(self, status, headers, bytes date, bint trailers) except -1:
        cdef Response response = self.response
        if self.write_state != WRITING_HEAD:
            self.step_write(WRITE_RESPONSE)
        if self.awaits_continue:
            # The client may send its body or not, now that it gets an answer without 100 (RFC 9110 section 10.1.1).
            response.close = True
        if self.answers_connect and isinstance(status, int) and 200 <= status < 300:
            # A proxy in between would look at nothing behind it, and what came then would be requests here.
            raise LocalProtocolError(f"{status} to CONNECT would begin a tunnel, which there is none of")
        append_head(
            &self.out, &response, status, headers, self.server_line, date, self.default_lines, self.answers_head,
            self.version_1_1,
        )
        response.trailers = trailers
        response.sent = 0
        self.response = response
        self.step_write(WRITE_RESPONSE)
        return 0

    cdef object write_body(self, data, bint more, bint hold):
        """The bytes to write, or a list of them where joining would copy much.

        With ``hold`` they may wait in the buffer, up to a size, for others or for ``flush``.
        """
        cdef bytes body = data if type(data) is bytes else as_bytes(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(body)
        if self.write_state != WRITING_BODY:
            self.step_write(WRITE_DATA)
        if self.response.framing == NO_BODY:
            size = 0
        elif self.response.framing == BY_LENGTH:
            self.check_length(size, more)
        self.response.sent += size
        if not more:
            self.step_end()
        if size > LARGEST_JOINED:
            return self.frame_large(body, more)
        if size > LARGEST_HELD:
            hold = False
        if self.response.framing == CHUNKED:
            if size:
                append_chunk_size(&self.out, size)
                append_bytes(&self.out, body)
                append(&self.out, b"\r\n", 2)
            if not more:
                self.append_end()
        elif self.out.size == 0 and not hold:
            return body if size else NO_BYTES
        elif size:
            append_bytes(&self.out, body)
        return NO_BYTES if hold and self.out.size < LARGEST_JOINED else take(&self.out)

    cdef int step_end(self) except -1:
        """The body is whole."""
        return self.step_write(WRITE_BODY_END if self.response.trailers else WRITE_END)

    cdef int append_end(self) except -1:
        """The last chunk and no trailers (RFC 9112 section 7.1); where trailers follow it leaves with them."""
        return 0 if self.response.trailers else append(&self.out, b"0\r\n\r\n", 5)

    cdef object frame_large(self, bytes body, bint more):
        if self.response.framing != CHUNKED:
            return [take(&self.out), body] if self.out.size else body
        append_chunk_size(&self.out, PyBytes_GET_SIZE(body))
        start = take(&self.out)
        append(&self.out, b"\r\n", 2)
        if not more:
            self.append_end()
        return [start, body, take(&self.out)]

    cpdef bytes begin_file(self, long long size, bint more_body=False):
        self.step_write(WRITE_FILE)
        if self.response.framing == BY_LENGTH:
            self.check_length(size, more_body)
        self.file_is_chunk = self.response.framing == CHUNKED and size > 0
        self.file_has_more = more_body
        if self.file_is_chunk:
            append_chunk_size(&self.out, size)
        if self.response.framing != NO_BODY:
            self.response.sent += size
        return take(&self.out) if self.out.size else NO_BYTES

    cpdef bytes end_file(self):
        self.step_write(WRITE_FILE_END)
        if not self.file_has_more:
            self.step_end()
        if self.file_is_chunk:
            append(&self.out, b"\r\n", 2)
        if self.response.framing == CHUNKED and not self.file_has_more:
            self.append_end()
        return take(&self.out) if self.out.size else NO_BYTES

    cpdef bytes send_trailers(self, headers=(), bint more_trailers=False):
        if self.write_state != WRITING_TRAILERS:
            self.step_write(WRITE_TRAILERS)
        if self.response.framing == CHUNKED:
            if self.out.size == 0:
                append(&self.out, b"0\r\n", 3)
            # Checked also where the client would not know what to do with them (RFC 9110 section 6.5.1).
            append_trailers(&self.out, headers, self.takes_trailers())
        if more_trailers:
            return NO_BYTES
        self.step_write(WRITE_TRAILERS)
        if self.response.framing != CHUNKED:
            return NO_BYTES
        append(&self.out, b"\r\n", 2)
        return take(&self.out)

    cdef bint takes_trailers(self) except -1:
        """Whether the request says ``TE: trailers`` (RFC 9110 section 10.1.4)."""
        for name, value in self.request[HEADERS]:
            if name == b"te" and b"trailers" in [word.strip(b" \t").lower() for word in (<bytes> value).split(b",")]:
                return True
        return False

    cpdef bytes send_early_hint(self, links):
        cdef Buffer out
        cdef bytes data
        if self.write_state != WRITING_HEAD or not self.version_1_1:
            self.step_write(WRITE_INFORMATIONAL)
            if not self.version_1_1 or self.out.size == 0:
                return NO_BYTES  # HTTP/1.0 knows no such response, and behind a head it would be part of the body
        memset(&out, 0, sizeof(out))
        try:
            append_bytes(&out, status_line(103))
            for link in links:
                append_link(&out, link)
            append(&out, b"\r\n", 2)
            return take(&out)
        finally:
            free(out.data)

    cdef int check_length(self, long long size, bint more) except -1:
        """Never more bytes than Content-Length says, and not an end before them (RFC 9112 section 6.3)."""
        cdef long long promised = self.response.remaining
        self.response.remaining = promised - size
        if self.response.remaining < 0:
            self.close()
            raise LocalProtocolError(f"{size} body bytes where content-length leaves {promised}")
        if not more and self.response.remaining:
            left = self.response.remaining
            self.close()
            raise LocalProtocolError(f"the response ended {left} bytes before its content-length")
        return 0

    cpdef bytes send_continue(self):
        if not self.awaits_continue or self.write_state != WRITING_HEAD:
            return NO_BYTES
        self.awaits_continue = False
        self.step_write(WRITE_INFORMATIONAL)
        return CONTINUE

    cpdef bytes send_refusal(self, int status, bytes date=b"", bytes fields=b""):
        cdef bytes text = HTTPStatus(status).phrase.encode()
        cdef bytes head = status_line(status) + self.server_line + date + fields
        if self.request is None:
            self.answers_head = self.parser.method == "HEAD"
        self.step_write(WRITE_REFUSAL)
        self.response.status = status
        self.response.close = True
        self.response.sent = 0 if self.answers_head else len(text)
        head += b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
        head += b"content-length: %d\r\n\r\n" % len(text)
        return head if self.answers_head else head + text

    cpdef bytes flush(self):
        return take(&self.out) if self.out.size else NO_BYTES

    cpdef close(self):
        if self.write_state != WRITING_CLOSED:
            self.step_write(WRITE_CLOSE)

    cdef void free_buffer(self) noexcept:
        """Give back the buffer's memory; the next head takes it again."""
        if self.out.size == 0:
            free(self.out.data)
            memset(&self.out, 0, sizeof(self.out))

    def close_after_response(self):
        self.response.close = True

    cdef int step_write(self, int event) except -1:
        cdef int state = writing[self.write_state * WRITE_EVENTS + event]
        if state < 0:
            raise LocalProtocolError(f"{WriteEvent(event).name} must not be sent when writing is {Writing(self.write_state).name}")
        self.write_state = state
        return 0


cdef bytes as_bytes(data):
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise LocalProtocolError(f"body must be bytes, not {type(data).__name__}")
    return bytes(data)
