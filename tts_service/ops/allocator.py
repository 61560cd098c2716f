"""How much of what was freed glibc's allocator keeps."""

import asyncio
import ctypes
import gc
import platform
import time
from functools import cache

__all__ = [
    "Trim",
    "keep_freed_memory",
    "return_freed_memory",
    "trim_freed_memory",
]

# <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_NEVER_BYTES = 1 << 30


def return_freed_memory(*, arenas: int, from_bytes: int) -> None:
    """Lets the kernel have back more of what a process with many threads has freed.

    As it comes, each thread that finds the others busy gets an arena of its own, up to eight a
    core, and the size from which blocks are mapped by themselves, and an arena's free end goes
    back, grows with the blocks that are freed: to 32 and 64 MB. Call it before there are threads.
    Does nothing without glibc.

    Args:
        arenas: that threads share.
        from_bytes: blocks as large as this, and ends, go back when they are freed. The kernel
            clears each page anew when it comes again, so it should be above what is allocated all
            the time.
    """
    if libc := _glibc():
        libc.mallopt(_M_ARENA_MAX, arenas)
        libc.mallopt(_M_MMAP_THRESHOLD, from_bytes)
        libc.mallopt(_M_TRIM_THRESHOLD, from_bytes)


async def trim_freed_memory(*, every_s: float = 10.0) -> None:
    """Gives the kernel the free pages between those in use, too, for as long as it runs.

    glibc returns of itself only what is free at the top of an arena. After a flood of calls, whose
    pieces had lain among those that live on, the front stayed at 260 MB; so it falls to 110. It
    takes a millisecond, and some twenty after a flood: hence in a thread. Ends at once without
    glibc.
    """
    if libc := _glibc():
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(libc.malloc_trim, 0)


class Trim:
    """The same now and then, for who has no event loop. Any number of threads.

    Args:
        every_s: that lie at least between one and the next.
    """

    def __init__(self, *, every_s: float) -> None:
        self._libc = _glibc()
        self._every_s = every_s
        self._due_s = time.monotonic() + every_s

    def is_due(self) -> bool:
        """Whether it is time to, which it then isn't for anybody else."""
        # Two threads that come at the same moment may both be told so, which costs a few
        # milliseconds.
        if time.monotonic() < self._due_s:
            return False
        self._due_s = time.monotonic() + self._every_s
        return True

    def now(self) -> None:
        """Trims. Takes some milliseconds; does nothing without glibc."""
        if self._libc:
            self._libc.malloc_trim(0)


def keep_freed_memory() -> None:
    """Lets the process reuse large tensors' memory in place of asking the kernel for it each time.

    A window's activations are tens of megabytes a layer. As it comes, glibc maps and unmaps each
    of them, and the kernel clears every page anew: a sixth of the vocoder's time on two cores. What
    was freed before the call goes back to the kernel; what is kept from then on is bounded by the
    largest window. Does nothing without glibc.
    """
    if libc := _glibc():
        gc.collect()
        libc.malloc_trim(0)
        libc.mallopt(_M_MMAP_THRESHOLD, _NEVER_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER_BYTES)


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library if it is glibc, whose allocator can be told."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
