"""The C library's allocator, kept from holding what a long video has freed.

With glibc each thread has an arena of its own, in which pictures stay that another thread frees,
and aligned blocks, as FFmpeg and PyTorch take them, leave gaps that fit nothing else: memory
grows. Other C libraries are left as they are.
"""

import os
import sys
from functools import cache
from typing import Any

ARENAS = 2
M_ARENA_MAX = -8  # of mallopt(3)


@cache
def glibc() -> Any:
    """Return the C library if it is glibc, or None."""
    import ctypes

    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    return library if hasattr(library, "gnu_get_libc_version") else None


def bound_arenas(arenas: int = ARENAS) -> bool:
    """Let all threads of this process allocate from a few arenas; return whether they do.

    Call it before threads begin. `MALLOC_ARENA_MAX`, if set, is left as it is.
    """
    if glibc() is None or "MALLOC_ARENA_MAX" in os.environ:
        return False
    return bool(glibc().mallopt(M_ARENA_MAX, arenas))


def release_free_memory() -> None:
    """Give pages that hold nothing back to the system, between others too."""
    if glibc() is not None:
        glibc().malloc_trim(0)
