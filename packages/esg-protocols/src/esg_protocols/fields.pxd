"""Which bytes may stand in a header field: one rule for every head that is written."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy


cdef inline int fill_field_tables(uint8_t *is_token, uint8_t *is_value) except -1:
    """Fill two tables of 256 entries: what a name may hold, and what a value may.

    Each module that writes heads has its own copy, so that the check costs no call into another one.
    """
    cdef int i
    for i in range(256):
        # RFC 9110 sections 5.6.2 and 5.5; of the controls only the tab may stand in a value.
        is_token[i] = i < 128 and chr(i).isalnum() or i in b"!#$%&'*+-.^_`|~"
        is_value[i] = i >= 32 and i != 127 or i == 9
    return 0


cdef inline bint is_good_value(const uint8_t *at, size_t size, const uint8_t *is_value) noexcept:
    """Whether all bytes may stand in a value by its table; eight at once where there is no control character."""
    cdef size_t i
    cdef uint8_t good = True
    if size >= 8:
        for i in range(0, size - 7, 8):
            good &= is_plain(at + i)
        if good and is_plain(at + size - 8):
            return True
    good = True
    for i in range(size):
        good &= is_value[at[i]]
    return good


cdef inline bint is_plain(const uint8_t *at) noexcept:
    """Whether none of eight bytes is below 32 or 127."""
    cdef uint64_t ones = 0x0101010101010101
    cdef uint64_t word, deletes
    memcpy(&word, at, 8)
    deletes = word ^ (ones * 0x7F)
    return not (((word - ones * 32) & ~word | (deletes - ones) & ~deletes) & (ones * 0x80))
