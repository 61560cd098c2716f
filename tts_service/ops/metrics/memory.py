"""How much memory another process takes."""

import math
import os

__all__ = ["resident_bytes"]


def resident_bytes(pid: int | None) -> float:
    """Returns what a process holds in memory; not a number if there is no such process.

    The kernel tells; where there is no /proc it doesn't.
    """
    if pid is None:
        return math.nan
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
    except (OSError, ValueError, IndexError):  # a process at its end has an empty one
        return math.nan
    return float(pages * os.sysconf("SC_PAGE_SIZE"))
