# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False, binding=False
"""HTTP/1.1 messages from bytes: what requests and responses have in common, and below it, included, what each has alone.

llhttp runs over each read once. Its callbacks are plain C: they only note where things are, as offsets, and make no
Python object, so nothing can fail or call back while llhttp is at work. The objects are made afterwards, in one loop
over the notes, and the rules that llhttp leaves open (RFC 9112 and 9110) are checked there.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from cpython.number cimport PyNumber_Index
from cpython.ref cimport Py_INCREF, PyObject
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.stdint cimport UINT64_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from esg_parser.llhttp cimport (
    F_CHUNKED, F_CONNECTION_CLOSE, F_CONNECTION_KEEP_ALIVE, F_CONNECTION_UPGRADE, F_CONTENT_LENGTH,
    F_TRANSFER_ENCODING, F_UPGRADE, HPE_INVALID_CONSTANT,
    HPE_INVALID_METHOD, HPE_INVALID_URL, HPE_OK, HPE_PAUSED, HPE_PAUSED_H2_UPGRADE, HTTP_CONNECT, HTTP_OPTIONS, HTTP_QUERY,
    HTTP_REQUEST, HTTP_RESPONSE, llhttp_errno_t, llhttp_execute, llhttp_get_error_reason, llhttp_init,
    llhttp_method_name, llhttp_method_t, llhttp_reset, llhttp_set_lenient_version, llhttp_settings_init,
    llhttp_settings_t, llhttp_t, llhttp_type_t,
)

import sys
from ipaddress import IPv6Address

from esg_parser.errors import (
    ContentTooLarge, ExpectationFailed, HeadTooLarge, MalformedMessage, ParserError, TargetTooLong, UnsupportedFeature,
    UnsupportedVersion,
)
from esg_parser.events import END, UPGRADE, RequestHead, ResponseHead, Trailers


cdef object end_of_message = END  # no look-up by name for every message
cdef object upgrade_event = UPGRADE


cdef extern from "Python.h":
    ctypedef struct PyTypeObject:
        pass
    object PyType_GenericAlloc(PyTypeObject *, Py_ssize_t)
    PyObject *PyList_GET_ITEM(object, Py_ssize_t)
    PyObject *PyTuple_GET_ITEM(PyObject *, Py_ssize_t)
    Py_ssize_t Py_SIZE(PyObject *)
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 most)
    void *PyUnicode_DATA(object)
    void PyTuple_SET_ITEM(object, Py_ssize_t, object)


include "notes.pxi"
include "rules.pxi"

# Interned, so that others can tell them by identity.
cdef str HTTP_1_0 = sys.intern("1.0")
cdef str HTTP_1_1 = sys.intern("1.1")


# -- Making objects ---------------------------------------------------------------------------------------------------

cdef inline void put(head, Py_ssize_t field, value) noexcept:
    Py_INCREF(value)
    PyTuple_SET_ITEM(head, field, value)


cdef inline bint has_no_more(Notes *notes) noexcept:
    """Whether a message is a head and perhaps a body, and nothing else."""
    return notes.field_count == notes.head_fields and not notes.upgrade


cdef refusal(Notes *notes):
    """The error for what a callback refused."""
    cdef uint64_t offset = notes.refused_at
    if notes.refusal == REFUSE_TARGET:
        return TargetTooLong(f"the request target is longer than {notes.max_target} bytes", offset)
    if notes.refusal == REFUSE_FIELDS:
        return HeadTooLarge(f"more than {notes.max_fields} header fields", offset)
    if notes.refusal == REFUSE_FIELD:
        return HeadTooLarge(f"a header field of more than {notes.max_field} bytes", offset)
    if notes.refusal == REFUSE_OVERHEAD:
        return HeadTooLarge(f"more than {notes.max_overhead} bytes of chunk lines or trailers", offset)
    if notes.refusal == REFUSE_EXTENSIONS:
        return MalformedMessage(f"more than {notes.max_extensions} bytes of chunk extensions", offset)
    if notes.refusal == REFUSE_BODY:
        return ContentTooLarge(f"a body of more than {notes.max_body} bytes", offset)
    if notes.refusal == REFUSE_TRAILER:
        return MalformedMessage("Transfer-Encoding as a trailer", offset)
    if notes.refusal == REFUSE_VERSION:
        return UnsupportedVersion("a version other than HTTP/1", offset)
    if notes.refusal == REFUSE_SPACES:
        return MalformedMessage("more than one space in the request line", offset)
    if notes.refusal == REFUSE_PROTOCOL:
        return MalformedMessage("a protocol other than HTTP", offset)
    return MemoryError()


cdef limit(str name, value):
    value = PyNumber_Index(value)  # a fraction would be cut off without a word
    if not 0 < value <= 0x7fffffff:
        raise ValueError(f"{name} must be from 1 to 2147483647, not {value!r}")
    return value


cdef uint64_t body_limit(value) except? 0:
    if value is None:
        return UINT64_MAX
    value = PyNumber_Index(value)
    if not 0 <= value <= 0x7fffffffffffffff:
        raise ValueError(f"max_body_size must be from 0 to 9223372036854775807, not {value!r}")
    return value


cdef class MessageParser:
    cdef llhttp_t llhttp
    cdef Notes notes
    # The bytes of a head that did not come in one read.
    cdef char *head
    # Bytes of this message parsed so far, and line ends skipped before it.
    cdef uint64_t parsed
    cdef size_t skipped
    cdef size_t max_head
    cdef bint head_made
    # What was read and is not parsed yet: the rest of a read, from an offset on.
    cdef bytes rest
    cdef Py_ssize_t rest_from
    # No feed may come: one is running, or failed, or nothing can follow.
    cdef bint stopped
    # The connection is another protocol's from here on.
    cdef bint switched

    cdef int set_up(
        self, llhttp_type_t kind, const llhttp_settings_t *callbacks, max_head, max_fields, max_field, max_extensions,
        max_body,
    ) except -1:
        cdef Notes *notes = &self.notes
        self.max_head = limit("max_head_size", max_head)
        notes.max_fields = limit("max_headers", max_fields)
        notes.max_field = self.max_head if max_field is None else limit("max_header_size", max_field)
        notes.max_extensions = limit("max_extensions_size", max_extensions)
        notes.max_overhead = self.max_head
        notes.max_body = body_limit(max_body)
        notes.fields = notes.first_fields
        notes.field_room = FIELDS_AT_FIRST
        notes.pieces = notes.first_pieces
        notes.piece_room = PIECES_AT_FIRST
        init_notes(notes)
        llhttp_init(&self.llhttp, kind, callbacks)
        llhttp_set_lenient_version(&self.llhttp, 1)  # on_version_complete judges it
        self.llhttp.data = notes
        return 0

    def __dealloc__(self):
        self.drop_head()
        free_notes(&self.notes)

    @property
    def trailing_data(self):
        return NO_BYTES if self.rest is None else self.rest[self.rest_from:]

    def pending(self):
        return self.rest is not None

    cdef list feed_read(self, data):
        cdef bytes read
        cdef Py_ssize_t start = 0
        cdef list events
        read = <bytes> data if type(data) is bytes else bytes(memoryview(data))
        # Only now: what gives its bytes by __buffer__ (PEP 688) may have called feed itself.
        if self.stopped:
            raise RuntimeError("feed was called " + self.why_stopped())
        if self.rest is not None:
            if PyBytes_GET_SIZE(read) == 0:
                read, start = self.rest, self.rest_from
            else:
                read = self.rest[self.rest_from:] + read
            self.rest = None
        # Whatever ends parse early leaves this set: a message is never taken up again in the middle.
        self.stopped = True
        events = self.parse(read, start)
        self.stopped = self.switched
        return events

    cdef str why_stopped(self):
        if self.switched:
            return "after the connection was given to another protocol"
        if self.notes.until_close and self.notes.message_done:
            return "after the end of the input"
        return "after an error, or while it was running"

    cdef list end_input(self):
        cdef list events
        if self.stopped or self.notes.message_done or not (self.parsed or self.skipped & 1):
            return []
        if self.notes.head_done and self.notes.until_close:
            events = [end_of_message]  # before it is noted: a call that had no memory for it can be made again
            self.notes.message_done = self.stopped = True
            return events
        self.stopped = True
        raise MalformedMessage("the input ended inside a message", self.parsed)

    # -- Reading

    cdef list parse(self, bytes read, Py_ssize_t start):
        cdef Notes *notes = &self.notes
        cdef const char *at = PyBytes_AS_STRING(read) + start
        cdef const char *end = PyBytes_AS_STRING(read) + PyBytes_GET_SIZE(read)
        cdef object head = None
        cdef list events
        if notes.message_done:
            self.begin()
        if self.parsed == 0:
            at = self.check_start(at, end)
        if at == end:
            return []
        if not notes.head_done:
            at += self.parse_head(at, end - at)
            if not notes.head_done:
                return []
            head = self.make_head(notes.origin)
        if at < end and not notes.message_done:
            at += self.run(at, end - at)
        if notes.message_done and at < end:
            self.rest = read
            self.rest_from = at - PyBytes_AS_STRING(read)
        if head is not None and notes.message_done and has_no_more(notes):
            # What most reads are.
            events = [head, self.make_body(read), end_of_message] if notes.piece_count else [head, end_of_message]
        elif head is None and notes.piece_count and not notes.message_done:
            events = [self.make_body(read)]  # what most of the others are
        else:
            events = [] if head is None else [head]
            self.add_body_events(events, read)
        self.drop_head()
        if notes.message_done:
            free_notes(notes)
        return events

    cdef int add_body_events(self, list events, bytes read) except -1:
        cdef Notes *notes = &self.notes
        if notes.piece_count:
            events.append(self.make_body(read))
        if notes.message_done:
            if notes.field_count > notes.head_fields:
                events.append(Trailers(self.make_fields(notes.trailers, notes.head_fields, notes.field_count, NULL)))
            if notes.upgrade:
                events.append(upgrade_event)
            events.append(end_of_message)
        return 0

    cdef size_t parse_head(self, const char *at, size_t size) except? 0:
        """Parse up to the limit of the head; what follows the head in these bytes is parsed too."""
        cdef Notes *notes = &self.notes
        cdef size_t take = min(size, self.max_head - self.parsed)
        cdef const char *text = at
        cdef size_t used
        if self.parsed:
            text = self.keep_head(at, take, self.parsed)
        used = self.run(text, take)
        if notes.head_done:
            return used
        if take < size:
            raise HeadTooLarge(f"the head is larger than {self.max_head} bytes", self.parsed)
        if text == at:
            self.keep_head(at, take, 0)
        return used

    cdef const char *keep_head(self, const char *at, size_t size, size_t behind) except NULL:
        """Put these bytes behind the part of the head that came before; return where they now are."""
        cdef char *head = <char *> PyMem_RawRealloc(self.head, behind + size)
        if head == NULL:
            raise MemoryError
        self.head = head
        memcpy(head + behind, at, size)
        return head + behind

    cdef size_t run(self, const char *at, size_t size) except? 0:
        """Let llhttp parse; return how many bytes it took up to the end of the message or of the bytes."""
        cdef llhttp_errno_t errno
        cdef size_t used = size
        self.notes.origin = at - self.parsed
        errno = llhttp_execute(&self.llhttp, at, size)
        if errno != HPE_OK:
            used = self.llhttp.error_pos - at
            if errno != HPE_PAUSED or not self.notes.message_done:
                self.fail(errno, at, used, size)
        self.parsed += used
        if self.notes.flags & F_CHUNKED and is_overhead(&self.notes, self.parsed):
            refuse_overhead(&self.notes)
            raise refusal(&self.notes)
        return used

    cdef void begin(self) noexcept:
        """Make ready for the next message."""
        init_notes(&self.notes)
        llhttp_reset(&self.llhttp)
        self.head_made = False
        self.parsed = 0
        self.skipped = 0

    cdef void drop_head(self) noexcept:
        if self.head != NULL:
            PyMem_RawFree(self.head)
            self.head = NULL

    # -- What each kind of message has alone

    cdef const char *check_start(self, const char *at, const char *end) except NULL:
        """See to what comes before the first line; return where that begins."""
        raise AssertionError

    cdef object make_head(self, const char *base):
        """The head as a tuple, with the rules checked that llhttp leaves open."""
        raise AssertionError

    cdef int explain(self, llhttp_errno_t errno, str reason, uint64_t offset, const char *at) except -1:
        """Raise a better reason than llhttp's for what stopped it at ``at``, NULL at the end of the bytes, if there is one."""
        raise AssertionError

    # -- Making objects

    cdef list make_fields(self, const char *base, uint32_t first, uint32_t end_field, Special *special):
        """The fields as tuples; with ``special`` note those that have rules."""
        cdef list headers = PyList_New(end_field - first)
        cdef Field *field
        cdef KnownName *known
        cdef tuple pair
        cdef const char *at
        cdef const char *end
        cdef uint32_t i
        for i in range(end_field - first):
            field = &self.notes.fields[first + i]
            # Whitespace round a value is not part of it (RFC 9110 section 5.5).
            at, end = base + field.value, base + field.value_end
            while at < end and (at[0] == c" " or at[0] == c"\t"):
                at += 1
            while end > at and ((end - 1)[0] == c" " or (end - 1)[0] == c"\t"):
                end -= 1
            known = known_name(<const uint8_t *> base + field.name, field.name_end - field.name)
            if known == NULL:
                name = lower_case(<const uint8_t *> base + field.name, field.name_end - field.name)
                pair = (name, PyBytes_FromStringAndSize(at, end - at))
            elif known.repeats and end - at <= LONGEST_KEPT_VALUE:
                pair = repeated_field(known, at, end - at)
            else:
                pair = (<bytes> known.name, PyBytes_FromStringAndSize(at, end - at))
            if known != NULL and known.id != NAME_OTHER and special != NULL:
                note_special(special, known.id, i)
            Py_INCREF(pair)
            PyList_SET_ITEM(headers, i, pair)
        return headers

    cdef bytes make_body(self, bytes read):
        """The body bytes of one read, as one object; the read itself where it is nothing else."""
        cdef Notes *notes = &self.notes
        cdef Piece *piece = notes.pieces
        cdef bytes body
        cdef char *to
        cdef uint32_t i
        if piece.at == PyBytes_AS_STRING(read) and piece.size == <size_t> PyBytes_GET_SIZE(read):
            body = read
        else:
            body = PyBytes_FromStringAndSize(NULL, notes.body_size)
            to = PyBytes_AS_STRING(body)
            for i in range(notes.piece_count):
                memcpy(to, notes.pieces[i].at, notes.pieces[i].size)
                to += notes.pieces[i].size
        notes.piece_count = 0
        notes.body_size = 0
        return body

    # -- Rules that llhttp leaves open

    cdef int check_framing(self, list headers, Special *special, bint is_1_1) except -1:
        cdef Notes *notes = &self.notes
        # What follows a switch is no body: both fields are to be ignored (RFC 9110 section 9.3.6).
        if notes.flags & F_TRANSFER_ENCODING and not notes.upgrade:
            self.check_transfer_encoding(headers, special, is_1_1)
        if notes.flags & F_CONTENT_LENGTH and notes.content_length > notes.max_body and not notes.bodiless:
            raise ContentTooLarge(f"a body of more than {notes.max_body} bytes", head_end(notes))
        if special.proxy_connection:
            self.unsay_proxy_connection(headers, is_1_1)
        return 0

    cdef object upgrade_of(self, list headers, bint is_1_1):
        """The protocols of an Upgrade that counts: HTTP/1.0 knows none (RFC 9110 section 7.8)."""
        if is_1_1 and self.notes.flags & F_UPGRADE and self.notes.flags & F_CONNECTION_UPGRADE:
            return combined(headers, b"upgrade").lower()
        return None

    cdef int check_transfer_encoding(self, list headers, Special *special, bint is_1_1) except -1:
        """RFC 9112 sections 6.1 and 6.3: ``chunked``, once and last, and nothing else is known here."""
        cdef list codings
        cdef uint32_t offset = self.notes.fields[special.transfer_encoding].value
        if not is_1_1:
            raise MalformedMessage("Transfer-Encoding in HTTP/1.0", offset)
        if special.transfer_encoding_count == 1 and (<tuple> headers[special.transfer_encoding])[1] == b"chunked":
            self.check_chunked_alone(offset)
            return 0
        codings = [c.strip(b" \t").lower() for c in combined(headers, b"transfer-encoding").split(b",")]
        if codings[len(codings) - 1] != b"chunked" or codings.count(b"chunked") > 1:
            raise MalformedMessage("Transfer-Encoding does not end in one chunked", offset)
        if len(codings) > 1:
            raise UnsupportedFeature("a transfer coding other than chunked", offset)
        self.check_chunked_alone(offset)
        return 0

    cdef int check_chunked_alone(self, uint32_t offset) except -1:
        if self.notes.flags & F_CONTENT_LENGTH:
            raise MalformedMessage("both Transfer-Encoding and Content-Length", offset)
        if not self.notes.flags & F_CHUNKED:  # llhttp would read a response to the end of the input: a tab behind the word
            raise MalformedMessage("Transfer-Encoding does not end in one chunked", offset)
        return 0

    cdef int unsay_proxy_connection(self, list headers, bint is_1_1) except -1:
        """Look at Connection alone: llhttp takes Proxy-Connection for it, which no RFC knows (RFC 9112 appendix C.2.2)."""
        cdef list options = [o.strip(b" \t").lower() for o in combined(headers, b"connection").split(b",")]
        self.notes.keep_alive = b"close" not in options and (is_1_1 or b"keep-alive" in options) and not self.notes.until_close
        if b"upgrade" not in options:
            self.notes.flags &= ~F_CONNECTION_UPGRADE
        return 0

    cdef int fail(self, llhttp_errno_t errno, const char *at, size_t used, size_t size) except -1:
        """Raise what stopped llhttp. A head that it completed first may have a better reason to be refused."""
        cdef uint64_t offset = self.parsed + used
        cdef str reason
        if self.notes.head_done and not self.head_made:
            self.make_head(self.notes.origin)
        if self.notes.flags & F_CHUNKED and is_overhead(&self.notes, offset) and not is_refused_earlier(&self.notes):
            refuse_overhead(&self.notes)
        if self.notes.refusal:
            raise refusal(&self.notes)
        reason = llhttp_get_error_reason(&self.llhttp).decode("ascii", "replace")
        self.explain(errno, reason, offset, at + used if used < size else NULL)
        raise MalformedMessage(reason, offset)


include "request.pxi"
include "response.pxi"
