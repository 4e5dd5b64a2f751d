"""What llhttp's callbacks note: where things are, and no Python object. Part of parser.pyx."""

cdef enum:
    FIELDS_AT_FIRST = 16
    PIECES_AT_FIRST = 4

# Which span of a field llhttp is in the middle of; a read may end there.
cdef enum Open:
    OPEN_NONE
    OPEN_NAME
    OPEN_VALUE

cdef enum Refusal:
    NOT_REFUSED
    REFUSE_PROTOCOL
    REFUSE_VERSION
    REFUSE_SPACES
    REFUSE_TARGET
    REFUSE_FIELDS
    REFUSE_FIELD
    REFUSE_OVERHEAD
    REFUSE_EXTENSIONS
    REFUSE_BODY
    REFUSE_TRAILER
    REFUSE_MEMORY

# The method that a response answers, as far as the end of its body hangs on it (RFC 9112 section 6.3).
cdef enum Asked:
    OTHER_ASKED
    HEAD_ASKED
    CONNECT_ASKED

cdef struct Field:
    uint32_t name
    uint32_t name_end
    uint32_t value
    uint32_t value_end

cdef struct Piece:
    const char *at
    size_t size

cdef struct Notes:
    # Where byte 0 of the message would be, were all of it in the bytes that llhttp is at.
    const char *origin
    # The target of a request; in a response the reason phrase.
    uint32_t target
    uint32_t target_end
    Field *fields
    uint32_t field_count
    uint32_t field_room
    uint32_t head_fields  # those of the head; the others are trailers
    int open
    uint64_t opened_at
    # Trailers are copied here as they come: they may start in one read and end in another.
    char *trailers
    uint32_t trailers_size
    uint32_t trailers_room
    # Body bytes of the present read.
    Piece *pieces
    uint32_t piece_count
    uint32_t piece_room
    size_t body_size
    # Where the last body byte ended, or the head: what follows is chunk lines and trailers until there is another.
    uint64_t body_end
    uint64_t body_total
    uint32_t extensions_size
    bint method_seen
    bint protocol_seen
    bint head_done
    bint message_done
    bint keep_alive
    # Whatever the head says, no body follows; or one that ends with the input.
    bint bodiless
    bint until_close
    # The client asks for another protocol, or the server goes over to it.
    bint upgrade
    int asked
    uint64_t content_length
    uint16_t flags
    int refusal
    uint64_t refused_at
    # The limits.
    uint32_t max_target
    uint32_t max_fields
    uint32_t max_field
    uint32_t max_overhead
    uint32_t max_extensions
    uint64_t max_body
    Field first_fields[FIELDS_AT_FIRST]
    Piece first_pieces[PIECES_AT_FIRST]


cdef inline int refuse(Notes *notes, int why, const char *where) noexcept nogil:
    notes.refusal = why
    notes.refused_at = where - notes.origin
    return -1


cdef inline bint is_overhead(Notes *notes, uint64_t offset) noexcept nogil:
    """Whether chunk lines and trailers up to here are more than the limit lets come in one stretch."""
    return notes.head_done and offset > notes.body_end + notes.max_overhead


cdef inline bint is_refused_earlier(Notes *notes) noexcept nogil:
    """Whether another limit was passed before that one, however many of the bytes came at once."""
    return notes.refusal and notes.refused_at <= notes.body_end + notes.max_overhead


cdef int refuse_overhead(Notes *notes) noexcept nogil:
    return refuse(notes, REFUSE_OVERHEAD, notes.origin + notes.body_end + notes.max_overhead)


cdef uint32_t head_end(Notes *notes) noexcept nogil:
    """Where the last field of the head ends, or the target of a head without fields."""
    return notes.fields[notes.head_fields - 1].value_end if notes.head_fields else notes.target_end


cdef int on_protocol(llhttp_t *parser, const char *at, size_t size) noexcept nogil:
    # llhttp also reads RTSP and ICE.
    cdef Notes *notes = <Notes *> parser.data
    if not notes.protocol_seen and at[0] != c"H":
        return refuse(notes, REFUSE_PROTOCOL, at)
    notes.protocol_seen = True
    return 0


cdef int on_method_complete(llhttp_t *parser) noexcept nogil:
    (<Notes *> parser.data).method_seen = True
    return 0


cdef int on_version_complete(llhttp_t *parser) noexcept nogil:
    # A minor version above 1 is served as 1.1 (RFC 9110 section 2.5), another major version is not.
    cdef Notes *notes = <Notes *> parser.data
    if parser.http_major != 1:
        return refuse(notes, REFUSE_VERSION, notes.origin + notes.target_end)
    return 0


cdef uint8_t method_sizes[HTTP_QUERY + 1]


cdef int fill_method_sizes(list names) except -1:
    cdef int method
    for method in range(HTTP_QUERY + 1):
        method_sizes[method] = len(names[method])
    return 0


cdef inline uint32_t target_start(llhttp_t *parser) noexcept nogil:
    """Where the target begins: one space behind the method (RFC 9112 section 3)."""
    return method_sizes[parser.method] + 1


