# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False, binding=False
"""How the process keeps memory that it has freed."""

cdef extern from *:
    """
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    static int esg_keep(int largest_block, int most_kept) {
        return mallopt(M_MMAP_THRESHOLD, largest_block) && mallopt(M_TRIM_THRESHOLD, most_kept);
    }
    #else
    static int esg_keep(int largest_block, int most_kept) { return 0; }
    #endif
    """
    int esg_keep(int largest_block, int most_kept)


def keep_freed_memory(int largest_block=1 << 20, int most_kept=16 << 20):
    return esg_keep(largest_block, most_kept) != 0
