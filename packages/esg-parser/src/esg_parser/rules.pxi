"""Field names, hosts and paths: the small rules of RFC 9110, 9112 and 3986. Part of parser.pyx."""

# Names that everyone sends need no new object: they are found by a hash of their length and their two ends.

# The names that have rules.
cdef enum:
    NAME_OTHER = 0
    NAME_HOST = 1
    NAME_TRANSFER_ENCODING = 2
    NAME_EXPECT = 3
    NAME_PROXY_CONNECTION = 4

cdef enum:
    NAME_SLOTS = 256
    LONGEST_KNOWN_NAME = 32

# In the order of their numbers above.
_NAMES_WITH_RULES = (b"host", b"transfer-encoding", b"expect", b"proxy-connection")
# Names whose values say what a client or a server is, not who asks for what: the same few come again and again.
_NAMES_THAT_REPEAT = (
    b"host", b"accept", b"accept-encoding", b"accept-language", b"cache-control", b"connection", b"content-type",
    b"dnt", b"keep-alive", b"origin", b"pragma", b"priority", b"sec-ch-ua", b"sec-ch-ua-mobile",
    b"sec-ch-ua-platform", b"sec-fetch-dest", b"sec-fetch-mode", b"sec-fetch-site", b"sec-fetch-user",
    b"sec-websocket-extensions", b"sec-websocket-version", b"te", b"upgrade", b"upgrade-insecure-requests",
    b"user-agent", b"via", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto", b"x-requested-with",
)
_OTHER_KNOWN_NAMES = (
    b"transfer-encoding", b"expect", b"access-control-request-headers", b"access-control-request-method",
    b"authorization", b"content-encoding", b"content-length", b"cookie", b"date", b"forwarded", b"from", b"if-match",
    b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since", b"proxy-authorization",
    b"proxy-connection", b"range", b"referer", b"sec-websocket-key", b"sec-websocket-protocol", b"traceparent",
    b"tracestate", b"trailer", b"x-forwarded-for", b"x-real-ip", b"x-request-id",
)

cdef struct KnownName:
    const char *text
    uint8_t size
    uint8_t id
    bint repeats
    void *name

cdef KnownName known_names[NAME_SLOTS]
cdef uint8_t lower[256]
cdef uint8_t is_token[256]
cdef uint8_t is_host[256]
cdef uint8_t is_value[256]
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
        is_value[i] = i >= 32 and i != 127 or i == 9
        is_host[i] = chr(i).isalnum() and i < 128 or i in b"-._~!$&'()*+,;="
    for name in _NAMES_THAT_REPEAT + _OTHER_KNOWN_NAMES:
        slot = name_slot(<const uint8_t *> <const char *> name, len(name))
        while known_names[slot].name != NULL:
            slot = (slot + 1) & (NAME_SLOTS - 1)
        # The tuples above live as long as the module and keep every name alive.
        known_names[slot] = KnownName(
            text=name, size=len(name), id=NAME_OTHER, repeats=name in _NAMES_THAT_REPEAT, name=<void *> name
        )
        if name in _NAMES_WITH_RULES:
            known_names[slot].id = _NAMES_WITH_RULES.index(name) + 1
    return 0


fill_tables()


cdef inline KnownName *known_name(const uint8_t *raw, size_t size) noexcept nogil:
    cdef unsigned int slot = name_slot(raw, size)
    if size <= LONGEST_KNOWN_NAME:
        while known_names[slot].name != NULL:
            if known_names[slot].size == size and same_letters(raw, known_names[slot].text, size):
                return &known_names[slot]
            slot = (slot + 1) & (NAME_SLOTS - 1)
    return NULL


cdef bytes lower_case(const uint8_t *raw, size_t size):
    cdef bytes name = PyBytes_FromStringAndSize(NULL, size)
    cdef uint8_t *text = <uint8_t *> PyBytes_AS_STRING(name)
    cdef size_t i
    for i in range(size):
        text[i] = lower[raw[i]]
    return name


cdef enum:
    HALF = 4
    WORD = 8

cdef uint64_t LOWER_BITS = 0x2020202020202020


cdef inline bint same_letters(const uint8_t *raw, const char *lowered, size_t size) noexcept nogil:
    """Whether a name is a known one, whatever its case.

    Names are tokens of letters and ``-`` among the known ones. Setting bit 5 lowers letters and, of the other characters
    that llhttp lets into a name, makes none of them a letter or ``-``; so many bytes are compared at once.
    """
    cdef uint64_t ours
    cdef uint64_t theirs
    cdef uint32_t our_half
    cdef uint32_t their_half
    cdef size_t i = 0
    if size < HALF:
        for i in range(size):
            if raw[i] | 0x20 != <uint8_t> lowered[i]:
                return False
        return True
    if size <= WORD:
        # The first four and the last four, which may overlap.
        memcpy(&our_half, raw, HALF)
        memcpy(&their_half, lowered, HALF)
        if our_half | <uint32_t> LOWER_BITS != their_half:
            return False
        memcpy(&our_half, raw + size - HALF, HALF)
        memcpy(&their_half, lowered + size - HALF, HALF)
        return our_half | <uint32_t> LOWER_BITS == their_half
    while i + WORD < size:
        memcpy(&ours, raw + i, WORD)
        memcpy(&theirs, lowered + i, WORD)
        if ours | LOWER_BITS != theirs:
            return False
        i += WORD
    # The last eight, some of them again.
    memcpy(&ours, raw + size - WORD, WORD)
    memcpy(&theirs, lowered + size - WORD, WORD)
    return ours | LOWER_BITS == theirs


