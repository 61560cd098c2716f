"""Turns: who is due soonest goes first, and nobody else's error or absence is in the way."""

import os
import sys
import threading
import time
from concurrent.futures import Future

import pytest

from tts_service.engines.listener import Listener
from tts_service.engines.turns import Turns


def _due(due_s: float) -> Listener:
    listener = Listener()
    listener.due_s = due_s
    return listener


def _held(turns: Turns, listener: Listener | None = None) -> tuple[threading.Event, Future[bool]]:
    """Keeps the only thread for such listeners busy until the event is set."""
    release, begun = threading.Event(), threading.Event()

    def hold() -> bool:
        begun.set()
        return release.wait(10)

    held = turns.submit(listener or _due(0.0), hold)
    assert begun.wait(10)
    return release, held


def test_who_is_due_soonest_goes_first() -> None:
    turns, order = Turns(1, thread_name_prefix="turn"), []
    release, held = _held(turns)
    waiting = [
        turns.submit(_due(due_s), order.append, due_s) for due_s in (3.0, 1.0, 2.0, 1.0, -5.0)
    ]
    release.set()
    for future in [held, *waiting]:
        future.result(10)
    turns.shutdown()
    assert order == [-5.0, 1.0, 1.0, 2.0, 3.0]


def test_those_who_gave_up_and_those_who_failed_leave_the_others_their_turns() -> None:
    turns = Turns(1, thread_name_prefix="turn")
    release, _ = _held(turns)
    gone = turns.submit(_due(1.0), lambda: "gone")
    failing = turns.submit(_due(2.0), int, "not a number")
    last = turns.submit(_due(3.0), lambda: "last")
    assert gone.cancel()
    release.set()
    assert last.result(10) == "last"
    with pytest.raises(ValueError, match="not a number"):
        failing.result(10)
    turns.shutdown()


def test_as_many_run_at_once_as_there_are_threads() -> None:
    turns = Turns(3, thread_name_prefix="turn")
    together = threading.Barrier(3)
    for future in [turns.submit(_due(float(n)), together.wait, 10) for n in range(6)]:
        future.result(10)
    turns.shutdown()


def test_who_can_wait_runs_beside_the_others_and_gives_way() -> None:
    turns = Turns(1, give_way_threads=1, thread_name_prefix="turn")
    release, held = _held(turns)
    niceness = turns.submit(Listener(60_000), _niceness)
    assert niceness.result(10) == (
        min(19, os.nice(0) + 10) if sys.platform == "linux" else os.nice(0)
    )
    release.set()
    held.result(10)
    assert turns.submit(Listener(), _niceness).result(10) == os.nice(0)
    turns.shutdown()


class _Patient(Listener):
    """Could wait when it came, however soon it is due by now."""

    can_wait = True  # type: ignore[assignment]


def test_who_could_wait_and_has_waited_too_long_runs_with_the_others() -> None:
    turns, order = Turns(1, give_way_threads=1, thread_name_prefix="turn"), []
    release, held = _held(turns)
    release_ahead, held_ahead = _held(turns, _Patient())
    waited = _Patient()
    waited.due_s = 2.0
    waiting = [turns.submit(waited, order.append, "waited")]
    waiting += [turns.submit(_due(due_s), order.append, due_s) for due_s in (3.0, 1.0)]
    release.set()
    for future in [held, *waiting]:
        future.result(10)
    assert order == [1.0, "waited", 3.0]
    release_ahead.set()
    held_ahead.result(10)
    turns.shutdown()


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


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


def test_who_is_slower_to_take_sound_than_to_play_it_has_enough_of_it() -> None:
    listener = Listener(0, 5000)
    listener.gets(0.5)
    with listener.takes(60.0):  # taken at once
        pass
    assert not listener.can_wait
    with listener.takes(0.01):
        time.sleep(0.02)
    assert time.monotonic() + 4.0 < listener.due_s < time.monotonic() + 5.0
    assert listener.can_wait


def test_who_hears_nothing_yet_goes_before_who_is_late() -> None:
    late, new = Listener(1), Listener()
    time.sleep(0.01)
    assert late.due_s < time.monotonic()
    assert new.due_s < late.due_s
