"""How the process keeps memory that it has freed."""

def keep_freed_memory(largest_block: int = ..., most_kept: int = ...) -> bool:
    """Let the C library keep more of what was freed, so that it is at hand for the next request.

    By default glibc gives large blocks back at once, and the system clears every page of them when it hands them out
    again: reading an upload of 1 MiB took more than twice the time (``bench.load --workload upload``). This is a
    setting of the whole process, so it is for the program that owns it.

    Args:
        largest_block: in bytes; blocks up to this size are kept.
        most_kept: in bytes; what is free beyond this at the end of the heap is given back.

    Returns:
        Whether there is such a setting here: glibc has it.
    """
