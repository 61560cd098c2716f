"""Threads on which renders take turns.

Who hears nothing yet goes first, then whoever runs out of sound soonest.
"""

import contextvars
import heapq
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["Listener", "Turns"]

_Result = TypeVar("_Result")

# Nobody who hears something is late by so much.
_HEAD_START_S = 3600.0


class Listener:
    """When a listener who plays sound as it comes will have heard all of it.

    Args:
        lead_ms: sound that is still to be heard when this begins.
    """

    def __init__(self, lead_ms: int = 0) -> None:
        self.due_s = time.monotonic() + (lead_ms / 1000 if lead_ms > 0 else -_HEAD_START_S)

    def gets(self, duration_s: float) -> None:
        """More sound has come."""
        self.due_s = max(self.due_s, time.monotonic()) + duration_s


class Turns:
    """Runs functions on a number of threads, the one that is due soonest first.

    Who hears nothing yet goes before all others. One window each is what that costs them.
    """

    def __init__(self, threads: int, *, thread_name_prefix: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix)
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def submit(
        self, due_s: float, function: Callable[..., _Result], *arguments: Any
    ) -> Future[_Result]:
        """Has a function run when it is its turn.

        It runs in the context of this call, so that its log lines name the request.

        Args:
            due_s: on `time.monotonic`'s clock.
        """
        future: Future[_Result] = Future()
        context = contextvars.copy_context()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(context.run(function, *arguments))
            except BaseException as error:
                future.set_exception(error)

        with self._lock:
            heapq.heappush(self._waiting, (due_s, next(self._numbers), run))
        # There is one turn for each, but it isn't said whose.
        self._threads.submit(self._run_first)
        return future

    def shutdown(self) -> None:
        """Waits for those whose turn it is; what waits is dropped."""
        self._threads.shutdown(cancel_futures=True)

    def _run_first(self) -> None:
        with self._lock:
            _, _, run = heapq.heappop(self._waiting)
        run()
