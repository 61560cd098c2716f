"""Threads on which renders take turns.

Who hears nothing yet goes first, then whoever runs out of sound soonest.
"""

import contextvars
import heapq
import itertools
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

from .listener import Listener

__all__ = ["Turns"]

_Result = TypeVar("_Result")
# When it is due, its number, and what is to be run.
_Turn: TypeAlias = tuple[float, int, Callable[[], None]]

# Beside a thread that isn't, one so much nicer gets a tenth of a core (sched(7)): enough for a
# window before its listener has heard what there is.
_GIVE_WAY_NICENESS = 10


class Turns:
    """Runs functions on a number of threads, the one that is due soonest first.

    Who hears nothing yet goes before all others. Renders whose listeners can wait run beside the
    others, on as many threads that give way to them: what they cost a newcomer is a window no
    longer.

    Args:
        threads: how many.
        give_way_threads: of those whose listeners can wait; 0: they are as the others.
    """

    def __init__(self, threads: int, *, give_way_threads: int = 0, thread_name_prefix: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix)
        self._give_way_threads = (
            ThreadPoolExecutor(give_way_threads, f"{thread_name_prefix}-ahead", _give_way)
            if give_way_threads
            else None
        )
        self._waiting: list[_Turn] = []
        self._waiting_ahead: list[_Turn] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def submit(
        self, listener: Listener, function: Callable[..., _Result], *arguments: Any
    ) -> Future[_Result]:
        """Has a function run when it is its turn.

        It runs in the context of this call, so that its log lines name the request.
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

        turn = (listener.due_s, next(self._numbers), run)
        # There is one call for each, but it isn't said whose.
        if self._give_way_threads is not None and listener.can_wait:
            with self._lock:
                heapq.heappush(self._waiting_ahead, turn)
            self._give_way_threads.submit(self._run_first_ahead)
        else:
            with self._lock:
                heapq.heappush(self._waiting, turn)
            self._threads.submit(self._run_first)
        return future

    def shutdown(self) -> None:
        """Waits for those whose turn it is; what waits is dropped."""
        self._threads.shutdown(cancel_futures=True)
        if self._give_way_threads is not None:
            self._give_way_threads.shutdown(cancel_futures=True)

    def _run_first(self) -> None:
        with self._lock:
            # Who could wait, and has waited too long, goes first here.
            if self._waiting_ahead and self._waiting_ahead[0] < self._waiting[0]:
                _, _, run = heapq.heappop(self._waiting_ahead)
                self._threads.submit(self._run_first)
            else:
                _, _, run = heapq.heappop(self._waiting)
        run()

    def _run_first_ahead(self) -> None:
        with self._lock:
            if not self._waiting_ahead:  # the other threads have run it
                return
            _, _, run = heapq.heappop(self._waiting_ahead)
        run()


def _give_way() -> None:
    """Has the kernel run the calling thread when others leave it time."""
    # Linux counts it by thread, elsewhere it would be the whole process. It adds to the server's
    # own, below which only root may go.
    if sys.platform == "linux":
        os.nice(_GIVE_WAY_NICENESS)
