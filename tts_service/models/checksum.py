"""Whether a file is the one that is pinned."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from .source import ModelFile

__all__ = ["describe_difference"]

_BLOCK_BYTES = 1 << 20


def describe_difference(path: Path, wanted: ModelFile, moved: Callable[[int], None]) -> str | None:
    """Reads a file from the disk and says in what it is not the one that is wanted.

    Args:
        path: the file.
        wanted: what it should be.
        moved: is told how many bytes have been read so far, first of 0.

    Returns:
        None if length and SHA-256 are right.
    """
    size_bytes = path.stat().st_size
    if size_bytes != wanted.size_bytes:
        return f"it has {size_bytes} bytes instead of {wanted.size_bytes}"
    digest = hashlib.sha256()
    done_bytes = 0
    moved(done_bytes)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            done_bytes += len(block)
            moved(done_bytes)
    if digest.hexdigest() != wanted.sha256:
        return f"its SHA-256 is {digest.hexdigest()} instead of {wanted.sha256}"
    return None
