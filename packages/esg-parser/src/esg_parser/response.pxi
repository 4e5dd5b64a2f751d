"""Responses: the status line, and where a body ends that the request has a say in. Part of parser.pyx."""

# The items of a ResponseHead, in its order.
cdef enum:
    STATUS
    REASON
    RESPONSE_HTTP_VERSION
    RESPONSE_HEADERS
    RESPONSE_UPGRADE
    RESPONSE_CONTENT_LENGTH
    RESPONSE_CHUNKED
    RESPONSE_KEEP_ALIVE
    RESPONSE_HEAD_FIELDS

cdef PyTypeObject *response_head = <PyTypeObject *> ResponseHead
if ResponseHead._fields.index("keep_alive") != RESPONSE_KEEP_ALIVE or len(ResponseHead._fields) != RESPONSE_HEAD_FIELDS:
    raise ImportError("ResponseHead and the parser do not fit together")

# The places of a status line (RFC 9112 section 4): "HTTP/1.1 200 OK".
cdef enum:
    SPACE_BEHIND_VERSION = 8
    STATUS_CODE = 9
    SPACE_BEHIND_STATUS = 12
    REASON_PHRASE = 13

# What a gateway answers with when it cannot read the response it has asked for (RFC 9110 section 15.6.3).
cdef int BAD_GATEWAY = 502


cdef class ResponseParser(MessageParser):
    # The method that the next head answers.
    cdef str asked

    def __cinit__(
        self, *, max_head_size=65536, max_headers=100, max_header_size=None, max_extensions_size=4096, max_body_size=None
    ):
        self.asked = "GET"
        self.set_up(
            HTTP_RESPONSE, &response_callbacks, max_head_size, max_headers, max_header_size, max_extensions_size,
            max_body_size,
        )

    @property
    def method(self):
        return self.asked

    @method.setter
    def method(self, str value not None):
        self.asked = value
        self.notes.asked = HEAD_ASKED if value == "HEAD" else CONNECT_ASKED if value == "CONNECT" else OTHER_ASKED

    def feed(self, data, /):
        try:
            return self.feed_read(data)
        except ParserError as error:
            error.status = BAD_GATEWAY
            raise

    def close(self):
        try:
            return self.end_input()
        except ParserError as error:
            error.status = BAD_GATEWAY
            raise

    cdef const char *check_start(self, const char *at, const char *end) except NULL:
        # Only a server is told to skip an empty line (RFC 9112 section 2.2).
        if at < end and (at[0] == c"\r" or at[0] == c"\n"):
            raise MalformedMessage("an empty line before the status line", 0)
        return at

    cdef object make_head(self, const char *base):
        cdef Notes *notes = &self.notes
        cdef Special special
        cdef object head
        cdef bint is_1_1 = self.llhttp.http_minor > 0
        self.head_made = True
        memset(&special, 0, sizeof(special))
        self.check_status_line(base)
        head = PyType_GenericAlloc(response_head, RESPONSE_HEAD_FIELDS)
        put(head, STATUS, <int> self.llhttp.status_code)
        put(head, REASON, self.make_reason(base))
        put(head, RESPONSE_HTTP_VERSION, HTTP_1_1 if is_1_1 else HTTP_1_0)
        headers = self.make_fields(base, 0, notes.head_fields, &special)
        put(head, RESPONSE_HEADERS, headers)
        self.check_framing(headers, &special, is_1_1)
        upgrade = self.upgrade_of(headers, is_1_1)
        put(head, RESPONSE_UPGRADE, upgrade)
        put(head, RESPONSE_CONTENT_LENGTH, notes.content_length if notes.flags & F_CONTENT_LENGTH else None)
        put(head, RESPONSE_CHUNKED, (notes.flags & F_CHUNKED) != 0)
        put(head, RESPONSE_KEEP_ALIVE, notes.keep_alive)
        if self.llhttp.status_code == 101 and upgrade is None:
            raise MalformedMessage("101 without an Upgrade", head_end(notes))  # RFC 9110 section 15.2.2
        self.switched = notes.upgrade
        return head

    cdef int check_status_line(self, const char *base) except -1:
        """``HTTP-version SP status-code SP [reason-phrase]`` (RFC 9112 section 4); llhttp does without the second SP."""
        cdef uint32_t at
        if base[SPACE_BEHIND_VERSION] != c" " or not c"0" <= base[STATUS_CODE] <= c"9":
            raise MalformedMessage("not one space behind the version", SPACE_BEHIND_VERSION)
        if base[STATUS_CODE] == c"0":
            raise MalformedMessage("a status code below 100", STATUS_CODE)
        if base[SPACE_BEHIND_STATUS] != c" ":
            raise MalformedMessage("no space behind the status code", SPACE_BEHIND_STATUS)
        for at in range(REASON_PHRASE, self.notes.target_end):
            if not is_value[<uint8_t> base[at]]:
                raise MalformedMessage("a control character in the reason phrase", at)
        return 0

    cdef bytes make_reason(self, const char *base):
        cdef Py_ssize_t size = <Py_ssize_t> self.notes.target_end - REASON_PHRASE
        return PyBytes_FromStringAndSize(base + REASON_PHRASE, size) if size > 0 else NO_BYTES

    cdef int explain(self, llhttp_errno_t errno, str reason, uint64_t offset, const char *at) except -1:
        return 0
