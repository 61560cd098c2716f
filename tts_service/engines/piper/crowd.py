"""How many renders want the cores at this moment."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Crowd"]


class Crowd:
    """Counts those who are at work.

    Args:
        cores: that there are.
        threads: that one takes who is not crowded.
    """

    def __init__(self, cores: int, threads: int) -> None:
        self._room = max(1, cores // threads)
        self._count = 0
        self._ahead_count = 0
        self._lock = threading.Lock()

    def is_crowded(self, *, can_wait: bool = False) -> bool:
        """Whether they would get in each other's way, were each to take all its threads.

        Args:
            can_wait: asks for a render whose listener can wait. It gives way to those who can't,
                so that it is not in theirs.
        """
        return (
            self._count > self._room if can_wait else self._count - self._ahead_count > self._room
        )

    @contextmanager
    def at_work(self, *, can_wait: bool = False) -> Iterator[None]:
        """Counts one more while the context is open."""
        with self._lock:
            self._count += 1
            self._ahead_count += can_wait
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                self._ahead_count -= can_wait
