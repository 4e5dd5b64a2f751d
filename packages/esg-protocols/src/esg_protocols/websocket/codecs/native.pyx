# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False, binding=False
"""The server's side of a WebSocket, compiled.

The tables of :mod:`esg_protocols.websocket.states` say what may happen; this module does it.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_XDECREF, PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from esg_protocols.websocket.deflate cimport Deflate
from esg_protocols.websocket.frames cimport (
    BINARY, CLOSE, CONTINUATION, CONTROL, FIN, MASK, PING, PONG, RSV1, TEXT, find_bad_utf8, is_close_code, make_frame, new_frame,
    take_header, unmask,
)

from esg_protocols.errors import LocalProtocolError, RemoteProtocolError
from esg_protocols.settings import Settings
from esg_protocols.websocket.codec import Close, Ping, Pong
from esg_protocols.websocket.states import READING, WRITING, Reading, WriteEvent, Writing

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 largest)
    void *PyUnicode_DATA(object text)
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL


# -- The tables, as arrays -------------------------------------------------------------------------------------------

cdef enum:
    READ_WHOLE = 0
    READ_FIRST = 1
    READ_MIDDLE = 2
    READ_LAST = 3
    READ_CONTROL = 4
    READ_CLOSE = 5
    READ_EOF = 6
    READ_ERROR = 7
    READ_EVENTS = 8

cdef enum:
    WRITE_MESSAGE = 0
    WRITE_CONTROL = 1
    WRITE_CLOSE = 2
    WRITE_EVENTS = 3

cdef enum:
    READ_STATES = 4
    WRITE_STATES = 2
    # A header whose length stands in its second byte, and the longest payload for that
    SHORT_HEADER = 6
    LARGEST_SHORT = 125
    # Of one read no more than this is decompressed at once, or one message if that may be larger.
    MOST_INFLATED = 1 << 20
    # Pings that are answered each; from there on the latest stands for those before it (RFC 6455 section 5.5.3).
    MOST_PONGS = 16

cdef int reading[READ_STATES * READ_EVENTS]
cdef int writing[WRITE_STATES * WRITE_EVENTS]


cdef int read_tables() except -1:
    cdef int state, event
    for state in range(READ_STATES):
        for event in range(READ_EVENTS):
            reading[state * READ_EVENTS + event] = READING.get((state, event), -1)
    for state in range(WRITE_STATES):
        for event in range(WRITE_EVENTS):
            writing[state * WRITE_EVENTS + event] = WRITING.get((state, event), -1)
    return 0


read_tables()

cdef object LARGEST_MESSAGE = 1 << 61  # so that no sum of sizes leaves 63 bits
cdef str NOT_UTF8 = "a text that is not UTF-8"
cdef bytes NO_BYTES = b""
cdef bytes TAIL = b"\x00\x00\xff\xff"  # what a compressed message ends with, and is not sent (RFC 7692 section 7.2.1)


cdef class NativeCodec:
    def __cinit__(self, settings=None, *, deflate=None):
        if settings is None:
            settings = Settings()
        self.max_size = min(settings.ws_max_size, LARGEST_MESSAGE)
        # zlib adds 5 bytes to each stored block; a sender with many flushes adds more, and has some room.
        self.max_payload = self.max_size + (self.max_size >> 8) + 1024
        self.most_inflated = max(self.max_size, <Py_ssize_t> MOST_INFLATED)
        # An empty message is never compressed: zlib flushes nothing where nothing was added.
        self.min_deflate = max(1, <Py_ssize_t> settings.ws_deflate_min_size)
        if deflate is not None:
            self.deflate = Deflate(deflate, settings)

    def __dealloc__(self):
        Py_XDECREF(self.message)

    @property
    def reading(self):
        return Reading(self.read_state)

    @property
    def writing(self):
        return Writing(self.write_state)

    @property
    def pending(self):
        return self.failure is not None or self.kept is not None

    @property
    def must_close(self):
        # After a failure a server closes without waiting (RFC 6455 section 7.1.7).
        return self.read_state == READING_FAILED or (
            self.read_state == READING_CLOSED and self.write_state == WRITING_CLOSED
        )

    # -- Reading

    cpdef list receive_data(self, data):
        cdef Py_buffer view
        cdef Py_ssize_t used
        cdef list events = []
        if self.failure is not None:
            failure, self.failure = self.failure, None
            self.fail(failure)
            raise failure
        if self.kept is not None:
            data = self.kept + bytes(data) if data else self.kept
            self.kept = None
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.inflated = 0
            used = self.read_frames(<const uint8_t *> view.buf, view.len, events)
            if used < view.len and self.read_state < READING_CLOSED:
                self.kept = PyBytes_FromStringAndSize(<char *> view.buf + used, view.len - used)
        except RemoteProtocolError as error:
            if not events:
                self.fail(error)
                raise
            # Their answers may still go out before it. A new one: the traceback of this one leads to the codec, and
            # nobody may ever ask for it.
            self.failure = RemoteProtocolError(str(error), error.status)
        finally:
            PyBuffer_Release(&view)
        return events

    cdef object receive_one(self, data):
        """The message, where the data is one that is whole in a short frame, as it mostly is; None is for receive_data.

        What else a frame may be is not looked at here: bench/micro/served.py.
        """
        cdef const uint8_t *at
        cdef Py_ssize_t size
        if type(data) is not bytes or self.read_state != READING_MESSAGE or self.frame.have:
            return None
        at = <const uint8_t *> PyBytes_AS_STRING(data)
        size = PyBytes_GET_SIZE(data) - SHORT_HEADER
        if not 0 <= size <= min(<Py_ssize_t> LARGEST_SHORT, self.max_size) or at[1] != (MASK | size):
            return None
        if at[0] != (FIN | TEXT) and at[0] != (FIN | BINARY) or self.failure is not None or self.kept is not None:
            return None
        memcpy(self.frame.header, at, SHORT_HEADER)
        self.frame.have = SHORT_HEADER
        self.is_text = at[0] == (FIN | TEXT)
        self.is_compressed = False
        try:
            return self.take_whole(at + SHORT_HEADER, size)
        except RemoteProtocolError as error:
            self.fail(error)
            raise

    cpdef list receive_eof(self):
        if self.read_state >= READING_CLOSED:
            return []
        self.kept = self.failure = None
        self.step_read(READ_EOF)
        if self.write_state == WRITING_OPEN:
            self.step_write(WRITE_CLOSE)
        return [Close(1006, "")]

    cdef Py_ssize_t read_frames(self, const uint8_t *data, Py_ssize_t size, list events) except -1:
        """Read until the end of the data, a close frame, or as much has been decompressed as may be at once."""
        cdef Py_ssize_t at = 0
        while at < size and self.read_state < READING_CLOSED and self.inflated < self.most_inflated:
            if not self.frame.begun:
                at += take_header(&self.frame, data + at, size - at)
                if not self.frame.begun:
                    break
                self.begin_frame()
            at += self.read_payload(data + at, size - at, events)
        return at

    cdef int begin_frame(self) except -1:
        """Whether such a frame may come here, as its header tells (RFC 6455 section 5.4)."""
        cdef int first = self.frame.header[0]
        if first & CONTROL:
            return 0
        if reading[self.read_state * READ_EVENTS + event_of(first)] < 0:
            raise RemoteProtocolError(
                "a message inside another one" if first & 0x0F else "a continuation without a message to continue", 1002
            )
        if first & RSV1 and (self.deflate is None or first & 0x0F == CONTINUATION):
            raise RemoteProtocolError("a frame with a reserved bit set", 1002)  # RFC 7692 section 6.1
        if first & 0x0F != CONTINUATION:
            self.is_text = first & 0x0F == TEXT
            self.is_compressed = first & RSV1 != 0
        if self.frame.size > <uint64_t> (self.max_payload if self.is_compressed else self.max_size) - self.message_size:
            raise RemoteProtocolError(f"a message of more than {self.max_size} bytes", 1009)
        return 0

    cdef Py_ssize_t read_payload(self, const uint8_t *data, Py_ssize_t size, list events) except -1:
        """Take what is here of a frame's payload; how many bytes that were."""
        cdef int first = self.frame.header[0]
        cdef Py_ssize_t left = self.frame.size - self.frame.taken
        if size >= left:
            size = left
            if self.frame.taken == 0 and first & (FIN | RSV1) == FIN and (first & 0x0F == TEXT or first & 0x0F == BINARY):
                events.append(self.take_whole(data, size))
                return size
        if size:
            if first & CONTROL:
                unmask(self.control + self.frame.taken, data, size, key_of(&self.frame), self.frame.taken)
            else:
                self.append(data, size)
            self.frame.taken += size
        if size == left:
            self.end_frame(events)
        return size

    cdef int end_frame(self, list events) except -1:
        cdef int first = self.frame.header[0]
        self.frame.have = 0
        self.frame.begun = False
        if first & CONTROL:
            events.append(self.end_control())
            return 0
        self.step_read(event_of(first))
        if first & FIN:
            events.append(self.take_message())
        return 0

    # -- Messages

    cdef object take_whole(self, const uint8_t *data, Py_ssize_t size):
        """A message that is here in one piece: unmasked right into the object that it becomes."""
        cdef const uint8_t *key = key_of(&self.frame)
        cdef object message
        cdef void *to
        self.step_read(READ_WHOLE)
        self.frame.have = 0
        self.frame.begun = False
        if not self.is_text:
            message = PyBytes_FromStringAndSize(NULL, size)
            unmask(<uint8_t *> PyBytes_AS_STRING(message), data, size, key, 0)
            return message
        if size == 0:
            return ""
        message = PyUnicode_New(size, 127)
        to = PyUnicode_DATA(message)
        if unmask(<uint8_t *> to, data, size, key, 0) & 0x80:
            return decode(<const char *> to, size)
        return message

    cdef int append(self, const uint8_t *data, Py_ssize_t size) except -1:
        """Add bytes to the message on its way; those of a text are checked as they come."""
        cdef uint8_t *to
        self.make_room(size)
        to = <uint8_t *> PyBytes_AS_STRING(<object> self.message) + self.message_size
        unmask(to, data, size, key_of(&self.frame), self.frame.taken)
        self.message_size += size
        if self.is_text and not self.is_compressed:
            self.check_text(to, size)
        return 0

    cdef int make_room(self, Py_ssize_t more) except -1:
        """Doubled, so that a message of many pieces is copied no more than twice; exact where its size is known."""
        cdef Py_ssize_t need = self.message_size + more + (4 if self.is_compressed else 0)
        cdef Py_ssize_t room = PyBytes_GET_SIZE(<object> self.message) if self.message != NULL else 0
        if need <= room:
            return 0
        room = max(2 * room, need)
        if self.frame.header[0] & FIN and not self.is_compressed:
            room = min(room, self.message_size + <Py_ssize_t> (self.frame.size - self.frame.taken))
        if self.message == NULL:
            self.message = new_bytes(NULL, room)
        else:
            _PyBytes_Resize(&self.message, room)
        return 0

    cdef int check_text(self, const uint8_t *data, Py_ssize_t size) except -1:
        if find_bad_utf8(&self.utf8, data, size) >= 0:
            raise RemoteProtocolError(NOT_UTF8, 1007)
        return 0

    cdef object take_message(self):
        """The message whose last frame is here."""
        cdef bytes data = self.take_buffer()
        if self.is_compressed:
            data = self.deflate.inflate(data, self.max_size)
            self.inflated += PyBytes_GET_SIZE(data)
        elif self.utf8.left:
            raise RemoteProtocolError(NOT_UTF8, 1007)
        if self.is_text:
            return decode(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return data

    cdef bytes take_buffer(self):
        """The payload of the message, with what belongs behind it if it is compressed; the buffer is empty then."""
        cdef bytes data
        if self.is_compressed:
            self.make_room(0)
            memcpy(PyBytes_AS_STRING(<object> self.message) + self.message_size, PyBytes_AS_STRING(TAIL), 4)
            self.message_size += 4
        if self.message == NULL:
            return NO_BYTES
        if PyBytes_GET_SIZE(<object> self.message) != self.message_size:
            _PyBytes_Resize(&self.message, self.message_size)
        data = <bytes> self.message
        Py_XDECREF(self.message)
        self.message = NULL
        self.message_size = 0
        return data

    # -- Control frames

    cdef object end_control(self):
        cdef int opcode = self.frame.header[0] & 0x0F
        cdef bytes payload
        if opcode == CLOSE:
            return self.take_close(self.control, self.frame.size)
        self.step_read(READ_CONTROL)
        payload = PyBytes_FromStringAndSize(<char *> self.control, self.frame.size)
        if opcode == PONG:
            return Pong(payload)
        if self.write_state == WRITING_OPEN:
            if self.pongs is None:
                self.pongs = []
            if len(self.pongs) == MOST_PONGS:
                self.pongs.pop()
            self.pongs.append(payload)
        return Ping(payload)

    cdef object take_close(self, const uint8_t *payload, Py_ssize_t size):
        """RFC 6455 section 5.5.1; it is answered with its own code."""
        cdef int code = 1005
        cdef str reason = ""
        if size == 1:
            raise RemoteProtocolError("a close frame with half a code", 1002)
        if size:
            code = (payload[0] << 8) | payload[1]
            if not is_close_code(code):
                raise RemoteProtocolError(f"a close frame with the code {code}, which must not be sent", 1002)
            reason = decode(<const char *> payload + 2, size - 2)
        self.step_read(READ_CLOSE)
        if self.write_state == WRITING_OPEN:
            self.step_write(WRITE_CLOSE)
            self.close_frame = make_frame(FIN | CLOSE, payload, min(size, 2))
        return Close(code, reason)

    cdef int fail(self, error) except -1:
        """Fail the connection (RFC 6455 section 7.1.7)."""
        self.step_read(READ_ERROR)
        Py_XDECREF(self.message)
        self.message = NULL
        if self.write_state == WRITING_OPEN:
            self.step_write(WRITE_CLOSE)
            self.close_frame = close_frame(error.status, str(error).encode()[:123])
        return 0

    cdef void step_read(self, int event) noexcept:
        """What must not come was refused before: in begin_frame, or because nothing is read in the last states."""
        self.read_state = reading[self.read_state * READ_EVENTS + event]

    # -- Writing

    cpdef bytes data_to_send(self):
        cdef bytes data = NO_BYTES
        cdef bytes payload
        if self.pongs is not None:
            for payload in self.pongs:
                data += make_frame(FIN | PONG, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
            self.pongs = None
        if self.close_frame is not None:
            data += self.close_frame
            self.close_frame = None
        return data

    cpdef bytes send_text(self, text):
        cdef Py_ssize_t size = 0
        cdef const char *data
        if not isinstance(text, str):
            raise LocalProtocolError(f"a text message must be str, not {type(text).__name__}")
        try:
            data = PyUnicode_AsUTF8AndSize(text, &size)
        except UnicodeEncodeError as error:
            raise LocalProtocolError(f"a text message that has no UTF-8: {error}") from None
        return self.send_message(TEXT, text, data, size)

    cpdef bytes send_bytes(self, data):
        if type(data) is bytes:
            return self.send_message(BINARY, data, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise LocalProtocolError(f"a binary message must be bytes, not {type(data).__name__}")
        data = bytes(data)
        return self.send_message(BINARY, data, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cdef bytes send_message(self, int opcode, data, const char *at, Py_ssize_t size):
        cdef bytes first, second, frame
        cdef uint8_t *to = NULL
        self.step_write(WRITE_MESSAGE)
        if self.deflate is None or size < self.min_deflate:
            return make_frame(FIN | opcode, at, size)
        first, second = self.deflate.deflate(data if opcode == BINARY else PyBytes_FromStringAndSize(at, size))
        size = PyBytes_GET_SIZE(first)
        frame = new_frame(FIN | RSV1 | opcode, size + PyBytes_GET_SIZE(second) - 4, &to)
        memcpy(to, PyBytes_AS_STRING(first), size)
        memcpy(to + size, PyBytes_AS_STRING(second), PyBytes_GET_SIZE(second) - 4)
        return frame

    def send_ping(self, payload=b""):
        return self.send_control(PING, payload)

    def send_pong(self, payload=b""):
        return self.send_control(PONG, payload)

    cdef bytes send_control(self, int opcode, payload):
        if type(payload) is not bytes or PyBytes_GET_SIZE(payload) > LARGEST_CONTROL:
            raise LocalProtocolError(f"the payload of a ping or pong must be up to 125 bytes, not {payload!r}")
        self.step_write(WRITE_CONTROL)
        return make_frame(FIN | opcode, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))

    cpdef bytes send_close(self, code=1000, reason=""):
        cdef bytes text
        if not isinstance(code, int) or not 0 <= code < 5000 or code != 1005 and not is_close_code(code):
            raise LocalProtocolError(f"the close code {code!r} must not be sent")
        if not isinstance(reason, str):
            raise LocalProtocolError(f"the reason of a close frame must be str, not {type(reason).__name__}")
        try:
            text = (<str> reason).encode()
        except UnicodeEncodeError as error:
            raise LocalProtocolError(f"the reason of a close frame has no UTF-8: {error}") from None
        if PyBytes_GET_SIZE(text) > LARGEST_CONTROL - 2 or code == 1005 and text:
            raise LocalProtocolError("the reason of a close frame must be up to 123 bytes, and none without a code")
        self.step_write(WRITE_CLOSE)
        return close_frame(code, text)

    cdef int step_write(self, int event) except -1:
        cdef int state = writing[self.write_state * WRITE_EVENTS + event]
        if state < 0:
            raise LocalProtocolError(f"{WriteEvent(event).name} must not be sent when writing is {Writing(self.write_state).name}")
        self.write_state = state
        return 0


cdef inline int event_of(int first) noexcept:
    """Which event the frame of a message is, by its first byte."""
    if first & 0x0F == CONTINUATION:
        return READ_LAST if first & FIN else READ_MIDDLE
    return READ_WHOLE if first & FIN else READ_FIRST


cdef inline const uint8_t *key_of(Frame *frame) noexcept:
    """The masking key: the last 4 bytes of the header."""
    return frame.header + frame.have - 4


cdef object decode(const char *data, Py_ssize_t size):
    try:
        return PyUnicode_DecodeUTF8(data, size, NULL)
    except UnicodeDecodeError:
        raise RemoteProtocolError(NOT_UTF8, 1007) from None


cdef bytes close_frame(int code, bytes reason):
    cdef bytes payload = NO_BYTES if code == 1005 else bytes((code >> 8, code & 0xFF)) + reason
    return make_frame(FIN | CLOSE, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
