"""Words that are compared: those of ASGI messages, methods, versions."""

from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH
from libc.string cimport memcmp


cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object)


cdef inline bint is_word(kind, str word) noexcept:
    """``kind == word`` for ASCII words, which are not the same object in every module: no hash, no general comparison."""
    if type(kind) is not str or PyUnicode_GET_LENGTH(kind) != PyUnicode_GET_LENGTH(word):
        return False
    return PyUnicode_IS_COMPACT_ASCII(kind) and not memcmp(
        PyUnicode_DATA(kind), PyUnicode_DATA(word), PyUnicode_GET_LENGTH(word)
    )
