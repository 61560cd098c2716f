"""How much memory a process holds."""

import os
from pathlib import Path

__all__ = ["resident_bytes"]

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int | None) -> int | None:
    """Returns what a process holds in memory; None if it is gone, or where /proc is missing."""
    if pid is None:
        return None
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):  # a process at its end has an empty one
        return None
