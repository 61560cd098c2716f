"""The load generator: what a listener hears, and when callers call. No time passes in here."""

import asyncio
import itertools
import math
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import pytest

import tts_client.load
from tts_client.load import (
    NOT_STARTED,
    SENTENCES,
    Listening,
    LoadReport,
    closed_loop,
    heard_in_time,
    in_turn,
    open_loop,
    ramp,
    ramp_steps,
)

T = TypeVar("T")


class _Leaping(selectors.DefaultSelector):
    """Leaps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "all wait, and for nothing"
        self.now_s += max(0.0, timeout)
        return super().select(0)


class _LeapingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = _Leaping()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now_s


def leap(work: Coroutine[Any, Any, T]) -> T:
    """Runs in an event loop whose time passes in leaps."""
    with asyncio.Runner(loop_factory=_LeapingLoop) as runner:
        return runner.run(work)


class Server:
    """Says pieces of 1 s, `pieces` of them with `pause_s` before each."""

    def __init__(self, pieces: int = 2, pause_s: float = 0.5) -> None:
        self._pieces = pieces
        self._pause_s = pause_s
        self.begun: list[tuple[float, str]] = []
        self.open = self.most_open = 0

    async def __call__(self, text: str, /) -> AsyncIterator[float]:
        self.begun.append((asyncio.get_running_loop().time(), text))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            for _ in range(self._pieces):
                await asyncio.sleep(self._pause_s)
                yield 1000.0
        finally:
            self.open -= 1


def test_the_public_names() -> None:
    names = tts_client.load.__all__
    assert {"Speak", "closed_loop", "open_loop", "LoadReport", "Listening"} < set(names)
    assert all(hasattr(tts_client.load, name) for name in names)


def test_each_caller_calls_again_when_it_has_heard_all() -> None:
    server = Server()  # a call takes 1 s

    report = leap(closed_loop(server, SENTENCES, callers=3, duration_s=10))

    assert report.calls == 30
    assert server.most_open == 3
    assert sorted({heard.began_s for heard in report.listenings}) == [*range(10)]
    assert {(h.first_audio_ms, h.audio_ms, h.longest_gap_ms) for h in report.listenings} == {
        (500.0, 2000.0, 500.0)
    }
    assert (report.callers, report.elapsed_s, report.unfinished) == (3, 10.0, 0)
    # What arrives at the very end, at 10.0, is outside.
    assert report.audio_s == 3 * 19


def test_calls_that_are_open_at_the_end_are_heard_to_their_ends() -> None:
    report = leap(closed_loop(Server(4), SENTENCES, callers=2, duration_s=2.5))

    assert [heard.audio_ms for heard in report.listenings] == [4000.0] * 4
    assert report.elapsed_s == 2.5
    assert report.audio_s == 2 * 4  # at 0.5, 1.0, 1.5 and 2.0


def test_the_warm_up_counts_for_nothing() -> None:
    server = Server()

    report = leap(closed_loop(server, SENTENCES, callers=1, duration_s=4, warm_up_s=2.25))

    assert len(server.begun) == 7
    assert [heard.began_s for heard in report.listenings] == [0.75, 1.75, 2.75, 3.75]
    assert report.elapsed_s == 4.0
    assert report.audio_s == 8  # at 2.5, 3.0, ... 6.0, some of a call of the warm-up


def test_callers_say_different_texts_in_an_order_of_the_seed() -> None:
    def said(seed: int) -> list[str]:
        server = Server(1, 1.0)
        leap(closed_loop(server, SENTENCES, callers=4, duration_s=20, seed=seed))
        for second in range(20):
            at_once = [text for _, text in server.begun[second * 4 : second * 4 + 4]]
            assert len(set(at_once)) == 4
        return [text for _, text in server.begun]

    assert said(1) == said(1)
    assert said(1) != said(2)
    assert set(said(1)) == set(SENTENCES)


def test_texts_come_round_after_round() -> None:
    turns = in_turn("abc", seed=5)
    first = [next(turns) for _ in range(3)]
    assert sorted(first) == ["a", "b", "c"]
    assert [next(turns) for _ in range(3)] == first
    later = in_turn("abc", seed=5, caller=4)
    assert [next(later) for _ in range(2)] == first[1:]
    with pytest.raises(ValueError, match="no text"):
        in_turn([], seed=0)


def test_the_texts_that_come_with_it_are_sentences() -> None:
    assert len(set(SENTENCES)) == len(SENTENCES) >= 12
    assert all(60 <= len(text) <= 200 for text in SENTENCES)


def test_who_plays_out_calls_again_when_it_has_played_all() -> None:
    server = Server()  # 2 s of audio from 0.5 s on

    report = leap(closed_loop(server, SENTENCES, callers=1, duration_s=7, plays_out=True))

    assert [heard.began_s for heard in report.listenings] == [0.0, 2.5, 5.0]


def test_failures_are_counted_by_name_and_are_not_repeated_at_once() -> None:
    class Down(Exception):
        pass

    async def speak(text: str, /) -> AsyncIterator[float]:
        yield 40.0
        raise Down("not today")

    report = leap(closed_loop(speak, SENTENCES, callers=2, duration_s=1))

    assert report.errors == {"Down": report.calls}
    assert report.calls <= 22
    assert {heard.message for heard in report.listenings} == {"not today"}
    assert report.listenings[0].first_audio_ms == 0.0


def test_a_load_can_be_ended_early_and_says_what_it_cut_off() -> None:
    async def interrupt() -> LoadReport:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(3.75, stop.set)
        return await closed_loop(server, SENTENCES, callers=2, duration_s=60, stop=stop)

    server = Server()
    report = leap(interrupt())

    assert (report.calls, report.unfinished, server.open) == (6, 2, 0)
    assert report.elapsed_s == 3.75
    assert report.errors == {}


def test_a_load_whose_task_is_cancelled_leaves_no_call_behind() -> None:
    async def cancel() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.25):
                await closed_loop(server, SENTENCES, callers=2, duration_s=60)
        assert server.open == 0

    server = Server()
    leap(cancel())


def test_arrivals_wait_for_nobody() -> None:
    def begun(pause_s: float) -> list[tuple[float, str]]:
        server = Server(1, pause_s)
        report = leap(open_loop(server, SENTENCES, rate_per_s=5, duration_s=100, seed=3))
        assert report.calls == len(server.begun)
        assert report.errors == {}
        assert report.elapsed_s == pytest.approx(100.0)
        return server.begun

    slow, quick = begun(50.0), begun(0.01)

    assert slow == quick
    assert 430 < len(slow) < 570  # 500 +- 3 standard deviations
    gaps = [after - before for (before, _), (after, _) in itertools.pairwise(slow)]
    assert min(gaps) < 0.02 < 0.8 < max(gaps)


def test_arrivals_beyond_the_limit_are_counted_as_not_started() -> None:
    server = Server(1, 1000.0)

    report = leap(open_loop(server, SENTENCES, rate_per_s=5, duration_s=100, in_flight_limit=10))
    free = leap(open_loop(Server(), SENTENCES, rate_per_s=5, duration_s=100))

    assert server.most_open == len(server.begun) == 10
    assert report.calls == free.calls
    assert report.errors == {NOT_STARTED: report.calls - 10}
    refused = next(heard for heard in report.listenings if heard.error)
    assert (refused.first_audio_ms, refused.whole_ms, refused.audio_ms) == (None, 0.0, 0.0)


def test_what_is_due_in_the_warm_up_is_made_and_not_counted() -> None:
    server = Server(1, 0.1)
    report = leap(open_loop(server, SENTENCES, rate_per_s=5, duration_s=50, warm_up_s=50))

    assert len(server.begun) > report.calls > 200
    assert all(0 <= heard.began_s < 50 for heard in report.listenings)


def test_a_call_that_begins_late_has_waited_since_it_was_due() -> None:
    async def hogging(text: str, /) -> AsyncIterator[float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _LeapingLoop)
        loop.selector.now_s += 1.0  # nothing else can begin meanwhile
        yield 40.0

    report = leap(open_loop(hogging, SENTENCES, rate_per_s=2, duration_s=20))

    # Each takes a second, and two are due each second: the last ones wait for about 20 s.
    assert report.first_audio_ms(100) > 10_000


def test_open_loops_can_be_ended_early() -> None:
    async def interrupt() -> LoadReport:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(20.0, stop.set)
        return await open_loop(
            server, SENTENCES, rate_per_s=5, duration_s=60, warm_up_s=10, stop=stop
        )

    server = Server(1, 1000.0)
    report = leap(interrupt())

    assert (report.calls, server.open) == (0, 0)
    assert 20 < report.unfinished < len(server.begun)
    assert report.elapsed_s == pytest.approx(10.0)


@pytest.mark.parametrize(
    "begin",
    [
        lambda: closed_loop(Server(), SENTENCES, callers=0, duration_s=1),
        lambda: closed_loop(Server(), [], callers=1, duration_s=1),
        lambda: closed_loop(Server(), SENTENCES, callers=1, duration_s=0),
        lambda: closed_loop(Server(), SENTENCES, callers=1, duration_s=1, warm_up_s=-1),
        lambda: open_loop(Server(), SENTENCES, rate_per_s=0, duration_s=1),
        lambda: open_loop(Server(), SENTENCES, rate_per_s=math.inf, duration_s=1),
        lambda: open_loop(Server(), SENTENCES, rate_per_s=1, duration_s=math.nan),
        lambda: open_loop(Server(), SENTENCES, rate_per_s=1, duration_s=1, in_flight_limit=0),
        lambda: open_loop(Server(), [], rate_per_s=1, duration_s=1),
    ],
)
def test_numbers_out_of_range_are_refused(
    begin: Callable[[], Coroutine[Any, Any, LoadReport]],
) -> None:
    with pytest.raises(ValueError, match=r"must be|no text"):
        leap(begin())


def test_each_call_is_told_of_as_it_ends() -> None:
    told: list[Listening] = []
    report = leap(
        closed_loop(Server(), SENTENCES, callers=2, duration_s=3, on_listening=told.append)
    )
    assert tuple(told) == report.listenings


def test_a_ramp_ends_with_the_first_step_that_is_too_much() -> None:
    """A server with time for eight callers: it makes 8 s of audio a second, in pieces of 0.1 s."""

    async def speak(text: str, /) -> AsyncIterator[float]:
        nonlocal open_calls
        open_calls += 1
        try:
            for _ in range(10):
                await asyncio.sleep(0.1 / 8 * open_calls)
                yield 100.0
        finally:
            open_calls -= 1

    async def steps() -> list[LoadReport]:
        return [step async for step in ramp(speak, SENTENCES, duration_s=5, warm_up_s=2)]

    open_calls = 0
    reports = leap(steps())

    assert [step.callers for step in reports] == [1, 2, 3, 4, 6, 8, 12]
    assert [heard_in_time(step) for step in reports] == [True] * 6 + [False]
    assert reports[-1].underruns
    assert reports[3].audio_per_s == pytest.approx(8.0, rel=0.05)


def test_a_ramp_has_an_end_in_any_case() -> None:
    async def steps() -> list[int]:
        load = ramp(Server(1, 0.1), SENTENCES, duration_s=1, most_callers=10)
        return [step.callers async for step in load]

    assert leap(steps()) == [1, 2, 3, 4, 6, 8]


def test_the_steps_grow_by_a_half_and_by_a_third() -> None:
    steps = ramp_steps()
    assert [next(steps) for _ in range(10)] == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
