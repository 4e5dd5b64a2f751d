"""Field names, hosts and paths: the small rules of RFC 9110, 9112 and 3986. Part of parser.pyx."""

# Names that everyone sends need no new object: they are found by a hash of their length and their two ends.

# The names that have rules.
cdef enum:
    NAME_OTHER = 0
    NAME_HOST = 1
    NAME_TRANSFER_ENCODING = 2
    NAME_EXPECT = 3

cdef enum:
    NAME_SLOTS = 256
    LONGEST_KNOWN_NAME = 32

_KNOWN_NAMES = (
    # The first ones carry the ids above; the order of the others does not matter.
    b"host", b"transfer-encoding", b"expect",
    b"accept", b"accept-encoding", b"accept-language", b"access-control-request-headers",
    b"access-control-request-method", b"authorization", b"cache-control", b"connection", b"content-encoding",
    b"content-length", b"content-type", b"cookie", b"date", b"dnt", b"forwarded", b"from", b"if-match",
    b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since", b"keep-alive", b"origin", b"pragma",
    b"priority", b"proxy-authorization", b"proxy-connection", b"range", b"referer", b"sec-ch-ua",
    b"sec-ch-ua-mobile", b"sec-ch-ua-platform", b"sec-fetch-dest", b"sec-fetch-mode", b"sec-fetch-site",
    b"sec-fetch-user", b"sec-websocket-extensions", b"sec-websocket-key", b"sec-websocket-protocol",
    b"sec-websocket-version", b"te", b"traceparent", b"tracestate", b"trailer", b"upgrade",
    b"upgrade-insecure-requests",
    b"user-agent", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto",
    b"x-real-ip", b"x-request-id", b"x-requested-with",
)

cdef struct KnownName:
    const char *text
    uint8_t size
    uint8_t id
    void *name

cdef KnownName known_names[NAME_SLOTS]
cdef uint8_t lower[256]
cdef uint8_t is_token[256]
cdef uint8_t is_host[256]
cdef bytes NO_BYTES = b""


cdef inline unsigned int name_slot(const uint8_t *name, size_t size) noexcept nogil:
    return (size * 7 + lower[name[0]] * 31 + lower[name[size - 1]] * 17) & (NAME_SLOTS - 1)


cdef int fill_tables() except -1:
    cdef int i
    cdef unsigned int slot
    cdef bytes name
    for i in range(256):
        lower[i] = i + 32 if c"A" <= i <= c"Z" else i
        is_token[i] = chr(i).isalnum() and i < 128 or i in b"!#$%&'*+-.^_`|~"
        is_host[i] = chr(i).isalnum() and i < 128 or i in b"-._~!$&'()*+,;="
    for i, name in enumerate(_KNOWN_NAMES):
        slot = name_slot(<const uint8_t *> <const char *> name, len(name))
        while known_names[slot].name != NULL:
            slot = (slot + 1) & (NAME_SLOTS - 1)
        # _KNOWN_NAMES lives as long as the module and keeps every name alive.
        known_names[slot] = KnownName(
            text=name, size=len(name), id=i + 1 if i < NAME_EXPECT else NAME_OTHER, name=<void *> name
        )
    return 0


fill_tables()


cdef bytes field_name(const char *at, size_t size, int *name_id):
    """The name in lower case, as a shared object if it is a known one."""
    cdef const uint8_t *raw = <const uint8_t *> at
    cdef unsigned int slot = name_slot(raw, size)
    cdef KnownName *known
    cdef size_t i
    cdef bytes name
    cdef uint8_t *text
    name_id[0] = NAME_OTHER
    if size <= LONGEST_KNOWN_NAME:
        while known_names[slot].name != NULL:
            known = &known_names[slot]
            if known.size == size and same_letters(raw, known.text, size):
                name_id[0] = known.id
                return <bytes> known.name
            slot = (slot + 1) & (NAME_SLOTS - 1)
    name = PyBytes_FromStringAndSize(NULL, size)
    text = <uint8_t *> PyBytes_AS_STRING(name)
    for i in range(size):
        text[i] = lower[raw[i]]
    return name


cdef inline bint same_letters(const uint8_t *raw, const char *lowered, size_t size) noexcept nogil:
    cdef size_t i
    for i in range(size):
        if lower[raw[i]] != <uint8_t> lowered[i]:
            return False
    return True


# Where the fields with rules are, and how many of each.
cdef struct Special:
    uint32_t host
    uint32_t host_count
    uint32_t expect
    uint32_t expect_count
    uint32_t transfer_encoding


cdef void note_special(Special *special, int name_id, uint32_t at) noexcept:
    if name_id == NAME_HOST:
        special.host = at
        special.host_count += 1
    elif name_id == NAME_EXPECT:
        special.expect = at
        special.expect_count += 1
    elif name_id == NAME_TRANSFER_ENCODING:
        special.transfer_encoding = at


cdef str decode_path(const char *at, size_t size):
    """Percent-decoded, as UTF-8; what is not UTF-8 becomes U+FFFD and a ``%`` without two digits stays."""
    cdef bytearray decoded
    cdef size_t i = 0
    if memchr(at, c"%", size) == NULL:
        return PyUnicode_DecodeLatin1(at, size, NULL)  # llhttp lets ASCII through only
    decoded = bytearray()
    while i < size:
        if at[i] == c"%" and i + 2 < size and hex_digit(at[i + 1]) >= 0 and hex_digit(at[i + 2]) >= 0:
            decoded.append(16 * hex_digit(at[i + 1]) + hex_digit(at[i + 2]))
            i += 3
        else:
            decoded.append(<uint8_t> at[i])
            i += 1
    return decoded.decode("utf-8", "replace")


cdef inline int hex_digit(char digit) noexcept nogil:
    if c"0" <= digit <= c"9":
        return digit - c"0"
    if c"a" <= digit <= c"f":
        return digit - c"a" + 10
    if c"A" <= digit <= c"F":
        return digit - c"A" + 10
    return -1


cdef bint is_authority(const char *at, Py_ssize_t size) noexcept:
    """``uri-host [":" port]`` with a host that is not empty (RFC 3986 section 3.2.2, RFC 9110 section 4.2.1)."""
    cdef Py_ssize_t i = 0
    if size and at[0] == c"[":
        i = 1
        while i < size and (hex_digit(at[i]) >= 0 or at[i] == c":" or at[i] == c"."):
            i += 1
        if i < 3 or i == size or at[i] != c"]":
            return False
        i += 1
    else:
        while i < size:
            if is_host[<uint8_t> at[i]]:
                i += 1
            elif at[i] == c"%" and i + 2 < size and hex_digit(at[i + 1]) >= 0 and hex_digit(at[i + 2]) >= 0:
                i += 3
            else:
                break
        if i == 0:
            return False
    if i == size:
        return True
    if at[i] != c":":
        return False
    for i in range(i + 1, size):
        if not c"0" <= at[i] <= c"9":
            return False
    return True


cdef bytes authority_of(bytes url):
    """What stands between ``://`` and the next ``/``, ``?`` or the end."""
    cdef bytes rest = url.partition(b"://")[2]
    return rest.partition(b"/")[0].partition(b"?")[0]


cdef bytes combined(list headers, bytes name):
    """The values of one field, joined as RFC 9110 section 5.3 says."""
    return b", ".join([pair[1] for pair in headers if pair[0] == name])
