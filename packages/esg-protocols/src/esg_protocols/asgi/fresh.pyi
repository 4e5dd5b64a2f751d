"""A bytes object that the system reads into; all of it is for C callers."""

import sys

from typing_extensions import disjoint_base

@disjoint_base
class FreshBytes:
    """Gives its memory, writable, to who reads into it."""

    if sys.version_info >= (3, 12):  # before, Python had no name for it
        def __buffer__(self, flags: int, /) -> memoryview: ...
