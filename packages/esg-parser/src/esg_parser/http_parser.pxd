"""The names of http-parser that the URL functions call, and no others."""

from libc.stdint cimport uint16_t


cdef extern from "http_parser.h" nogil:
    ctypedef struct http_parser_url_field:
        uint16_t off
        uint16_t len

    struct http_parser_url:
        uint16_t field_set
        uint16_t port
        http_parser_url_field field_data[7]

    enum:
        UF_SCHEMA
        UF_HOST
        UF_PORT
        UF_PATH
        UF_QUERY
        UF_FRAGMENT
        UF_USERINFO

    void http_parser_url_init(http_parser_url *)
    int http_parser_parse_url(const char *buf, size_t buflen, int is_connect, http_parser_url *)
