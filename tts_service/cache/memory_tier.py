"""What was used last, in memory."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["MemoryTier"]

T = TypeVar("T")


class MemoryTier(Generic[T]):
    """Objects by key, bounded by their bytes; what was used least recently goes first.

    Used by one thread.

    Args:
        limit_bytes: 0 keeps nothing.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        """Of all that is kept."""
        return self._size_bytes

    def get(self, key: str) -> T | None:
        """Returns what is kept under a key, and makes it the last to go."""
        if (found := self._kept.get(key)) is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: str, value: T, size_bytes: int) -> None:
        """Keeps a value in place of what was under its key, unless it alone is above the limit."""
        self.drop([key])
        if size_bytes > self._limit_bytes:
            return
        self._kept[key] = (value, size_bytes)
        self._size_bytes += size_bytes
        while self._size_bytes > self._limit_bytes:
            _, (_, size) = self._kept.popitem(last=False)
            self._size_bytes -= size

    def drop(self, keys: Iterable[str]) -> None:
        """Forgets some, as far as they are here."""
        for key in keys:
            _, size = self._kept.pop(key, (None, 0))
            self._size_bytes -= size

    def clear(self) -> None:
        """Forgets all."""
        self._kept.clear()
        self._size_bytes = 0
