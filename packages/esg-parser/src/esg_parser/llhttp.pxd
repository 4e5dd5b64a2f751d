"""The names of llhttp that the parsers call, and no others."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint64_t


cdef extern from "llhttp.h" nogil:
    ctypedef struct llhttp_t:
        void *data
        uint64_t content_length
        uint8_t method
        uint8_t http_major
        uint8_t http_minor
        uint8_t upgrade
        uint16_t status_code
        uint16_t flags
        const char *error_pos

    ctypedef int (*llhttp_data_cb)(llhttp_t *, const char *at, size_t length) noexcept nogil
    ctypedef int (*llhttp_cb)(llhttp_t *) noexcept nogil

    ctypedef struct llhttp_settings_t:
        llhttp_data_cb on_protocol
        llhttp_data_cb on_url
        llhttp_data_cb on_status
        llhttp_data_cb on_header_field
        llhttp_data_cb on_header_value
        llhttp_data_cb on_chunk_extension_name
        llhttp_data_cb on_chunk_extension_value
        llhttp_data_cb on_body
        llhttp_cb on_message_begin
        llhttp_cb on_method_complete
        llhttp_cb on_version_complete
        llhttp_cb on_header_value_complete
        llhttp_cb on_headers_complete
        llhttp_cb on_chunk_header
        llhttp_cb on_chunk_complete
        llhttp_cb on_message_complete

    ctypedef enum llhttp_type_t:
        HTTP_REQUEST
        HTTP_RESPONSE

    ctypedef enum llhttp_errno_t:
        HPE_OK
        HPE_INVALID_METHOD
        HPE_INVALID_CONSTANT
        HPE_INVALID_URL
        HPE_INVALID_STATUS
        HPE_CB_MESSAGE_BEGIN
        HPE_CB_HEADERS_COMPLETE
        HPE_CB_MESSAGE_COMPLETE
        HPE_CB_CHUNK_HEADER
        HPE_CB_CHUNK_COMPLETE
        HPE_PAUSED
        HPE_PAUSED_UPGRADE
        HPE_PAUSED_H2_UPGRADE
        HPE_USER

    ctypedef enum llhttp_method_t:
        HTTP_CONNECT
        HTTP_OPTIONS
        HTTP_QUERY  # the last one

    enum:
        F_CONNECTION_KEEP_ALIVE
        F_CONNECTION_CLOSE
        F_CONNECTION_UPGRADE
        F_CHUNKED
        F_UPGRADE
        F_CONTENT_LENGTH
        F_TRANSFER_ENCODING

    void llhttp_init(llhttp_t *, llhttp_type_t, const llhttp_settings_t *)
    void llhttp_reset(llhttp_t *)
    void llhttp_settings_init(llhttp_settings_t *)
    llhttp_errno_t llhttp_execute(llhttp_t *, const char *data, size_t length)
    void llhttp_pause(llhttp_t *)
    void llhttp_resume_after_upgrade(llhttp_t *)
    int llhttp_should_keep_alive(const llhttp_t *)
    const char *llhttp_get_error_reason(const llhttp_t *)
    const char *llhttp_method_name(llhttp_method_t)
    void llhttp_set_lenient_headers(llhttp_t *, int enabled)
    void llhttp_set_lenient_chunked_length(llhttp_t *, int enabled)
    void llhttp_set_lenient_keep_alive(llhttp_t *, int enabled)
    void llhttp_set_lenient_transfer_encoding(llhttp_t *, int enabled)
    void llhttp_set_lenient_version(llhttp_t *, int enabled)
    void llhttp_set_lenient_data_after_close(llhttp_t *, int enabled)
    void llhttp_set_lenient_optional_lf_after_cr(llhttp_t *, int enabled)
    void llhttp_set_lenient_optional_cr_before_lf(llhttp_t *, int enabled)
    void llhttp_set_lenient_optional_crlf_after_chunk(llhttp_t *, int enabled)
    void llhttp_set_lenient_spaces_after_chunk_size(llhttp_t *, int enabled)
