"""Who gets a place at an engine, who waits, and what the others are told."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tts_service.admission import Caller, Gate, Place
from tts_service.config import AdmissionSettings
from tts_service.errors import Overloaded


class _Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def _gate(clock: _Clock, *, slots: int = 2, **limits: float) -> Gate:
    settings = AdmissionSettings(**{"wait_limit_s": 1.0, **limits})  # type: ignore[arg-type]
    return Gate("engine", settings, slots=lambda: slots, clock=clock)


def _caller(name: str, deadline_s: float = float("inf")) -> Caller:
    return Caller("", name, deadline_s)


async def _refused(gate: Gate, caller: Caller) -> Overloaded:
    with pytest.raises(Overloaded) as caught:
        await gate.enter(caller)
    return caught.value


async def _render(gate: Gate, clock: _Clock, seconds: float) -> None:
    """One call that takes so long, alone."""
    with await gate.enter(_caller("")) as place:
        clock.now_s += seconds
        place.close(is_whole=True)


async def test_places_are_given_until_there_are_none() -> None:
    clock = _Clock()
    gate = _gate(clock, queue_limit=0)
    first = await gate.enter(_caller("a"))
    await gate.enter(_caller("b"))
    refusal = await _refused(gate, _caller("c"))
    assert refusal.reason == "OVERLOADED"
    assert refusal.retry_after_ms > 0
    first.close()
    first.close()
    assert gate.active == gate.open == 1
    await gate.enter(_caller("d"))


async def test_who_waits_gets_the_next_place_in_the_order_of_coming() -> None:
    clock = _Clock()
    gate = _gate(clock, slots=1)
    await _render(gate, clock, 0.1)
    place = await gate.enter(_caller("a"))
    waiting = [asyncio.create_task(gate.enter(_caller(name))) for name in "bc"]
    await asyncio.sleep(0)
    assert gate.waiting == 2
    place.close()
    second = await waiting[0]
    assert not waiting[1].done()
    second.close()
    (await waiting[1]).close()
    assert gate.active == gate.waiting == gate.open == 0


async def test_a_wait_that_would_be_too_long_is_not_begun() -> None:
    clock = _Clock()
    gate = _gate(clock, slots=1, wait_limit_s=0.25)
    await _render(gate, clock, 0.1)
    await gate.enter(_caller("a"))
    waiting = [asyncio.create_task(gate.enter(_caller(name))) for name in "bc"]
    await asyncio.sleep(0)
    await _refused(gate, _caller("d"))  # it would be the third, behind 0.3 s
    assert gate.waiting == 2
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert gate.waiting == 0


async def test_who_has_less_time_than_the_wait_is_refused_at_once() -> None:
    clock = _Clock()
    gate = _gate(clock, slots=1)
    await _render(gate, clock, 0.5)
    await gate.enter(_caller("a"))
    await _refused(gate, _caller("b", deadline_s=clock.now_s + 0.4))
    task = asyncio.create_task(gate.enter(_caller("c", deadline_s=clock.now_s + 0.6)))
    await asyncio.sleep(0)
    assert gate.waiting == 0  # somebody was refused just now: the line stays empty
    with pytest.raises(Overloaded):
        await task
    clock.now_s += 3
    task = asyncio.create_task(gate.enter(_caller("d", deadline_s=clock.now_s + 0.6)))
    await asyncio.sleep(0)
    assert gate.waiting == 1
    task.cancel()


async def test_a_wait_ends_after_its_limit_with_a_place() -> None:
    gate = Gate("engine", AdmissionSettings(wait_limit_s=0.05), slots=lambda: 1)
    with await gate.enter(_caller("")) as place:
        place.close(is_whole=True)
    place = await gate.enter(_caller("a"))
    late = await asyncio.wait_for(gate.enter(_caller("b")), 5)
    assert (gate.active, gate.open, gate.waiting) == (2, 2, 0)
    late.close()
    place.close()
    assert gate.active == gate.open == 0


async def test_those_who_were_promised_a_place_find_one_though_all_come_at_once() -> None:
    clock = _Clock()
    gate = _gate(clock, slots=4, queue_limit=0)
    await _render(gate, clock, 0.4)
    places = [await gate.enter(_caller(f"a{number}")) for number in range(4)]
    names = [f"r{number}" for number in range(9)]
    hints_ms = [(await _refused(gate, _caller(name))).retry_after_ms for name in names]
    clock.now_s += max(hints_ms) / 1000
    places += [await gate.enter(_caller(name)) for name in names[:8]]
    await _refused(gate, _caller(names[8]))  # three times as many calls as the engine does well
    assert gate.active == gate.open == 12


async def test_who_leaves_the_line_as_its_turn_comes_gives_the_place_back() -> None:
    clock = _Clock()
    gate = _gate(clock, slots=1)
    await _render(gate, clock, 0.1)
    place = await gate.enter(_caller("a"))
    task = asyncio.create_task(gate.enter(_caller("b")))
    await asyncio.sleep(0)
    place.close()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.active == gate.open == gate.waiting == 0


async def test_who_waits_for_its_listener_leaves_its_place_to_others() -> None:
    clock = _Clock()
    gate = _gate(clock, slots=1, queue_limit=0)
    slow = await gate.enter(_caller("slow"))
    with slow.idle():
        quick = await gate.enter(_caller("quick"))
        assert (gate.active, gate.open) == (1, 2)
        await _refused(gate, _caller("third"))
    assert gate.active == 2  # it goes on without asking
    await _refused(gate, _caller("fourth"))
    quick.close()
    slow.close()
    assert gate.active == gate.open == 0


async def test_open_calls_have_a_bound_of_their_own() -> None:
    gate = _gate(_Clock(), open_calls_limit=3)
    places = [await gate.enter(_caller(""))]
    with places[0].idle():
        places.append(await gate.enter(_caller("")))
        with places[1].idle():
            places.append(await gate.enter(_caller("")))
            assert (await _refused(gate, _caller(""))).reason == "TOO_MANY_CALLS"


async def test_hints_are_as_far_apart_as_calls_take() -> None:
    clock = _Clock()
    gate = _gate(clock, slots=1, queue_limit=0)
    await _render(gate, clock, 0.4)
    await gate.enter(_caller("a"))
    hints_ms = [(await _refused(gate, _caller(f"r{n}"))).retry_after_ms for n in range(5)]
    # Two fifths of the time are left for newcomers.
    assert hints_ms == [400, 1067, 1733, 2400, 3067]


async def test_who_comes_again_when_told_goes_before_newcomers() -> None:
    clock = _Clock()
    gate = _gate(clock, slots=2, queue_limit=0)
    await _render(gate, clock, 0.4)
    for name in "ab":
        await gate.enter(_caller(name))
    hint_ms = (await _refused(gate, _caller("c"))).retry_after_ms
    clock.now_s += hint_ms / 1000
    await _refused(gate, _caller("newcomer"))
    await gate.enter(_caller("c"))
    await _refused(gate, _caller("c"))  # a promise is kept once


async def test_who_comes_too_early_keeps_its_time() -> None:
    clock = _Clock()
    gate = _gate(clock, slots=1, queue_limit=0)
    await _render(gate, clock, 2.0)
    await gate.enter(_caller("a"))
    hint_ms = (await _refused(gate, _caller("b"))).retry_after_ms
    clock.now_s += 0.5
    assert (await _refused(gate, _caller("b"))).retry_after_ms == hint_ms - 500


async def test_callers_who_never_come_again_don_t_make_the_others_wait() -> None:
    clock = _Clock()
    gate = _gate(clock, slots=1, queue_limit=0)
    await _render(gate, clock, 0.1)
    await gate.enter(_caller("a"))
    longest_ms = 0
    for number in range(20_000):  # 20 a second, of whom nobody comes again
        clock.now_s += 0.05
        hint_ms = (await _refused(gate, _caller(f"r{number}"))).retry_after_ms
        if number > 10_000:
            longest_ms = max(longest_ms, hint_ms)
    assert longest_ms < 1000


async def test_promises_are_bounded() -> None:
    clock = _Clock()
    gate = _gate(clock, slots=1, queue_limit=0, promises_limit=3)
    await _render(gate, clock, 1.0)
    await gate.enter(_caller("a"))
    hints_ms = [(await _refused(gate, _caller(f"r{n}"))).retry_after_ms for n in range(6)]
    assert hints_ms[3:] == [hints_ms[3]] * 3


async def test_a_call_s_share_is_the_same_whether_many_share_or_one_after_another() -> None:
    clock = _Clock()
    gate = _gate(clock, slots=4)
    places = [await gate.enter(_caller("")) for _ in range(4)]
    clock.now_s += 2.0  # four calls in two seconds
    for place in places:
        place.close(is_whole=True)
    blocker = [await gate.enter(_caller("")) for _ in range(4)]
    refusal = await _refused(_full(gate), _caller("x"))
    assert refusal.retry_after_ms == 500
    for place in blocker:
        place.close()


def _full(gate: Gate) -> Gate:
    gate._limits = AdmissionSettings(queue_limit=0)
    return gate


async def test_calls_that_were_cut_say_nothing_of_what_calls_take() -> None:
    clock = _Clock()
    gate = _gate(clock, slots=1, queue_limit=0)
    await _render(gate, clock, 1.0)
    place = await gate.enter(_caller(""))
    clock.now_s += 100.0
    place.close()
    await gate.enter(_caller("a"))
    assert (await _refused(gate, _caller("b"))).retry_after_ms == 1000


async def test_no_place_is_ever_lost() -> None:
    """Callers who come, wait, idle, leave and are cancelled at random."""
    chance = random.Random(7)
    gate = Gate("engine", AdmissionSettings(wait_limit_s=0.01, queue_limit=8), slots=lambda: 3)
    entered = refused = 0

    @asynccontextmanager
    async def place_of(name: str) -> AsyncIterator[Place]:
        place = await gate.enter(_caller(name))
        try:
            yield place
        finally:
            place.close(is_whole=chance.random() < 0.7)

    async def call(name: str) -> None:
        nonlocal entered, refused
        try:
            async with place_of(name) as place:
                entered += 1
                assert gate.open >= 1
                await asyncio.sleep(chance.random() / 200)
                if chance.random() < 0.3:
                    with place.idle():
                        await asyncio.sleep(chance.random() / 200)
                await asyncio.sleep(0)
        except Overloaded:
            refused += 1

    tasks = []
    for number in range(2000):
        tasks.append(asyncio.create_task(call(str(number % 500))))
        if chance.random() < 0.2:
            chance.choice(tasks).cancel()
        if chance.random() < 0.3:
            await asyncio.sleep(chance.random() / 500)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [end for end in ends if not isinstance(end, asyncio.CancelledError | None)]
    assert entered > 100
    assert refused > 100
    assert gate.active == gate.open == gate.waiting == 0
