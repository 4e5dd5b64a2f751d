"""Requests: the request line, the forms of its target, Host and expectations. Part of parser.pyx."""

cdef object valid_host = None  # the field that was checked last; it is mostly the same one
cdef list method_names = [
    sys.intern(llhttp_method_name(<llhttp_method_t> method).decode()) for method in range(HTTP_QUERY + 1)
]
fill_method_sizes(method_names)

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
    UPGRADE_TO
    CONTENT_LENGTH
    CHUNKED
    KEEP_ALIVE
    EXPECT_CONTINUE
    HEAD_FIELDS

cdef PyTypeObject *request_head = <PyTypeObject *> RequestHead
if RequestHead._fields.index("expect_continue") != EXPECT_CONTINUE or len(RequestHead._fields) != HEAD_FIELDS:
    raise ImportError("RequestHead and the parser do not fit together")


cdef int put_resource(head, bytes raw_path, bytes query) except -1:
    put(head, RAW_PATH, raw_path)
    put(head, PATH, decode_path(PyBytes_AS_STRING(raw_path), PyBytes_GET_SIZE(raw_path)))
    put(head, QUERY_STRING, query)
    return 0


cdef bint is_unknown_method(char at, uint64_t offset) noexcept:
    # llhttp stops at the first byte that no method has there: another letter or the end of a shorter word.
    return is_token[<uint8_t> at] or at == c" " and offset > 0


cdef class RequestParser(MessageParser):
    def __cinit__(
        self, *, max_head_size=65536, max_headers=100, max_header_size=None, max_target_size=16384,
        max_extensions_size=4096, max_body_size=None,
    ):
        self.notes.max_target = limit("max_target_size", max_target_size)
        self.set_up(
            HTTP_REQUEST, &request_callbacks, max_head_size, max_headers, max_header_size, max_extensions_size,
            max_body_size,
        )

    @property
    def method(self):
        if not self.notes.method_seen or self.notes.message_done and not self.stopped:
            return None
        return method_names[self.llhttp.method]

    def feed(self, data, /):
        return self.feed_read(data)

    def close(self):
        return self.end_input()

    cdef const char *check_start(self, const char *at, const char *end) except NULL:
        # An empty line before a request is skipped (RFC 9112 section 2.2); a lone CR or LF is not one.
        while at < end and (self.skipped & 1 or at[0] == c"\r" or at[0] == c"\n"):
            if at[0] != (c"\n" if self.skipped & 1 else c"\r"):
                raise MalformedMessage("a lone CR or LF before the request line", 0)
            self.skipped += 1
            if self.skipped > self.max_head:
                raise HeadTooLarge(f"more than {self.max_head} bytes of empty lines", 0)
            at += 1
        return at

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
        self.check_framing(headers, &special, is_1_1)
        put(head, CHUNKED, (notes.flags & F_TRANSFER_ENCODING) != 0)
        put(head, CONTENT_LENGTH, notes.content_length if notes.flags & F_CONTENT_LENGTH else None)
        put(head, KEEP_ALIVE, notes.keep_alive)
        # HTTP/1.0 knows neither (RFC 9110 sections 10.1.1 and 7.8).
        if is_1_1 and special.expect_count:
            self.check_expect(base, &special)
        put(head, EXPECT_CONTINUE, is_1_1 and special.expect_count > 0)
        upgrade = self.upgrade_of(headers, is_1_1)
        put(head, UPGRADE_TO, upgrade)
        notes.upgrade = upgrade is not None or self.llhttp.method == HTTP_CONNECT
        return head

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
        # One space behind the target (RFC 9112 section 3); llhttp takes several, and HTTP/0.9 with CRLF or LF.
        cdef uint32_t end = self.notes.target_end
        if base[end] != c" ":
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

    cdef int check_expect(self, const char *base, Special *special) except -1:
        cdef Field *field = &self.notes.fields[special.expect]
        cdef bytes value = base[field.value:field.value_end]
        if special.expect_count > 1 or value.strip(b" \t").lower() != b"100-continue":
            raise ExpectationFailed("an expectation other than 100-continue", field.value)
        return 0

    cdef int explain(self, llhttp_errno_t errno, str reason, uint64_t offset, const char *at) except -1:
        if errno == HPE_INVALID_METHOD:
            self.notes.method_seen = False  # it goes on behind the one that llhttp saw
            if at != NULL and is_unknown_method(at[0], offset):
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
        return 0
