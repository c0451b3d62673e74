"""The C library's allocator, told to give memory back: in years a service reopens its sources countless times."""

import ctypes
from contextlib import suppress

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
LARGE_BYTES = 1 << 20
ARENAS = 2


def give_back_what_is_freed() -> None:
    """Take pieces of a megabyte and more from the system alone, and share heaps between threads.

    Otherwise glibc keeps the place of a source's freed half minute of samples, and does so in a heap of each thread.
    Other C libraries have no such settings, and are left as they are.
    """
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        library.mallopt(_M_ARENA_MAX, ARENAS)
