# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False, binding=False
"""HTTP/1.1 requests from bytes.

llhttp runs over each read once. Its callbacks are plain C: they only note where things are, as offsets, and make no
Python object, so nothing can fail or call back while llhttp is at work. The objects are made afterwards, in one loop
over the notes, and the rules that llhttp leaves open (RFC 9112 and 9110) are checked there.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from esg_parser.llhttp cimport (
    F_CHUNKED, F_CONNECTION_CLOSE, F_CONNECTION_UPGRADE, F_CONTENT_LENGTH, F_TRANSFER_ENCODING, F_UPGRADE, HPE_INVALID_CONSTANT,
    HPE_INVALID_METHOD, HPE_INVALID_URL, HPE_OK, HPE_PAUSED, HPE_PAUSED_H2_UPGRADE, HTTP_CONNECT, HTTP_OPTIONS, HTTP_QUERY,
    HTTP_REQUEST, llhttp_errno_t, llhttp_execute, llhttp_get_error_reason, llhttp_init, llhttp_method_name,
    llhttp_method_t, llhttp_reset, llhttp_set_lenient_version, llhttp_settings_init, llhttp_settings_t,
    llhttp_should_keep_alive, llhttp_t,
)

from ipaddress import IPv6Address

from esg_parser.errors import (
    ExpectationFailed, HeadTooLarge, MalformedMessage, ParserError, TargetTooLong, UnsupportedFeature,
    UnsupportedVersion,
)
from esg_parser.events import END, RequestHead, Trailers


cdef object valid_host = None  # the field that was checked last; it is mostly the same one
cdef object end_of_message = END  # no look-up by name for every message


cdef extern from "Python.h":
    ctypedef struct PyTypeObject:
        pass
    object PyType_GenericAlloc(PyTypeObject *, Py_ssize_t)
    void PyTuple_SET_ITEM(object, Py_ssize_t, object)


include "notes.pxi"
include "rules.pxi"

cdef list method_names = [llhttp_method_name(<llhttp_method_t> method).decode() for method in range(HTTP_QUERY + 1)]
fill_method_sizes(method_names)
cdef str HTTP_1_0 = "1.0"
cdef str HTTP_1_1 = "1.1"


# -- Heads -----------------------------------------------------------------------------------------------------------

# The items of a RequestHead, in its order. A head is a tuple, and is made and read as one: a gateway reads ten of them
# for every request, and an attribute costs ten times an item (bench/micro/head.py).
cdef enum:
    METHOD
    PATH
    RAW_PATH
    QUERY_STRING
    HTTP_VERSION
    HEADERS
    TARGET
    AUTHORITY
    UPGRADE
    CONTENT_LENGTH
    CHUNKED
    KEEP_ALIVE
    EXPECT_CONTINUE
    HEAD_FIELDS

cdef PyTypeObject *request_head = <PyTypeObject *> RequestHead
if RequestHead._fields.index("expect_continue") != EXPECT_CONTINUE or len(RequestHead._fields) != HEAD_FIELDS:
    raise ImportError("RequestHead and the parser do not fit together")


cdef inline void put(head, Py_ssize_t field, value) noexcept:
    Py_INCREF(value)
    PyTuple_SET_ITEM(head, field, value)


cdef int put_resource(head, bytes raw_path, bytes query) except -1:
    put(head, RAW_PATH, raw_path)
    put(head, PATH, decode_path(PyBytes_AS_STRING(raw_path), PyBytes_GET_SIZE(raw_path)))
    put(head, QUERY_STRING, query)
    return 0


cdef inline bint is_bodiless(Notes *notes) noexcept:
    return notes.piece_count == 0 and notes.field_count == notes.head_fields


cdef bint is_unknown_method(char at, uint64_t offset) noexcept:
    # llhttp stops at the first byte that no method has there: another letter or the end of a shorter word.
    return is_token[<uint8_t> at] or at == c" " and offset > 0


cdef refusal(Notes *notes):
    """The error for what a callback refused."""
    cdef uint64_t offset = notes.refused_at
    if notes.refusal == REFUSE_TARGET:
        return TargetTooLong(f"the request target is longer than {notes.max_target} bytes", offset)
    if notes.refusal == REFUSE_FIELDS:
        return HeadTooLarge(f"more than {notes.max_fields} header fields", offset)
    if notes.refusal == REFUSE_OVERHEAD:
        return HeadTooLarge(f"more than {notes.max_overhead} bytes of chunk lines or trailers", offset)
    if notes.refusal == REFUSE_EXTENSIONS:
        return MalformedMessage(f"more than {notes.max_extensions} bytes of chunk extensions", offset)
    if notes.refusal == REFUSE_VERSION:
        return UnsupportedVersion("a version other than HTTP/1", offset)
    if notes.refusal == REFUSE_SPACES:
        return MalformedMessage("more than one space in the request line", offset)
    if notes.refusal == REFUSE_PROTOCOL:
        return MalformedMessage("a protocol other than HTTP", offset)
    return MemoryError()


cdef limit(str name, value):
    if not 0 < value <= 0x7fffffff:
        raise ValueError(f"{name} must be from 1 to 2147483647, not {value!r}")
    return value


cdef class RequestParser:
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
    cdef bint stopped

    def __cinit__(
        self, *, max_head_size=65536, max_headers=100, max_target_size=16384, max_extensions_size=4096
    ):
        cdef Notes *notes = &self.notes
        self.max_head = limit("max_head_size", max_head_size)
        notes.max_fields = limit("max_headers", max_headers)
        notes.max_target = limit("max_target_size", max_target_size)
        notes.max_extensions = limit("max_extensions_size", max_extensions_size)
        notes.max_overhead = self.max_head
        notes.fields = notes.first_fields
        notes.field_room = FIELDS_AT_FIRST
        notes.pieces = notes.first_pieces
        notes.piece_room = PIECES_AT_FIRST
        init_notes(notes)
        llhttp_init(&self.llhttp, HTTP_REQUEST, &callbacks)
        llhttp_set_lenient_version(&self.llhttp, 1)  # on_version_complete judges it
        self.llhttp.data = notes

    def __dealloc__(self):
        self.drop_head()
        free_notes(&self.notes)

    @property
    def trailing_data(self):
        return NO_BYTES if self.rest is None else self.rest[self.rest_from:]

    @property
    def has_trailing_data(self):
        return self.rest is not None

    def feed(self, data, /):
        cdef bytes read
        cdef Py_ssize_t start = 0
        cdef list events
        if self.stopped:
            raise RuntimeError("feed was called after an error, or while it was running")
        read = <bytes> data if type(data) is bytes else bytes(memoryview(data))
        if self.rest is not None:
            if PyBytes_GET_SIZE(read) == 0:
                read, start = self.rest, self.rest_from
            else:
                read = self.rest[self.rest_from:] + read
            self.rest = None
        # Whatever ends parse early leaves this set: a message is never taken up again in the middle.
        self.stopped = True
        events = self.parse(read, start)
        self.stopped = False
        return events

    def close(self):
        if self.stopped or self.notes.message_done or not (self.parsed or self.skipped & 1):
            return
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
            at = self.skip_line_ends(at, end)
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
        if head is not None and notes.message_done and is_bodiless(notes):
            events = [head, end_of_message]  # what most reads are
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
            events.append(end_of_message)
        return 0

    cdef const char *skip_line_ends(self, const char *at, const char *end) except NULL:
        # An empty line before a request is skipped (RFC 9112 section 2.2); a lone CR or LF is not one.
        while at < end and (self.skipped & 1 or at[0] == c"\r" or at[0] == c"\n"):
            if at[0] != (c"\n" if self.skipped & 1 else c"\r"):
                raise MalformedMessage("a lone CR or LF before the request line", 0)
            self.skipped += 1
            if self.skipped > self.max_head:
                raise HeadTooLarge(f"more than {self.max_head} bytes of empty lines", 0)
            at += 1
        return at

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
        cdef char *head = <char *> realloc(self.head, behind + size)
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
        free(self.head)
        self.head = NULL

    # -- Making objects

    cdef object make_head(self, const char *base):
        cdef Notes *notes = &self.notes
        cdef object head
        cdef Special special
        cdef str method = <str> method_names[self.llhttp.method]
        cdef bint is_1_1 = self.llhttp.http_minor > 0
        self.head_made = True
        memset(&special, 0, sizeof(special))
        self.check_version_follows(base)
        head = PyType_GenericAlloc(request_head, HEAD_FIELDS)
        put(head, METHOD, method)
        put(head, HTTP_VERSION, HTTP_1_1 if is_1_1 else HTTP_1_0)
        self.put_target(head, base + notes.target, notes.target_end - notes.target)
        headers = self.make_fields(base, 0, notes.head_fields, &special)
        put(head, HEADERS, headers)
        self.check_host(headers, &special, is_1_1)
        self.put_framing(head, headers, &special, is_1_1)
        if special.proxy_connection:
            self.unsay_proxy_connection(headers, is_1_1)
        put(head, KEEP_ALIVE, notes.keep_alive)
        # HTTP/1.0 knows neither (RFC 9110 sections 10.1.1 and 7.8).
        if is_1_1 and special.expect_count:
            self.check_expect(base, &special)
        put(head, EXPECT_CONTINUE, is_1_1 and special.expect_count > 0)
        if is_1_1 and notes.flags & F_UPGRADE and notes.flags & F_CONNECTION_UPGRADE:
            put(head, UPGRADE, combined(headers, b"upgrade").lower())
        else:
            put(head, UPGRADE, None)
        return head

    cdef int put_framing(self, head, list headers, Special *special, bint is_1_1) except -1:
        cdef uint16_t flags = self.notes.flags
        if flags & F_TRANSFER_ENCODING:
            self.check_transfer_encoding(headers, special, is_1_1)
        put(head, CHUNKED, (flags & F_TRANSFER_ENCODING) != 0)
        if flags & F_CONTENT_LENGTH:
            put(head, CONTENT_LENGTH, self.notes.content_length)
        else:
            put(head, CONTENT_LENGTH, None)
        return 0

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

    cdef int put_target(self, head, const char *at, size_t size) except -1:
        """The request target by its form (RFC 9112 section 3.2)."""
        cdef bytes target = PyBytes_FromStringAndSize(at, size)
        cdef const char *mark
        if memchr(at, c"#", size) != NULL:
            raise MalformedMessage("a fragment in the request target", self.notes.target)
        put(head, TARGET, target)
        if at[0] == c"/" and self.llhttp.method != HTTP_CONNECT:
            mark = <const char *> memchr(at, c"?", size)
            if mark == NULL:
                put_resource(head, target, NO_BYTES)
            else:
                put_resource(
                    head,
                    PyBytes_FromStringAndSize(at, mark - at),
                    PyBytes_FromStringAndSize(mark + 1, at + size - mark - 1),
                )
            put(head, AUTHORITY, None)
        elif self.llhttp.method == HTTP_CONNECT:
            self.put_authority_form(head, target)
        elif size == 1 and at[0] == c"*" and self.llhttp.method == HTTP_OPTIONS:
            put_resource(head, target, NO_BYTES)
            put(head, AUTHORITY, None)
        else:
            self.put_absolute_form(head, target)
        return 0

    cdef int put_authority_form(self, head, bytes target) except -1:
        cdef bytes port = target.rpartition(b":")[2]
        if not port.isdigit() or not is_authority(target, len(target)):
            raise MalformedMessage("the target of CONNECT is not host:port", self.notes.target)
        put_resource(head, NO_BYTES, NO_BYTES)
        put(head, AUTHORITY, target)
        return 0

    cdef int put_absolute_form(self, head, bytes target) except -1:
        cdef bytes scheme, rest, authority, query
        scheme, _, rest = target.partition(b"://")
        if scheme.lower() not in (b"http", b"https"):
            raise MalformedMessage("the request target is in no form of RFC 9112", self.notes.target)
        rest, _, query = rest.partition(b"?")
        authority, _, rest = rest.partition(b"/")
        # Userinfo in an http URI is an error (RFC 9110 section 4.2.4), and so is having no host (section 4.2.1).
        if not is_authority(authority, len(authority)):
            raise MalformedMessage("a bad authority in the request target", self.notes.target)
        put_resource(head, b"/" + rest, query)
        put(head, AUTHORITY, authority)
        return 0

    # -- Rules that llhttp leaves open

    cdef int check_version_follows(self, const char *base) except -1:
        # One space behind the target (RFC 9112 section 3); llhttp takes several, and HTTP/0.9.
        cdef uint32_t end = self.notes.target_end
        if base[end] == c"\r":
            raise MalformedMessage("no HTTP version in the request line", end)
        if base[end + 1] != c"H":
            raise MalformedMessage("more than one space in the request line", end + 1)
        return 0

    cdef int check_host(self, list headers, Special *special, bint is_1_1) except -1:
        """RFC 9112 section 3.2: one valid Host, and none only before 1.1."""
        cdef Field *field
        cdef object pair
        cdef bytes host
        if special.host_count == 0:
            if is_1_1:
                raise MalformedMessage("no Host", head_end(&self.notes))
            return 0
        field = &self.notes.fields[special.host]
        if special.host_count > 1:
            raise MalformedMessage("more than one Host", field.name)
        global valid_host
        pair = headers[special.host]
        if pair is not valid_host:
            host = (<tuple> pair)[1]
            if not is_authority(host, PyBytes_GET_SIZE(host)):
                raise MalformedMessage("a bad Host", field.value)
            valid_host = pair
        return 0

    cdef int check_transfer_encoding(self, list headers, Special *special, bint is_1_1) except -1:
        """RFC 9112 sections 6.1 and 6.3: ``chunked``, once and last, and nothing else is known here."""
        cdef list codings
        cdef uint32_t offset = self.notes.fields[special.transfer_encoding].value
        if not is_1_1:
            raise MalformedMessage("Transfer-Encoding in HTTP/1.0", offset)
        codings = [c.strip(b" \t").lower() for c in combined(headers, b"transfer-encoding").split(b",")]
        if codings[len(codings) - 1] != b"chunked" or codings.count(b"chunked") > 1:
            raise MalformedMessage("Transfer-Encoding does not end in one chunked", offset)
        if len(codings) > 1:
            raise UnsupportedFeature("a transfer coding other than chunked", offset)
        if self.notes.flags & F_CONTENT_LENGTH:
            raise MalformedMessage("both Transfer-Encoding and Content-Length", offset)
        return 0

    cdef int unsay_proxy_connection(self, list headers, bint is_1_1) except -1:
        """Look at Connection alone: llhttp takes Proxy-Connection for it, which no RFC knows (RFC 9112 appendix C.2.2)."""
        cdef list options = [o.strip(b" \t").lower() for o in combined(headers, b"connection").split(b",")]
        self.notes.keep_alive = b"close" not in options and (is_1_1 or b"keep-alive" in options)
        if b"upgrade" not in options:
            self.notes.flags &= ~F_CONNECTION_UPGRADE
        return 0

    cdef int check_expect(self, const char *base, Special *special) except -1:
        cdef Field *field = &self.notes.fields[special.expect]
        cdef bytes value = base[field.value:field.value_end]
        if special.expect_count > 1 or value.strip(b" \t").lower() != b"100-continue":
            raise ExpectationFailed("an expectation other than 100-continue", field.value)
        return 0

    cdef int fail(self, llhttp_errno_t errno, const char *at, size_t used, size_t size) except -1:
        """Raise what stopped llhttp. A head that it completed first may have a better reason to be refused."""
        cdef uint64_t offset = self.parsed + used
        cdef str reason
        if self.notes.head_done and not self.head_made:
            self.make_head(self.notes.origin)
        if self.notes.flags & F_CHUNKED and is_overhead(&self.notes, offset):
            refuse_overhead(&self.notes)
        if self.notes.refusal:
            raise refusal(&self.notes)
        reason = llhttp_get_error_reason(&self.llhttp).decode("ascii", "replace")
        if errno == HPE_INVALID_METHOD and used < size and is_unknown_method(at[used], offset):
            raise UnsupportedFeature("an unknown method", offset)
        if errno == HPE_INVALID_CONSTANT and reason.startswith("Invalid method"):
            raise UnsupportedFeature("a method that is not of HTTP", offset)
        if errno == HPE_INVALID_URL:
            # What the callback says of a target that is not whole, it says of one that is.
            on_url(&self.llhttp, first_of_target(&self.llhttp), offset - target_start(&self.llhttp))
            if self.notes.refusal:
                raise refusal(&self.notes)
        if errno == HPE_PAUSED_H2_UPGRADE:
            raise UnsupportedVersion("the preface of HTTP/2", offset)
        raise MalformedMessage(reason, offset)
