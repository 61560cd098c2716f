"""How many renders want the cores at this moment."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Crowd"]


class Crowd:
    """Counts those who are at work, and those of them who give way.

    Args:
        cores: that there are.
        threads: that one takes who is not crowded.
    """

    def __init__(self, cores: int, threads: int) -> None:
        self._room = max(1, cores // threads)
        self._count = 0
        self._patient_count = 0
        self._lock = threading.Lock()

    @property
    def is_crowded(self) -> bool:
        """Whether they would get in each other's way, were each to take all its threads."""
        return self._count > self._room

    @property
    def is_pressed(self) -> bool:
        """Whether they are too many even without those who give way."""
        return self._count - self._patient_count > self._room

    @contextmanager
    def at_work(self, *, can_wait: bool = False) -> Iterator[None]:
        """Counts one more while the context is open; `can_wait`: one who gives way."""
        with self._lock:
            self._count += 1
            self._patient_count += can_wait
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                self._patient_count -= can_wait
