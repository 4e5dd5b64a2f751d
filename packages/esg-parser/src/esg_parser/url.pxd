"""What other modules of this package take from url.pyx."""

cdef int LONGEST_URL

cdef tuple cut(bytes url, bint connect)
