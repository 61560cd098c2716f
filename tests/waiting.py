"""Waiting for what another process does."""

import time
from collections.abc import Callable

__all__ = ["wait_until"]

_LOOK_EVERY_S = 0.02


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether a condition comes true in time."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(_LOOK_EVERY_S)
    return condition()
