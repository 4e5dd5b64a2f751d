# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False
"""A URL cut into its parts by http-parser."""

from esg_parser.http_parser cimport (
    UF_FRAGMENT, UF_HOST, UF_PATH, UF_PORT, UF_QUERY, UF_SCHEMA, UF_USERINFO,
    http_parser_parse_url, http_parser_url, http_parser_url_init,
)

from typing import NamedTuple

# http-parser keeps offsets in 16 bits.
cdef int LONGEST_URL = 65535


class InvalidURL(ValueError):
    """The bytes are no URL, or a longer one than can be parsed."""


class URL(NamedTuple):
    schema: bytes | None
    host: bytes | None
    port: int | None
    path: bytes | None
    query: bytes | None
    fragment: bytes | None
    userinfo: bytes | None


cdef bytes part(bytes url, http_parser_url *parsed, int field):
    if not parsed.field_set & (1 << field):
        return None
    cdef const char *start = <const char *> url + parsed.field_data[field].off
    return start[:parsed.field_data[field].len]


cdef tuple cut(bytes url, bint connect):
    """The parts, in the order of URL's fields; with ``connect`` those of an authority alone."""
    cdef http_parser_url parsed
    if len(url) > LONGEST_URL:
        raise InvalidURL(f"a URL of {len(url)} bytes is longer than {LONGEST_URL}")
    http_parser_url_init(&parsed)
    if http_parser_parse_url(<const char *> url, len(url), connect, &parsed):
        raise InvalidURL(f"{url[:200]!r} is not {'host:port' if connect else 'a URL'}")
    return (
        part(url, &parsed, UF_SCHEMA),
        part(url, &parsed, UF_HOST),
        parsed.port if parsed.field_set & (1 << UF_PORT) else None,
        part(url, &parsed, UF_PATH),
        part(url, &parsed, UF_QUERY),
        part(url, &parsed, UF_FRAGMENT),
        part(url, &parsed, UF_USERINFO),
    )


def parse_url(bytes url not None, *, bint connect=False):
    return URL(*cut(url, connect))
