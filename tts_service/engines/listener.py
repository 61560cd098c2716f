"""Who a render is for."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Listener"]

# Nobody who hears something is late by so much.
_HEAD_START_S = 3600.0
# A window takes a tenth of a second, and one that gives way a few times as long.
_PATIENCE_S = 2.0


class Listener:
    """When a listener who plays sound as it comes will have heard all of it.

    Args:
        lead_ms: sound that is still to be heard when this begins.
        ahead_ms: sound that is to be heard whenever more of it has to wait to be taken.

    Attributes:
        hears_nothing: whether there hasn't been any sound yet.
    """

    def __init__(self, lead_ms: int = 0, ahead_ms: int = 0) -> None:
        self.hears_nothing = lead_ms <= 0
        self.due_s = time.monotonic() + (lead_ms / 1000 if lead_ms > 0 else -_HEAD_START_S)
        self._ahead_s = ahead_ms / 1000

    @property
    def can_wait(self) -> bool:
        """Whether there is so much to be heard yet that others may go first."""
        return self.due_s - time.monotonic() > _PATIENCE_S

    def gets(self, duration_s: float) -> None:
        """More sound has come."""
        self.hears_nothing = False
        self.due_s = max(self.due_s, time.monotonic()) + duration_s

    @contextmanager
    def takes(self, duration_s: float) -> Iterator[None]:
        """Open while so much sound waits to be taken.

        Who is slower to take it than to play it has all that lies before it still to hear.
        """
        began_s = time.monotonic()
        yield
        now_s = time.monotonic()
        if now_s - began_s > duration_s:
            self.due_s = max(self.due_s, now_s + self._ahead_s)
