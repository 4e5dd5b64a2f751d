# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False, binding=False
"""The interface of httptools 0.9, on the same llhttp and http-parser as the rest of this package.

llhttp calls back as it reads, and each callback calls the protocol's method at once. One that fails leaves its
exception pending and tells llhttp to stop; llhttp then returns without another callback, and feed_data takes the
exception up. So none is caught, kept and raised again on the way.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy

from esg_parser.llhttp cimport (
    HPE_CB_CHUNK_COMPLETE, HPE_CB_CHUNK_HEADER, HPE_CB_HEADERS_COMPLETE, HPE_CB_MESSAGE_BEGIN,
    HPE_CB_MESSAGE_COMPLETE, HPE_INVALID_METHOD, HPE_INVALID_STATUS, HPE_INVALID_URL, HPE_OK, HPE_PAUSED_UPGRADE,
    HPE_USER, HTTP_QUERY, HTTP_REQUEST, HTTP_RESPONSE, llhttp_cb, llhttp_data_cb, llhttp_errno_t, llhttp_execute,
    llhttp_get_error_reason, llhttp_init, llhttp_method_name, llhttp_method_t, llhttp_pause,
    llhttp_resume_after_upgrade, llhttp_set_lenient_chunked_length, llhttp_set_lenient_data_after_close,
    llhttp_set_lenient_headers, llhttp_set_lenient_keep_alive, llhttp_set_lenient_optional_cr_before_lf,
    llhttp_set_lenient_optional_crlf_after_chunk, llhttp_set_lenient_optional_lf_after_cr,
    llhttp_set_lenient_spaces_after_chunk_size, llhttp_set_lenient_transfer_encoding, llhttp_set_lenient_version,
    llhttp_settings_init, llhttp_settings_t, llhttp_should_keep_alive, llhttp_t, llhttp_type_t,
)
from esg_parser.url cimport LONGEST_URL, cut

cimport cython

import sys
from typing import Protocol

from esg_parser.url import InvalidURL

__version__ = "0.9.0"  # of httptools, whose interface this is

# There the names also stand in httptools.parser and its modules; here all of these are this one.
parser = errors = protocol = url_parser = sys.modules[__name__]

__all__ = [
    "HTTPProtocol",
    "HttpParserCallbackError",
    "HttpParserError",
    "HttpParserInvalidMethodError",
    "HttpParserInvalidStatusError",
    "HttpParserInvalidURLError",
    "HttpParserUpgrade",
    "HttpRequestParser",
    "HttpResponseParser",
    "__version__",
    "parse_url",
    "parser",
]


# -- Errors and the protocol -----------------------------------------------------------------------------------------


class HttpParserError(Exception):
    """The bytes are not a message that llhttp accepts."""


class HttpParserCallbackError(HttpParserError):
    """A callback raised; what it raised is the ``__context__``."""


class HttpParserInvalidStatusError(HttpParserError):
    """The status code of a response is none."""


class HttpParserInvalidMethodError(HttpParserError):
    """The method of a request is unknown."""


class HttpParserInvalidURLError(HttpParserError):
    """The target of a request or the argument of parse_url is no URL, or a longer one than can be parsed."""


class HttpParserUpgrade(Exception):
    """Another protocol follows, from the offset that is the argument."""


class HTTPProtocol(Protocol):
    def on_message_begin(self) -> None: ...
    def on_url(self, url: bytes) -> None: ...
    def on_status(self, status: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_body(self, body: bytes) -> None: ...
    def on_chunk_header(self) -> None: ...
    def on_chunk_complete(self) -> None: ...
    def on_message_complete(self) -> None: ...


cdef object callback_error(str reason):
    """A HttpParserCallbackError in httptools' words, which are llhttp's but for callbacks that take bytes."""
    cdef str prefix = "Span callback error in "
    if reason.startswith(prefix):
        reason = f"`{reason[len(prefix):]}` callback error"
    return HttpParserCallbackError(reason)


cdef object error_of(llhttp_errno_t errno, str reason):
    if errno in (
        HPE_CB_MESSAGE_BEGIN, HPE_CB_HEADERS_COMPLETE, HPE_CB_MESSAGE_COMPLETE, HPE_CB_CHUNK_HEADER,
        HPE_CB_CHUNK_COMPLETE, HPE_USER,
    ):
        return callback_error(reason)
    if errno == HPE_INVALID_METHOD:
        return HttpParserInvalidMethodError(reason)
    if errno == HPE_INVALID_STATUS:
        return HttpParserInvalidStatusError(reason)
    if errno == HPE_INVALID_URL:
        return HttpParserInvalidURLError(reason)
    return HttpParserError(reason)


include "spans.pxi"


# -- Parsers ---------------------------------------------------------------------------------------------------------


cdef const char *nowhere = ""


@cython.internal
cdef class _HttpParser:
    cdef llhttp_t llhttp
    # The field that is being read; it is handed on when the next one begins, because its value may go on in a line
    # that is folded.
    cdef Span name
    cdef Span value
    # What feed_data is at work on, if that is a bytes object.
    cdef bytes read
    cdef bint running
    # The methods of the protocol, or None.
    cdef object on_message_begin
    cdef object on_url
    cdef object on_status
    cdef object on_header
    cdef object on_headers_complete
    cdef object on_body
    cdef object on_chunk_header
    cdef object on_chunk_complete
    cdef object on_message_complete

    def __cinit__(self):
        # A subclass that does not call __init__ has a parser that calls nothing back.
        llhttp_init(&self.llhttp, HTTP_REQUEST, &callbacks)
        self.llhttp.data = <void *> self

    def __dealloc__(self):
        self.drop_field()

    cdef int start(self, llhttp_type_t kind, protocol) except -1:
        if self.running:
            raise RuntimeError("a parser cannot be started again from one of its callbacks")
        self.drop_field()
        llhttp_init(&self.llhttp, kind, &callbacks)
        self.llhttp.data = <void *> self
        self.on_message_begin = getattr(protocol, "on_message_begin", None)
        self.on_header = getattr(protocol, "on_header", None)
        self.on_headers_complete = getattr(protocol, "on_headers_complete", None)
        self.on_body = getattr(protocol, "on_body", None)
        self.on_chunk_header = getattr(protocol, "on_chunk_header", None)
        self.on_chunk_complete = getattr(protocol, "on_chunk_complete", None)
        self.on_message_complete = getattr(protocol, "on_message_complete", None)
        return 0

    # -- What users call

    def set_dangerous_leniencies(
        self,
        lenient_headers=None,
        lenient_chunked_length=None,
        lenient_keep_alive=None,
        lenient_transfer_encoding=None,
        lenient_version=None,
        lenient_data_after_close=None,
        lenient_optional_lf_after_cr=None,
        lenient_optional_cr_before_lf=None,
        lenient_optional_crlf_after_chunk=None,
        lenient_spaces_after_chunk_size=None,
    ):
        if lenient_headers is not None:
            llhttp_set_lenient_headers(&self.llhttp, bool(lenient_headers))
        if lenient_chunked_length is not None:
            llhttp_set_lenient_chunked_length(&self.llhttp, bool(lenient_chunked_length))
        if lenient_keep_alive is not None:
            llhttp_set_lenient_keep_alive(&self.llhttp, bool(lenient_keep_alive))
        if lenient_transfer_encoding is not None:
            llhttp_set_lenient_transfer_encoding(&self.llhttp, bool(lenient_transfer_encoding))
        if lenient_version is not None:
            llhttp_set_lenient_version(&self.llhttp, bool(lenient_version))
        if lenient_data_after_close is not None:
            llhttp_set_lenient_data_after_close(&self.llhttp, bool(lenient_data_after_close))
        if lenient_optional_lf_after_cr is not None:
            llhttp_set_lenient_optional_lf_after_cr(&self.llhttp, bool(lenient_optional_lf_after_cr))
        if lenient_optional_cr_before_lf is not None:
            llhttp_set_lenient_optional_cr_before_lf(&self.llhttp, bool(lenient_optional_cr_before_lf))
        if lenient_optional_crlf_after_chunk is not None:
            llhttp_set_lenient_optional_crlf_after_chunk(&self.llhttp, bool(lenient_optional_crlf_after_chunk))
        if lenient_spaces_after_chunk_size is not None:
            llhttp_set_lenient_spaces_after_chunk_size(&self.llhttp, bool(lenient_spaces_after_chunk_size))

    def get_http_version(self):
        if self.llhttp.http_major == 1 and self.llhttp.http_minor == 1:
            return "1.1"
        return f"{self.llhttp.http_major}.{self.llhttp.http_minor}"

    def should_keep_alive(self):
        return llhttp_should_keep_alive(&self.llhttp) != 0

    def should_upgrade(self):
        return self.llhttp.upgrade != 0

    def feed_data(self, data):
        cdef Py_buffer buffer
        if self.running:
            raise RuntimeError("feed_data was called while it was running")
        PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
        self.running = True
        self.read = <bytes> data if type(data) is bytes else None
        try:
            # llhttp takes NULL for a span that has not begun, and an object without bytes may have no other place.
            self.parse(nowhere if buffer.buf == NULL else <const char *> buffer.buf, buffer.len)
        finally:
            self.read = None
            self.running = False
            PyBuffer_Release(&buffer)

    # -- Reading

    cdef int parse(self, const char *at, size_t size) except -1:
        cdef llhttp_errno_t errno
        try:
            errno = self.run(at, size)
        except BaseException:
            self.drop_field()
            # llhttp is in an error already, unless memory ran out behind it.
            llhttp_pause(&self.llhttp)
            raise callback_error(self.reason())
        if errno == HPE_OK:
            return 0
        self.drop_field()
        if errno == HPE_PAUSED_UPGRADE and self.llhttp.upgrade:
            llhttp_resume_after_upgrade(&self.llhttp)
            raise HttpParserUpgrade(self.llhttp.error_pos - at)
        raise error_of(errno, self.reason())

    cdef llhttp_errno_t run(self, const char *at, size_t size) except *:
        """Let llhttp parse; the exception of a callback is raised from here."""
        cdef llhttp_errno_t errno = llhttp_execute(&self.llhttp, at, size)
        if errno == HPE_OK and self.name.at != NULL:
            own(&self.name, 0)
            if self.value.at != NULL:
                own(&self.value, 0)
        return errno

    cdef str reason(self):
        return llhttp_get_error_reason(&self.llhttp).decode("latin-1")

    cdef int hand_on_field(self) except -1:
        cdef bytes name
        cdef bytes value
        if self.value.at == NULL:
            return 0
        name = name_of(self.name.at, self.name.size)
        value = self.value.at[:self.value.size]
        self.drop_field()
        self.on_header(name, value)
        return 0

    cdef void drop_field(self) noexcept:
        drop(&self.name)
        drop(&self.value)


cdef class HttpRequestParser(_HttpParser):
    def __init__(self, protocol):
        self.start(HTTP_REQUEST, protocol)
        self.on_url = getattr(protocol, "on_url", None)

    def get_method(self):
        return method_names[self.llhttp.method]


cdef class HttpResponseParser(_HttpParser):
    def __init__(self, protocol):
        self.start(HTTP_RESPONSE, protocol)
        self.on_status = getattr(protocol, "on_status", None)

    def get_status_code(self):
        return self.llhttp.status_code


cdef list method_names = [<bytes> llhttp_method_name(<llhttp_method_t> method) for method in range(HTTP_QUERY + 1)]


# -- What llhttp calls -----------------------------------------------------------------------------------------------


cdef inline int call(method) except -1:
    if method is not None:
        method()
    return 0


cdef inline int call_with(method, const char *at, size_t size) except -1:
    if method is not None:
        method(at[:size])
    return 0


cdef int on_message_begin(llhttp_t *llhttp) except -1:
    return call((<_HttpParser> llhttp.data).on_message_begin)


cdef int on_url(llhttp_t *llhttp, const char *at, size_t size) except -1:
    return call_with((<_HttpParser> llhttp.data).on_url, at, size)


cdef int on_status(llhttp_t *llhttp, const char *at, size_t size) except -1:
    return call_with((<_HttpParser> llhttp.data).on_status, at, size)


cdef int on_header_field(llhttp_t *llhttp, const char *at, size_t size) except -1:
    cdef _HttpParser parser = <_HttpParser> llhttp.data
    if parser.on_header is None:
        return 0
    parser.hand_on_field()
    return add(&parser.name, at, size)


cdef int on_header_value(llhttp_t *llhttp, const char *at, size_t size) except -1:
    cdef _HttpParser parser = <_HttpParser> llhttp.data
    return 0 if parser.on_header is None else add(&parser.value, at, size)


cdef int on_headers_complete(llhttp_t *llhttp) except -1:
    cdef _HttpParser parser = <_HttpParser> llhttp.data
    parser.hand_on_field()
    call(parser.on_headers_complete)
    # 1 tells llhttp that no body follows: what does is of the other protocol.
    return llhttp.upgrade != 0


cdef int on_body(llhttp_t *llhttp, const char *at, size_t size) except -1:
    cdef _HttpParser parser = <_HttpParser> llhttp.data
    if parser.read is None or <size_t> PyBytes_GET_SIZE(parser.read) != size:
        return call_with(parser.on_body, at, size)
    if parser.on_body is not None:
        parser.on_body(parser.read)  # a read that is all body needs no copy
    return 0


cdef int on_chunk_header(llhttp_t *llhttp) except -1:
    return call((<_HttpParser> llhttp.data).on_chunk_header)


cdef int on_chunk_complete(llhttp_t *llhttp) except -1:
    cdef _HttpParser parser = <_HttpParser> llhttp.data
    parser.hand_on_field()  # the last of the trailers
    return call(parser.on_chunk_complete)


cdef int on_message_complete(llhttp_t *llhttp) except -1:
    return call((<_HttpParser> llhttp.data).on_message_complete)


# llhttp.pxd says that callbacks need no GIL and raise nothing. Here llhttp runs under the GIL, and one that raises
# returns -1, which stops it; the way over void * says that this is meant.
cdef llhttp_settings_t callbacks
llhttp_settings_init(&callbacks)
callbacks.on_message_begin = <llhttp_cb> <void *> on_message_begin
callbacks.on_url = <llhttp_data_cb> <void *> on_url
callbacks.on_status = <llhttp_data_cb> <void *> on_status
callbacks.on_header_field = <llhttp_data_cb> <void *> on_header_field
callbacks.on_header_value = <llhttp_data_cb> <void *> on_header_value
callbacks.on_headers_complete = <llhttp_cb> <void *> on_headers_complete
callbacks.on_body = <llhttp_data_cb> <void *> on_body
callbacks.on_chunk_header = <llhttp_cb> <void *> on_chunk_header
callbacks.on_chunk_complete = <llhttp_cb> <void *> on_chunk_complete
callbacks.on_message_complete = <llhttp_cb> <void *> on_message_complete


# -- URLs ------------------------------------------------------------------------------------------------------------


@cython.freelist(16)
@cython.no_gc  # it holds bytes and a number
cdef class URL:
    cdef readonly bytes schema
    cdef readonly bytes host
    cdef readonly object port
    cdef readonly bytes path
    cdef readonly bytes query
    cdef readonly bytes fragment
    cdef readonly bytes userinfo

    def __repr__(self):
        names = ("schema", "host", "port", "path", "query", "fragment", "userinfo")
        return f"URL({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


cdef bytes copied(data):
    cdef Py_buffer buffer
    PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
    try:
        return PyBytes_FromStringAndSize(<const char *> buffer.buf, buffer.len)
    finally:
        PyBuffer_Release(&buffer)


def parse_url(url):
    cdef bytes text = <bytes> url if type(url) is bytes else copied(url)
    cdef URL made
    if len(text) > LONGEST_URL:
        raise HttpParserInvalidURLError(f"the url is too long: {len(text)} bytes, where {LONGEST_URL} are the most")
    try:
        parts = cut(text, False)
    except InvalidURL:
        raise HttpParserInvalidURLError(f"invalid url {url!r}") from None
    made = URL.__new__(URL)
    made.schema, made.host, made.port, made.path, made.query, made.fragment, made.userinfo = parts
    return made
