"""Waiting for what another process does."""

import time
from collections.abc import Callable

import psutil

__all__ = ["rests", "wait_until"]

_LOOK_EVERY_S = 0.02
_REST_S = 0.5
_MOST_TICKS_S = 0.025  # two of a hundredth, as they are added up


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether a condition comes true in time."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(_LOOK_EVERY_S)
    return condition()


def rests(process: psutil.Process) -> bool:
    """Whether it does next to nothing for half a second."""
    before = process.cpu_times()
    time.sleep(_REST_S)
    after = process.cpu_times()
    return after.user + after.system - before.user - before.system < _MOST_TICKS_S
