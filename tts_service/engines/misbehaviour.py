"""What may go wrong in a worker, by the text's command.

It is for tests of those who have to cope with it: the tone engine heeds it when it is told to.
"""

import os
import threading

import numpy as np
from numpy.typing import NDArray

__all__ = ["Misbehaviour"]

_EXIT_STATUS = 70
_LEAK_BYTES = 64 << 20


class Misbehaviour:
    """Does to each character what it stands for.

    =====  ==================================================================
    ``⏸``  the thread that renders it never goes on, nor can it be cancelled
    ``☠``  the process ends
    ``∅``  its samples are not numbers
    ``∞``  its samples are far out of range
    ``⚖``  64 MiB of memory are kept for ever
    =====  ==================================================================
    """

    def __init__(self) -> None:
        self._leaks: list[bytes] = []

    def apply(self, character: str, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns what becomes of a character's samples, if anything does."""
        match character:
            case "⏸":
                threading.Event().wait()
            case "☠":
                os._exit(_EXIT_STATUS)
            case "∅":
                return np.full_like(samples, np.nan)
            case "∞":
                return np.full_like(samples, 1e9)
            case "⚖":
                # Not zeros, of which the kernel would keep none.
                self._leaks.append(b"\xa5" * _LEAK_BYTES)
        return samples
