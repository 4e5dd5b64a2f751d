# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False, binding=False
"""What a line of the access log looks like: gunicorn's atoms, and words for the same and for more."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport PyObject
from cpython.time cimport time
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint8_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from esg_protocols.head cimport HEADERS, HTTP_VERSION, QUERY_STRING, RAW_PATH
from esg_protocols.http1.serialize cimport Buffer, append, append_bytes, take

import binascii
import difflib
import os
import re
from http import HTTPStatus
from time import gmtime, localtime, strftime

cdef enum Atom:
    LITERAL
    CLIENT
    HOST
    USER
    METHOD
    TARGET
    PATH
    QUERY
    QUERY_AFTER_MARK
    VERSION
    STATUS
    PHRASE
    STATUS_AND_PHRASE
    SIZE
    SIZE_OR_DASH
    SECONDS
    WHOLE_SECONDS
    MILLIS
    MICROS
    SCHEME
    REQUEST_ID
    JSON_REQUEST_ID
    REQUEST_FIELD
    RESPONSE_FIELD
    COMMON_TIME
    USUAL_TIME
    ISO_TIME
    MESSAGE

# How what comes from outside is escaped: as \xNN, as a URL does, as JSON does.
cdef enum Escape:
    AS_TEXT
    AS_TARGET
    AS_JSON

# One character or several stand for these, in the order in which they are named when one is unknown.
cdef dict ATOMS = {
    "h": [HOST], "client_addr": [CLIENT],
    "u": [USER], "l": ["-"],
    "t": [COMMON_TIME], "asctime": [USUAL_TIME],
    "r": [METHOD, " ", TARGET, " HTTP/", VERSION], "request_line": [METHOD, " ", TARGET, " HTTP/", VERSION],
    "m": [METHOD], "method": [METHOD],
    "U": [PATH], "path": [PATH],
    "q": [QUERY], "query_string": [QUERY],
    "Uq": [TARGET], "full_path": [TARGET],
    "H": ["HTTP/", VERSION], "http_version": [VERSION],
    "S": [SCHEME], "scheme": [SCHEME],
    "s": [STATUS], "st": [PHRASE], "status_code": [STATUS_AND_PHRASE],
    "b": [SIZE_OR_DASH], "B": [SIZE], "response_bytes": [SIZE],
    "f": [(REQUEST_FIELD, b"referer")], "a": [(REQUEST_FIELD, b"user-agent")],
    "T": [WHOLE_SECONDS], "M": [MILLIS], "D": [MICROS], "L": [SECONDS], "duration": [SECONDS],
    "request_id": [REQUEST_ID],
    "levelprefix": ["INFO:    "], "levelname": ["INFO"], "name": ["esg.access"],
    "message": [CLIENT, ' - "', METHOD, " ", TARGET, " HTTP/", VERSION, '" ', STATUS],
}
cdef object PLACE = re.compile(r"%(?:\(([^()]*)\)([sd])|(%)|(.?))")
cdef object FIELD = re.compile(r"\{([!#$%&'*+.^_`|~0-9A-Za-z-]+)\}([io])")
cdef tuple TIMED = (SECONDS, WHOLE_SECONDS, MILLIS, MICROS)

# Of a JSON line: where a value is a text, it stands in quotes.
cdef list JSON_PARTS = [
    '{"time":"', ISO_TIME, '","level":"INFO","logger":"esg.access","message":"', MESSAGE, '","pid":', "PID",
    ',"client_addr":"', CLIENT, '","method":"', METHOD, '","path":"', PATH, '","query_string":"', QUERY,
    '","http_version":"', VERSION, '","scheme":"', SCHEME, '","status_code":', STATUS, ',"response_bytes":', SIZE,
    ',"duration":', SECONDS, ',"request_id":', JSON_REQUEST_ID, "}",
]

cdef uint8_t is_plain[256]
cdef const char *SMALL = b"0123456789abcdef"
cdef const char *LARGE = b"0123456789ABCDEF"
cdef list status_texts = [None] * 1000


cdef int fill_tables() except -1:
    cdef int i
    for i in range(256):
        is_plain[i] = 0x20 <= i < 0x7f and i != c'"' and i != c"\\"
    for status in HTTPStatus:
        status_texts[status.value] = f"{status.value} {status.phrase}".encode()
    return 0


fill_tables()


cdef class LineFormat:
    def __cinit__(self, str text not None, *, bint json=False):
        self.held = []
        if json:
            self.escape = self.escape_target = AS_JSON
            self.message = LineFormat(text)
            parts = [str(os.getpid()) if part == "PID" else part for part in JSON_PARTS]
        else:
            self.escape, self.escape_target = AS_TEXT, AS_TARGET
            parts = parsed(text)
        self.held = joined(parts)
        self.count = len(self.held)
        self.steps = <Step *> calloc(max(self.count, 1), sizeof(Step))
        if self.steps == NULL:
            raise MemoryError
        for place, (atom, argument) in enumerate(self.held):
            self.steps[place].atom = atom
            self.steps[place].argument = <PyObject *> argument  # the list holds the pair, and the pair this
            self.timed = self.timed or atom in TIMED
            self.has_headers = self.has_headers or atom == RESPONSE_FIELD
        if self.message is not None:
            self.has_headers = self.message.has_headers
        self.second = -1

    def __dealloc__(self):
        free(self.steps)
        free(self.scratch.data)

    cdef bytes line(self, Entry *entry):
        """A line by itself, without an end."""
        self.append_to(&self.scratch, entry)
        return take(&self.scratch)

    cdef int append_to(self, Buffer *out, Entry *entry) except -1:
        cdef int i
        for i in range(self.count):
            if self.steps[i].atom == LITERAL:
                append_bytes(out, <bytes> self.steps[i].argument)
            else:
                self.append_step(out, entry, &self.steps[i])
        return 0

    cdef int append_step(self, Buffer *out, Entry *entry, Step *step) except -1:
        cdef int atom = step.atom
        cdef tuple head = <tuple> entry.head
        if atom == CLIENT:
            return append_escaped(out, <bytes> entry.client, self.escape)
        if atom == METHOD:
            return append_text(out, <str> entry.method, self.escape)
        if atom == TARGET:
            return self.append_target(out, entry)
        if atom == VERSION:
            return append_text(out, <str> head[HTTP_VERSION], self.escape)
        if atom == STATUS_AND_PHRASE:
            return append_bytes(out, status_text(entry.status))
        if atom == STATUS:
            return append_number(out, entry.status)
        if atom == PATH:
            return append_escaped(out, <bytes> head[RAW_PATH], self.escape_target)
        if atom == QUERY:
            return append_escaped(out, <bytes> head[QUERY_STRING], self.escape_target)
        if atom == SIZE:
            return append_number(out, entry.sent)
        if atom == SECONDS:
            return append_seconds(out, entry.micros, self.escape == AS_JSON)
        if atom in (COMMON_TIME, USUAL_TIME, ISO_TIME):
            return self.append_time(out, atom)
        if atom == HOST:
            return append_escaped(out, <bytes> entry.host, self.escape)
        if atom == SIZE_OR_DASH:
            return append_number(out, entry.sent) if entry.sent else append(out, b"-", 1)
        if atom == WHOLE_SECONDS:
            return append_duration(out, entry.micros, 1000000)
        if atom == MILLIS:
            return append_duration(out, entry.micros, 1000)
        if atom == MICROS:
            return append_duration(out, entry.micros, 1)
        if atom == REQUEST_FIELD:
            return self.append_field(out, <list> head[HEADERS], <bytes> step.argument)
        if atom == RESPONSE_FIELD:
            return self.append_field(out, response_fields(entry), <bytes> step.argument)
        if atom == MESSAGE:
            return self.append_message(out, entry)
        if atom == PHRASE:
            return append_bytes(out, status_text(entry.status).partition(b" ")[2])
        if atom == SCHEME:
            return append_escaped(out, scheme(entry.scope), self.escape)
        if atom == USER:
            return append_escaped(out, user(<list> head[HEADERS]), self.escape)
        value = request_id(entry.scope)
        if atom == REQUEST_ID:
            return append(out, b"-", 1) if value is None else append_escaped(out, as_ascii(value), self.escape)
        if value is None:
            return append(out, b"null", 4)
        append(out, b'"', 1)
        append_escaped(out, as_ascii(value), AS_JSON)
        return append(out, b'"', 1)

    cdef int append_target(self, Buffer *out, Entry *entry) except -1:
        cdef tuple head = <tuple> entry.head
        append_escaped(out, <bytes> head[RAW_PATH], self.escape_target)
        if PyBytes_GET_SIZE(head[QUERY_STRING]):
            append(out, b"?", 1)
            append_escaped(out, <bytes> head[QUERY_STRING], self.escape_target)
        return 0

    cdef int append_message(self, Buffer *out, Entry *entry) except -1:
        return append_escaped(out, self.message.line(entry), AS_JSON)

    cdef int append_field(self, Buffer *out, list fields, bytes name) except -1:
        """The values of all fields of a name, as one (RFC 9110 section 5.3)."""
        cdef list values = [value for key, value in fields if key == name]
        return append_escaped(out, b", ".join(values), self.escape) if values else append(out, b"-", 1)

    cdef int append_time(self, Buffer *out, int atom) except -1:
        cdef double now = time()
        cdef long long second = <long long> now
        cdef char millis[8]
        if second != self.second:
            self.second = second
            self.stamp = stamp(atom, second).encode()
        append_bytes(out, self.stamp)
        if atom == COMMON_TIME:
            return 0
        snprintf(millis, 8, "%c%03d", <int> (c"." if atom == ISO_TIME else c","), <int> ((now - second) * 1000))
        append(out, millis, 4)
        return append(out, b"Z", 1) if atom == ISO_TIME else 0


# -- Reading a format


cdef list parsed(str text):
    """Atoms, pairs of one and its argument, and text between them."""
    cdef list parts = []
    cdef Py_ssize_t at = 0
    for found in PLACE.finditer(text):
        parts.append(text[at : found.start()])
        at = found.end()
        name, kind, percent, rest = found.groups()
        if percent:
            parts.append("%")
        elif kind is None:
            raise ValueError(f"{text[found.start() :][:20]!r} is not written as %(name)s")
        else:
            parts.extend(parts_of(name))
    parts.append(text[at:])
    if any([character != "\t" and not character.isprintable() for character in text]):
        raise ValueError("a line has no control characters")
    return parts


cdef list parts_of(str name):
    if name in ATOMS:
        return ATOMS[name]
    if name in ("p", "process"):
        return [f"<{os.getpid()}>" if name == "p" else str(os.getpid())]
    field = FIELD.fullmatch(name)
    if field is not None:
        return [(REQUEST_FIELD if field[2] == "i" else RESPONSE_FIELD, field[1].lower().encode())]
    raise ValueError(f"there is nothing called %({name})s{nearest(name)}")


cdef str nearest(str name):
    if name.startswith("{"):
        if name.endswith("}e"):
            return "; an ASGI server has no environ"
        return "; a field of the request is written %({name}i)s, and one of the response %({name}o)s"
    near = [other for other in (name.swapcase(), name.lower()) if other in ATOMS]
    near += difflib.get_close_matches(name, [*ATOMS, "process"], n=1, cutoff=0.5)
    return f"; did you mean %({near[0]})s?" if near else f"; there are {', '.join([*ATOMS, 'p', 'process'])}"


cdef list joined(list parts):
    """Pairs of an atom and its argument; texts that follow each other are one."""
    cdef list pairs = []
    for part in parts:
        if isinstance(part, str):
            text = part.encode()
            if pairs and pairs[len(pairs) - 1][0] == LITERAL:
                text = pairs.pop()[1] + text
            if text:
                pairs.append((LITERAL, text))
        else:
            pairs.append(part if isinstance(part, tuple) else (part, None))
    return pairs


# -- Values


cdef object request_id(PyObject *scope):
    """What the server has put into the state of a request."""
    if scope == NULL or scope == <PyObject *> None:
        return None
    state = (<dict> scope).get("state")
    return state.get("request_id") if isinstance(state, dict) else None


cdef bytes scheme(PyObject *scope):
    return b"-" if scope == NULL else as_ascii((<dict> scope).get("scheme", "-"))


cdef bytes user(list fields):
    """The name in ``Authorization: Basic``, which nobody has checked."""
    for name, value in fields:
        if name == b"authorization" and value[:6].lower() == b"basic ":
            try:
                return binascii.a2b_base64(value[6:]).partition(b":")[0] or b"-"
            except ValueError:
                break
    return b"-"


cdef list response_fields(Entry *entry):
    if entry.headers == NULL:
        return []
    return [(bytes(name).lower(), bytes(value)) for name, value in <object> entry.headers]


cdef bytes as_ascii(text):
    return str(text).encode("latin-1", "backslashreplace")


cdef bytes status_text(int status):
    if 0 <= status < 1000:
        text = status_texts[status]
        if text is not None:
            return <bytes> text
    return b"%d" % status


cdef str stamp(int atom, long long second):
    if atom == COMMON_TIME:
        return strftime("[%d/%b/%Y:%H:%M:%S %z]", localtime(second))
    if atom == USUAL_TIME:
        return strftime("%Y-%m-%d %H:%M:%S", localtime(second))
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))


# -- Appending


cdef int append_number(Buffer *out, long long number) except -1:
    cdef char digits[24]
    return append(out, digits, snprintf(digits, 24, "%lld", number))


cdef int append_duration(Buffer *out, long long micros, long long unit) except -1:
    return append(out, b"-", 1) if micros < 0 else append_number(out, micros // unit)


cdef int append_seconds(Buffer *out, long long micros, bint json) except -1:
    cdef char digits[32]
    if micros < 0:
        return append(out, b"null", 4) if json else append(out, b"-", 1)
    return append(out, digits, snprintf(digits, 32, "%lld.%06lld", micros // 1000000, micros % 1000000))


cdef int append_text(Buffer *out, str text, int escape) except -1:
    cdef Py_ssize_t size
    cdef const char *data = PyUnicode_AsUTF8AndSize(text, &size)
    return append_checked(out, <const uint8_t *> data, size, escape)


cdef int append_escaped(Buffer *out, bytes data, int escape) except -1:
    return append_checked(out, <const uint8_t *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), escape)


cdef int append_checked(Buffer *out, const uint8_t *data, Py_ssize_t size, int escape) except -1:
    """What came from outside can neither end a line nor a value that stands in quotes."""
    cdef Py_ssize_t i
    cdef uint8_t good = 1
    for i in range(size):
        good &= is_plain[data[i]]
    if good:
        return append(out, <const char *> data, size)
    for i in range(size):
        if is_plain[data[i]]:
            append(out, <const char *> data + i, 1)
        else:
            append_one_escaped(out, data[i], escape)
    return 0


cdef int append_one_escaped(Buffer *out, uint8_t byte, int escape) except -1:
    cdef char text[8]
    cdef const char *hexadecimal = LARGE if escape == AS_TARGET else SMALL
    if escape == AS_JSON and (byte == c'"' or byte == c"\\"):
        text[0] = c"\\"
        text[1] = byte
        return append(out, text, 2)
    if escape == AS_TARGET:
        text[0] = c"%"
        text[1] = hexadecimal[byte >> 4]
        text[2] = hexadecimal[byte & 15]
        return append(out, text, 3)
    snprintf(text, 8, b"\\u%04x" if escape == AS_JSON else b"\\x%02x", <int> byte)
    return append(out, text, 6 if escape == AS_JSON else 4)
