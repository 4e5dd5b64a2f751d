# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False, binding=False
"""Which bytes may stand in a header field, for Python callers."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from esg_protocols.fields cimport fill_field_tables, is_good_value


cdef uint8_t token_table[256]
cdef uint8_t value_table[256]
fill_field_tables(token_table, value_table)


def is_token(bytes data not None):
    cdef uint8_t byte
    for byte in data:
        if not token_table[byte]:
            return False
    return len(data) > 0


def is_value(bytes data not None):
    return is_good_value(<const uint8_t *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), value_table)
