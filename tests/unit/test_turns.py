"""Turns: who is due soonest goes first, and nobody else's error or absence is in the way."""

import threading
import time
from concurrent.futures import Future

import pytest

from tts_service.engines.turns import Listener, Turns


def _held(turns: Turns) -> tuple[threading.Event, Future[bool]]:
    """Keeps the only thread busy until the event is set."""
    release, begun = threading.Event(), threading.Event()

    def hold() -> bool:
        begun.set()
        return release.wait(10)

    held = turns.submit(0.0, hold)
    assert begun.wait(10)
    return release, held


def test_who_is_due_soonest_goes_first() -> None:
    turns, order = Turns(1, thread_name_prefix="turn"), []
    release, held = _held(turns)
    waiting = [turns.submit(due_s, order.append, due_s) for due_s in (3.0, 1.0, 2.0, 1.0, -5.0)]
    release.set()
    for future in [held, *waiting]:
        future.result(10)
    turns.shutdown()
    assert order == [-5.0, 1.0, 1.0, 2.0, 3.0]


def test_those_who_gave_up_and_those_who_failed_leave_the_others_their_turns() -> None:
    turns = Turns(1, thread_name_prefix="turn")
    release, _ = _held(turns)
    gone = turns.submit(1.0, lambda: "gone")
    failing = turns.submit(2.0, int, "not a number")
    last = turns.submit(3.0, lambda: "last")
    assert gone.cancel()
    release.set()
    assert last.result(10) == "last"
    with pytest.raises(ValueError, match="not a number"):
        failing.result(10)
    turns.shutdown()


def test_as_many_run_at_once_as_there_are_threads() -> None:
    turns = Turns(3, thread_name_prefix="turn")
    together = threading.Barrier(3)
    for future in [turns.submit(float(n), together.wait, 10) for n in range(6)]:
        future.result(10)
    turns.shutdown()


def test_a_listener_is_due_when_all_is_heard() -> None:
    before = time.monotonic()
    new, ahead = Listener(), Listener(2000)
    assert new.due_s < ahead.due_s
    assert ahead.due_s >= before + 2.0
    due_s = ahead.due_s
    ahead.gets(0.5)
    assert ahead.due_s == due_s + 0.5
    new.gets(0.5)  # nothing was heard before, and that is not made up for
    assert before + 0.5 <= new.due_s < ahead.due_s


def test_who_hears_nothing_yet_goes_before_who_is_late() -> None:
    late, new = Listener(1), Listener()
    time.sleep(0.01)
    assert late.due_s < time.monotonic()
    assert new.due_s < late.due_s
