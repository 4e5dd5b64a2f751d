# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False, binding=False
"""Response heads as bytes."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy

from esg_protocols.fields cimport fill_field_tables, is_good_value

from collections.abc import Iterable
from http import HTTPStatus

from esg_protocols.errors import LocalProtocolError


# -- The buffer ------------------------------------------------------------------------------------------------------

cdef int reserve(Buffer *out, size_t more) except -1:
    cdef size_t room = out.size + more
    cdef char *data
    if room > out.room:
        room = max(2 * out.room, max(room, 512))
        data = <char *> realloc(out.data, room)
        if data == NULL:
            raise MemoryError
        out.data = data
        out.room = room
    return 0


cdef inline void put(Buffer *out, const char *data, size_t size) noexcept:
    memcpy(out.data + out.size, data, size)
    out.size += size


cdef int append(Buffer *out, const char *data, size_t size) except -1:
    reserve(out, size)
    put(out, data, size)
    return 0


cdef int append_bytes(Buffer *out, bytes data) except -1:
    return append(out, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef int append_chunk_size(Buffer *out, size_t size) except -1:
    """``chunk-size CRLF`` (RFC 9112 section 7.1)."""
    cdef char digits[18]
    cdef int at = 16
    digits[16] = c"\r"
    digits[17] = c"\n"
    while True:
        at -= 1
        digits[at] = HEX[size & 15]
        size >>= 4
        if size == 0:
            break
    return append(out, digits + at, 18 - at)


cdef bytes take(Buffer *out):
    """What the buffer holds; it is empty afterwards."""
    cdef bytes data = PyBytes_FromStringAndSize(out.data, out.size)
    out.size = 0
    return data


# -- Status lines and tables -----------------------------------------------------------------------------------------

cdef const char *HEX = b"0123456789abcdef"
cdef list status_lines = [None] * 1000
cdef uint8_t is_token[256]
cdef uint8_t is_value[256]
cdef uint8_t lower[256]


cdef int fill_tables() except -1:
    cdef int i
    fill_field_tables(is_token, is_value)
    for i in range(256):
        lower[i] = i + 32 if c"A" <= i <= c"Z" else i
    for status in HTTPStatus:
        status_lines[status.value] = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    return 0


fill_tables()


cdef bytes status_line(int status):
    cdef bytes line = status_lines[status]
    if line is None:
        line = status_lines[status] = b"HTTP/1.1 %d \r\n" % status
    return line


# -- Heads -----------------------------------------------------------------------------------------------------------

# What must be known before the body (RFC 9110 section 6.5.1): how the message is framed, routed, read and kept, and who
# is at either end.
cdef frozenset NOT_IN_TRAILERS = frozenset((
    b"age", b"authorization", b"cache-control", b"connection", b"content-encoding", b"content-length", b"content-range",
    b"content-type", b"date", b"expires", b"host", b"keep-alive", b"location", b"proxy-authenticate",
    b"proxy-authorization", b"proxy-connection", b"retry-after", b"set-cookie", b"te", b"trailer", b"transfer-encoding",
    b"upgrade", b"vary", b"www-authenticate",
))

# The fields that the server has a say in.
cdef struct Seen:
    bint content_length
    bint server
    bint date


cdef int append_head(
    Buffer *out, Response *response, object status, object headers, bytes server, bytes date, bytes defaults,
    bint answers_head, bint version_1_1,
) except -1:
    """Append a whole response head and settle the framing (RFC 9112 section 6).

    ``response.close`` says on entry whether the connection ends anyway. On an error the buffer is as it was.
    """
    cdef Seen seen = Seen(content_length=False, server=False, date=False)
    cdef size_t start = out.size
    cdef int code = status_code(status)
    try:
        append_bytes(out, status_line(code))
        append_fields(out, response, headers, &seen, code == 204)
        append_framing(out, response, &seen, code, answers_head, version_1_1)
        append_defaults(out, response, &seen, server, date, defaults, version_1_1)
        response.status = code
    except BaseException:
        out.size = start
        raise
    return 0


cdef int status_code(object status) except -1:
    if not isinstance(status, int):
        raise LocalProtocolError(f"status must be an int, not {type(status).__name__}")
    if not 200 <= status <= 999:
        raise LocalProtocolError(f"status must be from 200 to 999, not {status!r}")
    return status


cdef int append_fields(Buffer *out, Response *response, object headers, Seen *seen, bint drop_length) except -1:
    cdef object field, name, value
    if type(headers) is not list and not isinstance(headers, Iterable):
        raise LocalProtocolError(f"headers must be pairs of bytes, not {headers!r}")
    for field in headers:
        if type(field) is tuple and len(<tuple> field) == 2:
            name, value = (<tuple> field)[0], (<tuple> field)[1]
        elif type(field) is list and len(<list> field) == 2:
            name, value = (<list> field)[0], (<list> field)[1]
        else:
            try:
                name, value = field
            except (TypeError, ValueError):
                raise LocalProtocolError(f"a header must be a name and a value, not {field!r}") from None
        if type(name) is not bytes or type(value) is not bytes:
            raise LocalProtocolError(f"a header's name and value must be bytes, not {name!r} and {value!r}")
        append_field(out, response, <bytes> name, <bytes> value, seen, drop_length)
    return 0


cdef int append_field(
    Buffer *out, Response *response, bytes name, bytes value, Seen *seen, bint drop_length
) except -1:
    cdef const uint8_t *n = <const uint8_t *> PyBytes_AS_STRING(name)
    cdef const uint8_t *v = <const uint8_t *> PyBytes_AS_STRING(value)
    cdef size_t name_size = PyBytes_GET_SIZE(name)
    cdef size_t value_size = PyBytes_GET_SIZE(value)
    cdef size_t i
    cdef uint8_t good = name_size > 0
    for i in range(name_size):
        good &= is_token[n[i]]
    if not (good and is_good_value(v, value_size, is_value)):
        raise LocalProtocolError(f"a header with a character that may not go on the wire: {name!r}: {value!r}")
    if seen == NULL:
        if name.lower() in NOT_IN_TRAILERS:
            raise LocalProtocolError(f"{name!r} must not be a trailer")
    # Only these lengths can be one of the names below.
    elif name_size == 14 and is_name(n, b"content-length", 14):
        take_content_length(response, value, seen)
        if drop_length:
            return 0
    elif name_size == 17 and is_name(n, b"transfer-encoding", 17):
        # The framing is the server's; an application may say chunked, it gets that without asking.
        if value.strip(b" \t").lower() != b"chunked":
            raise LocalProtocolError(f"the only transfer coding is chunked, not {value!r}")
        return 0
    elif name_size == 10 and is_name(n, b"connection", 10):
        if not take_connection(response, value):
            return 0
    elif name_size == 6 and is_name(n, b"server", 6):
        seen.server = True
    elif name_size == 4 and is_name(n, b"date", 4):
        seen.date = True
    reserve(out, name_size + value_size + 4)
    put(out, <const char *> n, name_size)
    put(out, b": ", 2)
    put(out, <const char *> v, value_size)
    put(out, b"\r\n", 2)
    return 0


cdef int append_trailers(Buffer *out, object headers, bint keep) except -1:
    """Append trailer fields, or only check them. On an error the buffer is as it was."""
    cdef size_t start = out.size
    try:
        append_fields(out, NULL, headers, NULL, False)
    except BaseException:
        out.size = start
        raise
    if not keep:
        out.size = start
    return 0


cdef int append_link(Buffer *out, object link) except -1:
    if type(link) is not bytes:
        raise LocalProtocolError(f"a link must be bytes, not {link!r}")
    return append_field(out, NULL, b"link", link, NULL, False)


cdef inline bint is_name(const uint8_t *at, const char *name, size_t size) noexcept:
    cdef size_t i
    for i in range(size):
        if lower[at[i]] != <uint8_t> name[i]:
            return False
    return True


cdef int take_content_length(Response *response, bytes value, Seen *seen) except -1:
    cdef const char *at = PyBytes_AS_STRING(value)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value)
    cdef Py_ssize_t i
    if seen.content_length:
        raise LocalProtocolError("more than one content-length")
    # 18 digits cannot overflow 63 bits.
    if not 0 < size <= 18:
        raise LocalProtocolError(f"content-length must be 1 to 18 digits, not {value!r}")
    response.remaining = 0
    for i in range(size):
        if not c"0" <= at[i] <= c"9":
            raise LocalProtocolError(f"content-length must be digits, not {value!r}")
        response.remaining = 10 * response.remaining + (at[i] - c"0")
    seen.content_length = True
    return 0


cdef bint take_connection(Response *response, bytes value) except -1:
    """Note the options that are the server's; whether the field says more than those."""
    cdef list options = [option.strip(b" \t").lower() for option in value.split(b",")]
    if b"close" in options:
        response.close = True
    return any([option not in (b"close", b"keep-alive", b"") for option in options])


cdef int append_framing(
    Buffer *out, Response *response, Seen *seen, int code, bint answers_head, bint version_1_1
) except -1:
    """How the client tells where the body ends (RFC 9112 section 6.3)."""
    if answers_head or code == 204 or code == 304:
        response.framing = NO_BODY
    elif seen.content_length:
        response.framing = BY_LENGTH
    elif version_1_1:
        response.framing = CHUNKED
        append(out, b"transfer-encoding: chunked\r\n", 28)
    else:
        # Never chunked to HTTP/1.0 (RFC 9112 section 6.1): the end of the connection ends the body.
        response.framing = BY_CLOSE
        response.close = True
    return 0


cdef int append_defaults(
    Buffer *out, Response *response, Seen *seen, bytes server, bytes date, bytes defaults, bint version_1_1
) except -1:
    # ``server`` holds the defaults too.
    append_bytes(out, defaults if seen.server else server)
    if not seen.date:
        append_bytes(out, date)
    if response.close:
        append(out, b"connection: close\r\n\r\n", 21)
    elif not version_1_1:
        append(out, b"connection: keep-alive\r\n\r\n", 26)
    else:
        append(out, b"\r\n", 2)
    return 0
