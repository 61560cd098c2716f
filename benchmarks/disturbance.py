"""How much of the cores others took while something was measured."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

__all__ = ["Disturbance", "watched"]


class Disturbance:
    """What other processes took.

    Attributes:
        share: of all cores' time, 0 to 1; known when the watch is over.
    """

    share = 0.0


@contextmanager
def watched() -> Iterator[Disturbance]:
    """Watches while the context is open. Children have to live through all of it."""
    disturbance = Disturbance()
    began_s, busy_s, own_s = time.monotonic(), _busy_s(), _own_s()
    yield disturbance
    available_s = (time.monotonic() - began_s) * (os.cpu_count() or 1)
    others_s = (_busy_s() - busy_s) - (_own_s() - own_s)
    disturbance.share = max(0.0, others_s / available_s)


def _busy_s() -> float:
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0)


def _own_s() -> float:
    process = psutil.Process()
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        times = one.cpu_times()
        total += times.user + times.system
    return total
