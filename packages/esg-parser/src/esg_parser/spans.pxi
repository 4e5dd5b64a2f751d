"""Names and values of fields: shared names, and what comes in pieces. Part of httptools.pyx."""

# -- Names that everyone sends ---------------------------------------------------------------------------------------

# They need no new object (bench/micro/httptools_dropin.py); the list is fixed, so no client can change what is in it.
cdef enum:
    NAME_SLOTS = 1024

_COMMON_NAMES = """
    Accept Accept-Encoding Accept-Language Accept-Ranges Access-Control-Allow-Origin Age Authorization Cache-Control
    Connection Content-Encoding Content-Length Content-Type Cookie DNT Date ETag Expires Forwarded Host
    If-Modified-Since If-None-Match Keep-Alive Last-Modified Location Origin Pragma Priority Proxy-Connection Range
    Referer Sec-CH-UA Sec-CH-UA-Mobile Sec-CH-UA-Platform Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User
    Sec-WebSocket-Accept Sec-WebSocket-Extensions Sec-WebSocket-Key Sec-WebSocket-Protocol Sec-WebSocket-Version
    Server Set-Cookie Strict-Transport-Security TE Traceparent Tracestate Trailer Transfer-Encoding Upgrade
    Upgrade-Insecure-Requests User-Agent Vary Via X-Forwarded-For X-Forwarded-Host X-Forwarded-Port X-Forwarded-Proto
    X-Real-IP X-Request-ID X-Requested-With
""".split()

# Names are handed on as sent, so each stands in the two spellings that are usual.
cdef list shared_names = [name.encode() for known in _COMMON_NAMES for name in (known, known.lower())]
cdef PyObject *name_slots[NAME_SLOTS]


cdef inline unsigned int name_slot(const uint8_t *name, size_t size) noexcept:
    # The factors keep the names above apart; the test of shared names fails when two meet.
    return (size * 44 + name[0] * 16 + name[size - 2] * 13 + name[size // 2]) & (NAME_SLOTS - 1)


cdef int fill_name_slots() except -1:
    cdef bytes name
    for name in shared_names:
        name_slots[name_slot(<const uint8_t *> PyBytes_AS_STRING(name), len(name))] = <PyObject *> name
    return 0


fill_name_slots()


cdef inline bytes name_of(const char *at, size_t size):
    cdef PyObject *known
    if size >= 2:
        known = name_slots[name_slot(<const uint8_t *> at, size)]
        if known != NULL and <size_t> PyBytes_GET_SIZE(<bytes> known) == size:
            if memcmp(PyBytes_AS_STRING(<bytes> known), at, size) == 0:
                return <bytes> known
    return PyBytes_FromStringAndSize(at, size)


# -- Spans -----------------------------------------------------------------------------------------------------------

# A name or a value of a field. It stays in the read that it came in; only what comes in pieces, or is not whole at
# the end of a read, is copied.
cdef struct Span:
    const char *at  # NULL if there is none
    size_t size
    char *own
    size_t room


cdef int own(Span *span, size_t more) except -1:
    """Have the span in memory of its own, with room for more."""
    cdef bint is_own = span.at == span.own
    cdef size_t room = span.size + more
    cdef char *text = span.own
    if text == NULL or room > span.room:
        room = 2 * room + 64
        text = <char *> PyMem_Realloc(span.own, room)
        if text == NULL:
            raise MemoryError
        span.own, span.room = text, room
    if not is_own:
        memcpy(text, span.at, span.size)
    span.at = text
    return 0


cdef inline int add(Span *span, const char *at, size_t size) except -1:
    if span.at == NULL:
        span.at, span.size = at, size
        return 0
    own(span, size)
    memcpy(span.own + span.size, at, size)
    span.size += size
    return 0


cdef inline void drop(Span *span) noexcept:
    span.at = NULL
    if span.own != NULL:
        PyMem_Free(span.own)
        span.own = NULL
