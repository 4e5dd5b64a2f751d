# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False, binding=False
"""WebSocket frames as bytes (RFC 6455 section 5); all of it is for C callers."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from esg_protocols.errors import RemoteProtocolError


# -- Reading ---------------------------------------------------------------------------------------------------------

cdef Py_ssize_t take_header(Frame *frame, const uint8_t *data, Py_ssize_t size) except -1:
    """Take bytes of a header; how many there were. It is whole when ``frame.begun``, and then it is well-formed.

    The rules are those of any frame from a client (RFC 6455 sections 5.1, 5.2 and 5.5); whether its opcode may come here
    and what RSV1 means is for the caller to say.
    """
    cdef Py_ssize_t at = 0
    cdef int need
    while frame.have < 2:
        if at == size:
            return at
        frame.header[frame.have] = data[at]
        frame.have += 1
        at += 1
    # Before the rest of the header comes: there may never be one.
    check_start(frame.header[0], frame.header[1])
    need = header_size(frame.header[1])
    if frame.have < need:
        need = min(need - frame.have, size - at)
        memcpy(frame.header + frame.have, data + at, need)
        frame.have += need
        at += need
        if frame.have < header_size(frame.header[1]):
            return at
    frame.size = payload_size(frame.header)
    frame.taken = 0
    frame.begun = True
    return at


cdef inline int header_size(uint8_t second) noexcept:
    """Two bytes, the extended length, the masking key."""
    cdef int length = second & 0x7F
    return 2 + 4 + (8 if length == 127 else 2 if length == 126 else 0)


cdef int check_start(uint8_t first, uint8_t second) except -1:
    cdef int opcode = first & 0x0F
    if first & RSV2_RSV3:
        raise RemoteProtocolError("a frame with a reserved bit set", 1002)
    if not (opcode <= BINARY or CLOSE <= opcode <= PONG):
        raise RemoteProtocolError(f"a frame with the reserved opcode {opcode}", 1002)
    if not second & MASK:
        raise RemoteProtocolError("a frame from the client that is not masked", 1002)
    if opcode & CONTROL:
        if first & RSV1:
            raise RemoteProtocolError("a control frame with a reserved bit set", 1002)
        if not first & FIN:
            raise RemoteProtocolError("a control frame in fragments", 1002)
        if second & 0x7F > LARGEST_CONTROL:
            raise RemoteProtocolError("a control frame of more than 125 bytes", 1002)
    return 0


cdef uint64_t payload_size(const uint8_t *header) except? 0:
    """In the fewest bytes that hold it, the highest bit 0 (RFC 6455 section 5.2)."""
    cdef uint64_t size = header[1] & 0x7F
    cdef int i
    if size == 126:
        size = (<uint64_t> header[2] << 8) | header[3]
        if size < 126:
            raise RemoteProtocolError("a frame whose length is not in the fewest bytes", 1002)
    elif size == 127:
        size = 0
        for i in range(2, 10):
            size = (size << 8) | header[i]
        if size < 65536:
            raise RemoteProtocolError("a frame whose length is not in the fewest bytes", 1002)
        if size >> 63:
            raise RemoteProtocolError("a frame whose length has its highest bit set", 1002)
    return size


cdef uint8_t unmask(uint8_t *to, const uint8_t *data, Py_ssize_t size, const uint8_t *key, uint64_t offset) noexcept nogil:
    """Unmask payload bytes, the first of which is number ``offset`` of its frame (RFC 6455 section 5.3).

    Returns a byte whose highest bit is set if that of any byte is: without it the text is ASCII. The compiler makes vector
    instructions of the loop over words (bench/micro/websocket.py).
    """
    cdef uint8_t turned[8]
    cdef uint64_t mask, word
    cdef uint64_t seen = 0
    cdef uint8_t last = 0
    cdef Py_ssize_t words = size >> 3
    cdef Py_ssize_t i
    for i in range(8):
        turned[i] = key[(offset + i) & 3]
    memcpy(&mask, turned, 8)
    for i in range(words):
        memcpy(&word, data + 8 * i, 8)
        word ^= mask
        seen |= word
        memcpy(to + 8 * i, &word, 8)
    for i in range(8 * words, size):
        to[i] = data[i] ^ turned[i & 7]
        last |= to[i]
    return last | (0x80 if seen & <uint64_t> 0x8080808080808080 else 0)


cdef Py_ssize_t find_bad_utf8(Utf8 *state, const uint8_t *data, Py_ssize_t size) noexcept nogil:
    """Go on with a text; the first byte that cannot stand where it does, or -1 (RFC 3629 section 4)."""
    cdef Py_ssize_t i = 0
    cdef uint64_t word
    cdef uint8_t byte
    while i < size:
        if state.left == 0:
            while i + 8 <= size:
                memcpy(&word, data + i, 8)
                if word & <uint64_t> 0x8080808080808080:
                    break
                i += 8
            if i == size:
                break
        byte = data[i]
        if state.left:
            if not state.low <= byte <= state.high:
                return i
            state.left -= 1
            state.low = 0x80
            state.high = 0xBF
        elif byte >= 0x80 and not begin_character(state, byte):
            return i
        i += 1
    return -1


cdef inline bint begin_character(Utf8 *state, uint8_t byte) noexcept nogil:
    """Note what may follow a first byte: no overlong forms, no surrogates, nothing beyond U+10FFFF."""
    state.low = 0x80
    state.high = 0xBF
    if 0xC2 <= byte <= 0xDF:
        state.left = 1
    elif 0xE0 <= byte <= 0xEF:
        state.left = 2
        if byte == 0xE0:
            state.low = 0xA0
        elif byte == 0xED:
            state.high = 0x9F
    elif 0xF0 <= byte <= 0xF4:
        state.left = 3
        if byte == 0xF0:
            state.low = 0x90
        elif byte == 0xF4:
            state.high = 0x8F
    else:
        return False
    return True


cpdef bint is_close_code(long code) noexcept:
    """Those that may stand in a close frame (RFC 6455 section 7.4 and the registry of its section 11.7)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


# -- Writing ---------------------------------------------------------------------------------------------------------

cdef bytes new_frame(int first, Py_ssize_t size, uint8_t **payload):
    """A frame without a mask, as servers send them, whose payload is for the caller to fill at once."""
    cdef int start = 2 if size < 126 else 4 if size < 65536 else 10
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, start + size)
    cdef uint8_t *to = <uint8_t *> PyBytes_AS_STRING(frame)
    cdef int i
    to[0] = first
    if start == 2:
        to[1] = size
    elif start == 4:
        to[1] = 126
        to[2] = size >> 8
        to[3] = size & 0xFF
    else:
        to[1] = 127
        for i in range(8):
            to[2 + i] = (<uint64_t> size >> (56 - 8 * i)) & 0xFF
    payload[0] = to + start
    return frame


cdef bytes make_frame(int first, const void *data, Py_ssize_t size):
    cdef uint8_t *payload = NULL
    cdef bytes frame = new_frame(first, size, &payload)
    memcpy(payload, data, size)
    return frame
