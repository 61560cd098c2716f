"""Texts on which workers ended."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from ..errors import NotPossible

__all__ = ["Suspects"]

_LOSSES_LIMIT = 3
_KEPT_S = 300.0
_TEXTS_LIMIT = 256


class Suspects:
    """Remembers for a while which texts were asked for when workers ended.

    Most were only there at the time, and are acquitted as soon as they are spoken. One that was
    there three times, and never spoken in between, is refused: nobody who sends it over and over
    is to take the engine away from all others.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # By the text's hash: how often, and when last. The one that was there last is the last.
        self._losses: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def check(self, engine: str, text: str) -> None:
        """Lets a text pass.

        Raises:
            NotPossible: workers end on it.
        """
        if self._losses and self._count(_fingerprint(text)) >= _LOSSES_LIMIT:
            raise NotPossible(
                f"engine {engine!r} lost {_LOSSES_LIMIT} workers in a row on this text, and is "
                "not given it again for some minutes",
                reason="TEXT_ENDS_WORKERS",
            )

    def lost_worker(self, text: str) -> None:
        """A worker ended while it was speaking a text."""
        fingerprint = _fingerprint(text)
        self._losses[fingerprint] = (self._count(fingerprint) + 1, self._clock())
        self._losses.move_to_end(fingerprint)
        if len(self._losses) > _TEXTS_LIMIT:
            self._losses.popitem(last=False)

    def spoken(self, text: str) -> None:
        """A text was spoken to its end."""
        if self._losses:
            self._losses.pop(_fingerprint(text), None)

    def _count(self, fingerprint: bytes) -> int:
        count, last_s = self._losses.get(fingerprint, (0, 0.0))
        return count if self._clock() - last_s < _KEPT_S else 0


def _fingerprint(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