cdef inline const char *first_of_target(llhttp_t *parser) noexcept nogil:
    """The first byte behind all spaces; the bytes of a head are all in one place until it is done."""
    cdef const char *at = (<Notes *> parser.data).origin + target_start(parser)
    while at[0] == c" ":
        at += 1
    return at


cdef int on_url(llhttp_t *parser, const char *at, size_t size) noexcept nogil:
    cdef Notes *notes = <Notes *> parser.data
    if notes.target_end == 0:
        notes.target = at - notes.origin
        if notes.target != target_start(parser):
            return refuse(notes, REFUSE_SPACES, notes.origin + target_start(parser))
    notes.target_end = at + size - notes.origin
    if notes.target_end - notes.target > notes.max_target:
        return refuse(notes, REFUSE_TARGET, notes.origin + notes.target + notes.max_target)
    return 0


cdef int open_field(Notes *notes, const char *at) noexcept nogil:
    cdef uint32_t room
    cdef Field *fields
    if notes.field_count == notes.field_room:
        room = notes.field_room * 2
        fields = <Field *> PyMem_RawRealloc(
            NULL if notes.fields == notes.first_fields else notes.fields, room * sizeof(Field)
        )
        if fields == NULL:
            return refuse(notes, REFUSE_MEMORY, at)
        if notes.fields == notes.first_fields:
            memcpy(fields, notes.first_fields, sizeof(notes.first_fields))
        notes.fields = fields
        notes.field_room = room
    memset(&notes.fields[notes.field_count], 0, sizeof(Field))
    notes.field_count += 1
    notes.open = OPEN_NAME
    notes.opened_at = at - notes.origin
    return 0


cdef int keep_trailer(Notes *notes, const char *at, size_t size, uint32_t *start) noexcept nogil:
    """Copy trailer bytes and tell where they went."""
    cdef uint32_t room
    cdef char *store
    if is_overhead(notes, at + size - notes.origin):
        return refuse_overhead(notes)
    if notes.trailers_size + size > notes.trailers_room:
        room = 2 * (notes.trailers_size + size)
        store = <char *> PyMem_RawRealloc(notes.trailers, room)
        if store == NULL:
            return refuse(notes, REFUSE_MEMORY, at)
        notes.trailers = store
        notes.trailers_room = room
    memcpy(notes.trailers + notes.trailers_size, at, size)
    start[0] = notes.trailers_size
    notes.trailers_size += size
    return 0


cdef int on_header_field(llhttp_t *parser, const char *at, size_t size) noexcept nogil:
    cdef Notes *notes = <Notes *> parser.data
    cdef Field *field
    cdef uint32_t start
    cdef bint first = notes.open != OPEN_NAME
    if first and open_field(notes, at):
        return -1
    field = &notes.fields[notes.field_count - 1]
    if not notes.head_done:
        start = at - notes.origin
    elif keep_trailer(notes, at, size, &start):
        return -1
    if first:
        field.name = start
    field.name_end = start + size
    return 0


cdef int on_header_value(llhttp_t *parser, const char *at, size_t size) noexcept nogil:
    cdef Notes *notes = <Notes *> parser.data
    cdef Field *field = &notes.fields[notes.field_count - 1]
    cdef uint32_t start
    if not notes.head_done:
        start = at - notes.origin
    elif keep_trailer(notes, at, size, &start):
        return -1
    if notes.open != OPEN_VALUE:
        field.value = start
        notes.open = OPEN_VALUE
    field.value_end = start + size
    return 0


cdef int on_header_value_complete(llhttp_t *parser) noexcept nogil:
    cdef Notes *notes = <Notes *> parser.data
    cdef Field *field = &notes.fields[notes.field_count - 1]
    notes.open = OPEN_NONE
    # RFC 9110 section 6.5.1; llhttp refuses it in requests only, and Content-Length in both.
    if notes.head_done and is_transfer_encoding(notes.trailers + field.name, field.name_end - field.name):
        return refuse(notes, REFUSE_TRAILER, notes.origin + notes.opened_at)
    # Only now: a field that is not even valid is refused for that, wherever the reads are cut.
    if notes.field_count > notes.max_fields:
        return refuse(notes, REFUSE_FIELDS, notes.origin + notes.opened_at)
    if field.value_end - field.name > notes.max_field:
        return refuse(notes, REFUSE_FIELD, notes.origin + notes.opened_at)
    return 0


cdef int on_headers_complete(llhttp_t *parser) noexcept nogil:
    cdef Notes *notes = <Notes *> parser.data
    notes.head_done = True
    notes.head_fields = notes.field_count
    notes.body_end = head_end(notes)
    # Close wins over keep-alive (RFC 9112 section 9.3); llhttp looks only for keep-alive in HTTP/1.0.
    notes.keep_alive = not parser.flags & F_CONNECTION_CLOSE and (
        parser.http_minor > 0 or parser.flags & F_CONNECTION_KEEP_ALIVE
    )
    notes.content_length = parser.content_length
    notes.flags = parser.flags
    # The parser stops after every message, so an upgrade needs no other stop: whoever takes it up takes the
    # trailing data, whoever does not goes on with the next message (RFC 9110 section 7.8).
    parser.upgrade = 0
    return 0


