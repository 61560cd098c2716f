"""What those who call a worker notice of it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["WorkerRecord"]

# So many bad renders without a good one between them are no accident.
_BAD_IN_A_ROW = 3


class WorkerRecord:
    """Counts of one worker's calls, for those who watch it.

    Attributes:
        waiting: how many readers wait for its next message at this moment. A call whose
            reader is slow waits for the reader, and isn't among them.
        messages: how many have come.
        has_spoken_well: whether it completed a render.
        is_spoiled: set when several renders in a row were no sound.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self.messages = 0
        self.has_spoken_well = False
        self.is_spoiled = asyncio.Event()
        self._open = 0
        self._bad_in_a_row = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @contextmanager
    def open_call(self) -> Iterator[None]:
        """A call is open as long as the context."""
        self._open += 1
        self._is_idle.clear()
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._is_idle.set()

    @contextmanager
    def waits(self) -> Iterator[None]:
        """A message is waited for as long as the context, and has come if it ends well."""
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1
        self.messages += 1

    def spoke_well(self) -> None:
        """A render was complete."""
        self.has_spoken_well = True
        self._bad_in_a_row = 0

    def spoke_badly(self) -> None:
        """A render was no sound."""
        self._bad_in_a_row += 1
        if self._bad_in_a_row >= _BAD_IN_A_ROW:
            self.is_spoiled.set()

    async def idle(self) -> None:
        """Waits until no call is open."""
        await self._is_idle.wait()
