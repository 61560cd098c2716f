"""The reader's end of a request: what the decode loop made, and the word to stop."""

import threading
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..base import PcmChunk, Render

__all__ = ["Stream"]


class Stream(Render):
    """A render that a decode loop feeds.

    What it holds is bounded by the loop, which stops decoding for a listener who is behind.

    Args:
        characters: of the text, all of which every chunk is said to speak.
        wake: tells the loop that something changed here; called from the reader's thread.
    """

    def __init__(self, characters: int, wake: Callable[[], None]) -> None:
        self._characters = characters
        self._wake = wake
        self._changed = threading.Condition()
        self._chunks: deque[NDArray[np.float32]] = deque()
        self._made_samples = 0
        self._taken_samples = 0
        self._ended = False
        self._cancelled = False
        self._error: Exception | None = None

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> PcmChunk:
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._ended or self._cancelled)
            if self._cancelled or not self._chunks:
                if self._error is not None and not self._cancelled:
                    raise self._error
                raise StopIteration
            samples = self._chunks.popleft()
            self._taken_samples += len(samples)
        self._wake()
        return PcmChunk(samples, 0, self._characters)

    @property
    def sample_count(self) -> int | None:
        """See `Render`."""
        with self._changed:
            return self._made_samples if self._ended and self._error is None else None

    def cancel(self) -> None:
        """See `Render`."""
        with self._changed:
            self._cancelled = True
            self._chunks.clear()
            self._changed.notify_all()
        self._wake()

    @property
    def is_cancelled(self) -> bool:
        """Whether the reader is gone."""
        return self._cancelled

    @property
    def waiting_samples(self) -> int:
        """What was made and the reader hasn't taken yet."""
        with self._changed:
            return self._made_samples - self._taken_samples

    def put(self, samples: NDArray[np.float32], *, is_last: bool) -> None:
        """Hands on samples of shape (n,). From the loop's thread, as `fail`."""
        with self._changed:
            if len(samples) and not self._cancelled:
                self._chunks.append(samples)
                self._made_samples += len(samples)
            self._ended = is_last
            self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        """Ends the stream with an error, behind the samples that are there."""
        with self._changed:
            self._error = error
            self._ended = True
            self._changed.notify_all()