cdef int on_status(llhttp_t *parser, const char *at, size_t size) noexcept nogil:
    cdef Notes *notes = <Notes *> parser.data
    notes.target_end = at + size - notes.origin
    return 0


cdef int on_response_headers_complete(llhttp_t *parser) noexcept nogil:
    """Settle where the body ends (RFC 9112 section 6.3); 1 tells llhttp that there is none."""
    cdef Notes *notes = <Notes *> parser.data
    cdef int status = parser.status_code
    cdef bint tunnel = notes.asked == CONNECT_ASKED and 200 <= status < 300
    on_headers_complete(parser)
    notes.upgrade = tunnel or status == 101
    notes.bodiless = notes.asked == HEAD_ASKED or tunnel or status < 200 or status == 204 or status == 304
    notes.until_close = not notes.bodiless and not parser.flags & (F_CHUNKED | F_CONTENT_LENGTH)
    notes.keep_alive = notes.keep_alive and not notes.until_close
    return notes.bodiless


cdef int on_chunk_extension(llhttp_t *parser, const char *at, size_t size) noexcept nogil:
    cdef Notes *notes = <Notes *> parser.data
    if size > notes.max_extensions - notes.extensions_size:
        return refuse(notes, REFUSE_EXTENSIONS, at + (notes.max_extensions - notes.extensions_size))
    notes.extensions_size += size
    return 0


cdef int on_body(llhttp_t *parser, const char *at, size_t size) noexcept nogil:
    cdef Notes *notes = <Notes *> parser.data
    cdef Piece *pieces
    cdef uint32_t room
    if notes.piece_count == notes.piece_room:
        room = notes.piece_room * 2
        pieces = <Piece *> PyMem_RawRealloc(
            NULL if notes.pieces == notes.first_pieces else notes.pieces, room * sizeof(Piece)
        )
        if pieces == NULL:
            return refuse(notes, REFUSE_MEMORY, at)
        if notes.pieces == notes.first_pieces:
            memcpy(pieces, notes.first_pieces, sizeof(notes.first_pieces))
        notes.pieces = pieces
        notes.piece_room = room
    # A body of a known length comes in one stretch and has no overhead.
    if parser.flags & F_CHUNKED and is_overhead(notes, at - notes.origin):
        return refuse_overhead(notes)
    if size > notes.max_body - notes.body_total:
        return refuse(notes, REFUSE_BODY, at + (notes.max_body - notes.body_total))
    notes.body_total += size
    notes.body_end = at + size - notes.origin
    notes.pieces[notes.piece_count].at = at
    notes.pieces[notes.piece_count].size = size
    notes.piece_count += 1
    notes.body_size += size
    return 0


cdef int on_message_complete(llhttp_t *parser) noexcept nogil:
    (<Notes *> parser.data).message_done = True
    return HPE_PAUSED


cdef void set_common(llhttp_settings_t *callbacks) noexcept:
    llhttp_settings_init(callbacks)
    callbacks.on_protocol = on_protocol
    callbacks.on_version_complete = on_version_complete
    callbacks.on_header_field = on_header_field
    callbacks.on_header_value = on_header_value
    callbacks.on_header_value_complete = on_header_value_complete
    callbacks.on_chunk_extension_name = on_chunk_extension
    callbacks.on_chunk_extension_value = on_chunk_extension
    callbacks.on_body = on_body
    callbacks.on_message_complete = on_message_complete


cdef llhttp_settings_t request_callbacks
set_common(&request_callbacks)
request_callbacks.on_method_complete = on_method_complete
request_callbacks.on_url = on_url
request_callbacks.on_headers_complete = on_headers_complete

cdef llhttp_settings_t response_callbacks
set_common(&response_callbacks)
response_callbacks.on_status = on_status
response_callbacks.on_headers_complete = on_response_headers_complete


cdef void init_notes(Notes *notes) noexcept nogil:
    """Begin a message; the limits stay, and so does the room, which is the usual one between messages."""
    notes.target_end = 0
    notes.field_count = 0
    notes.open = OPEN_NONE
    notes.piece_count = 0
    notes.body_size = 0
    notes.body_total = 0
    notes.extensions_size = 0
    notes.flags = 0
    notes.method_seen = notes.protocol_seen = notes.head_done = notes.message_done = False
    notes.bodiless = notes.until_close = notes.upgrade = False


cdef void free_notes(Notes *notes) noexcept nogil:
    """Give back what a message needed beyond the usual."""
    if notes.fields != notes.first_fields:
        PyMem_RawFree(notes.fields)
        notes.fields = notes.first_fields
        notes.field_room = FIELDS_AT_FIRST
    if notes.pieces != notes.first_pieces:
        PyMem_RawFree(notes.pieces)
        notes.pieces = notes.first_pieces
        notes.piece_room = PIECES_AT_FIRST
    if notes.trailers != NULL:
        PyMem_RawFree(notes.trailers)
        notes.trailers = NULL
        notes.trailers_size = notes.trailers_room = 0