cdef bint is_transfer_encoding(const char *name, size_t size) noexcept nogil:
    cdef KnownName *known = known_name(<const uint8_t *> name, size)
    return known != NULL and known.id == NAME_TRANSFER_ENCODING


# Where the fields with rules are, and how many of each.
cdef struct Special:
    uint32_t host
    uint32_t host_count
    uint32_t expect
    uint32_t expect_count
    uint32_t transfer_encoding
    uint32_t transfer_encoding_count
    bint proxy_connection


cdef void note_special(Special *special, int name_id, uint32_t at) noexcept:
    if name_id == NAME_HOST:
        special.host = at
        special.host_count += 1
    elif name_id == NAME_EXPECT:
        special.expect = at
        special.expect_count += 1
    elif name_id == NAME_TRANSFER_ENCODING:
        special.transfer_encoding = at
        special.transfer_encoding_count += 1
    elif name_id == NAME_PROXY_CONNECTION:
        special.proxy_connection = True


cdef str ascii_text(const char *at, size_t size):
    """Text of bytes that llhttp has let through as a target, which are ASCII."""
    cdef str text
    if size <= 1:
        return PyUnicode_DecodeLatin1(at, size, NULL)  # these Python has ready-made
    text = PyUnicode_New(size, 127)
    memcpy(PyUnicode_DATA(text), at, size)
    return text


cdef str decode_path(const char *at, size_t size):
    """Percent-decoded, as UTF-8; what is not UTF-8 becomes U+FFFD and a ``%`` without two digits stays."""
    cdef bytearray decoded
    cdef size_t i = 0
    if memchr(at, c"%", size) == NULL:
        return ascii_text(at, size)
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


cdef Py_ssize_t end_of_ip_literal(const char *at, Py_ssize_t size) except -1:
    """Where the part after ``"[" IPv6address "]"`` begins, or 0 (RFC 3986 section 3.2.2; no zone, no IPvFuture)."""
    cdef const char *close = <const char *> memchr(at, c"]", size)
    if close == NULL or memchr(at, c"%", close - at) != NULL:
        return 0
    try:
        IPv6Address(at[1:close - at].decode("ascii"))
    except ValueError:
        return 0
    return close - at + 1


cdef bint is_authority(const char *at, Py_ssize_t size) except -1:
    """``uri-host [":" port]`` with a host that is not empty (RFC 3986 section 3.2.2, RFC 9110 section 4.2.1)."""
    cdef Py_ssize_t i = 0
    if size and at[0] == c"[":
        i = end_of_ip_literal(at, size)
        if i == 0:
            return False
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


cdef bytes combined(list headers, bytes name):
    """The values of one field, joined as RFC 9110 section 5.3 says."""
    cdef list values = []
    for pair in headers:
        if pair[0] == name:
            values.append(pair[1])  # no comprehension: Cython 3.3.1 drops an item twice if there is no memory for it
    return b", ".join(values)


# -- Fields that repeat ----------------------------------------------------------------------------------------------
# The last field seen for a hash, shared by all parsers: what clients send with every request is made once. Nothing that
# tells one person from another is kept here (see the names above), and it never grows: bench/micro/fields.py.

cdef enum:
    FIELD_SLOTS = 512
    LONGEST_KEPT_VALUE = 160

cdef list kept_fields = [None] * FIELD_SLOTS


cdef inline size_t field_slot(KnownName *known, const char *value, size_t size) noexcept nogil:
    cdef uint64_t first = 0
    cdef uint64_t last = 0
    cdef uint64_t mixed
    cdef size_t i
    if size >= WORD:
        memcpy(&first, value, WORD)
        memcpy(&last, value + size - WORD, WORD)
    else:
        for i in range(size):
            first = first << 8 | <uint8_t> value[i]
    mixed = (first ^ (last * <uint64_t> 0x9E3779B97F4A7C15)) + size * 31 + (known - known_names)
    mixed *= <uint64_t> 0xD6E8FEB86659FD93
    return <size_t> (mixed >> 40) & (FIELD_SLOTS - 1)


cdef tuple repeated_field(KnownName *known, const char *value, size_t size):
    """The field as a tuple: the one made before if it was the same."""
    cdef size_t slot = field_slot(known, value, size)
    cdef PyObject *kept = PyList_GET_ITEM(kept_fields, slot)
    cdef PyObject *old
    cdef object made
    if kept != <PyObject *> None and PyTuple_GET_ITEM(kept, 0) == <PyObject *> known.name:
        old = PyTuple_GET_ITEM(kept, 1)
        if <size_t> Py_SIZE(old) == size and memcmp(PyBytes_AS_STRING(<bytes> old), value, size) == 0:
            return <tuple> kept
    made = (<bytes> known.name, PyBytes_FromStringAndSize(value, size))
    kept_fields[slot] = made
    return <tuple> made
