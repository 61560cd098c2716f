"""A response that is being made and heard by many: paces, bounds, leaving, failing."""

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest

from tts_service.errors import EngineUnavailable, Overloaded
from tts_service.synthesis.events import Frame
from tts_service.synthesis.flight import Flight, Flights, Reader
from tts_service.synthesis.rendition import Totals

_FRAME_MS = 100
_FRAME_BYTES = 10
_LEAD_MS = 1000
_TOTALS = Totals(sample_count=1, byte_count=2, crc32c=3)
# Frames that are made before the first is heard: the lead, and the one that goes beyond it.
_AHEAD = _LEAD_MS // _FRAME_MS + 1


def _frame(number: int) -> Frame:
    data = number.to_bytes(_FRAME_BYTES, "big")
    return Frame(data, number, number * _FRAME_MS, _FRAME_MS, number, number + 1)


def _flight(limit_bytes: int = 1 << 20) -> Flight:
    return Flight(seed=None, lead_ms=_LEAD_MS, limit_bytes=limit_bytes)


def _maker(flight: Flight, count: int, made: list[int]) -> Callable[[], Awaitable[None]]:
    """Makes so many frames, noting the number of each that it has begun to hand over."""

    async def make() -> None:
        for number in range(count):
            made.append(number)
            await flight.append([_frame(number)])
        flight.end(_TOTALS)

    return make


def _start(
    flights: Flights,
    flight: Flight,
    count: int,
    *,
    key: str | None = "key",
    is_nearly_done: Callable[[], bool] = lambda: False,
) -> list[int]:
    made: list[int] = []
    flights.start(flight, _maker(flight, count, made), key=key, is_nearly_done=is_nearly_done)
    return made


async def _settle() -> None:
    """Lets everybody go on for as long as they can by themselves."""
    for _ in range(500):
        await asyncio.sleep(0)


async def _hear(
    reader: Reader, count: int | None = None, *, into: list[int] | None = None
) -> list[int]:
    """Reads so many frames, or all of them; returns their numbers."""
    heard = [] if into is None else into
    async with aclosing(reader.frames()) as frames:
        async for frame in frames:
            heard.append(frame.sequence)
            if len(heard) == count:
                break
    return heard


async def test_all_hear_all_of_it_the_late_ones_from_its_start() -> None:
    flights, flight = Flights(), _flight()
    first = flight.join()
    _start(flights, flight, 50)
    assert await _hear(first, 30) == list(range(30))
    assert flights.find("key") is flight
    late = flight.join()
    assert await _hear(late) == list(range(50))
    assert await _hear(first) == list(range(30, 50))
    assert flight.totals == _TOTALS
    assert flights.find("key") is None
    await _settle()
    assert len(flights) == 0


async def test_it_is_not_far_ahead_of_its_quickest_reader() -> None:
    flights, flight = Flights(), _flight()
    quick, slow = flight.join(), flight.join()
    made = _start(flights, flight, 100)
    await _settle()
    assert len(made) == _AHEAD
    await _hear(quick, 40)
    await _settle()
    assert len(made) == 40 + _AHEAD
    # The quick one leaves; now the slow one is the quickest, and is far behind.
    quick.leave()
    await _hear(slow, 20)
    await _settle()
    assert len(made) == 40 + _AHEAD
    assert await _hear(slow) == list(range(20, 100))


async def test_nobody_waits_for_the_slow_one_of_a_large_flight() -> None:
    flights, flight = Flights(), _flight(limit_bytes=30 * _FRAME_BYTES)
    quick, slow = flight.join(), flight.join()
    _start(flights, flight, 200)
    assert await _hear(slow, 10) == list(range(10))
    assert await _hear(quick, 50) == list(range(50))
    await _settle()
    assert not flight.is_whole
    assert flights.find("key") is None
    with pytest.raises(RuntimeError):
        flight.join()
    assert await _hear(quick) == list(range(50, 200))
    assert len(flight.frames) <= 30
    with pytest.raises(Overloaded, match="too slowly"):
        await _hear(slow)


async def test_who_is_a_little_behind_in_a_large_flight_hears_all() -> None:
    flights, flight = Flights(), _flight(limit_bytes=30 * _FRAME_BYTES)
    quick, slow = flight.join(), flight.join()
    _start(flights, flight, 200)
    heard: list[int] = []
    for _ in range(10):
        await _hear(quick, 20)
        heard += await _hear(slow, 20)
    assert heard == list(range(200))


async def test_what_was_read_of_a_flight_of_ones_own_is_dropped() -> None:
    flights = Flights()
    flight = Flight(seed=None, lead_ms=_LEAD_MS, limit_bytes=1 << 20, is_shared=False)
    reader = flight.join()
    _start(flights, flight, 200, key=None)
    assert await _hear(reader, 150) == list(range(150))
    await _settle()
    assert len(flight.frames) == _AHEAD
    assert await _hear(reader) == list(range(150, 200))


async def test_many_readers_of_any_pace_who_come_and_go() -> None:
    draw = random.Random(7)
    for limit_bytes in (1 << 20, 200 * _FRAME_BYTES):
        flights, flight = Flights(), _flight(limit_bytes)

        async def one(
            flight: Flight = flight, begin: int = 0, pace: int = 0, leaves: int | None = None
        ) -> list[int] | None:
            for _ in range(begin):
                await asyncio.sleep(0)
            if not flight.is_whole:
                return None
            reader, heard = flight.join(), []
            try:
                async with aclosing(reader.frames()) as frames:
                    async for frame in frames:
                        heard.append(frame.sequence)
                        if len(heard) == leaves:
                            return None
                        for _ in range(draw.randrange(pace + 1)):
                            await asyncio.sleep(0)
            except Overloaded:
                return None
            finally:
                reader.leave()
            return heard

        stays = asyncio.create_task(one(pace=3))
        await asyncio.sleep(0)
        _start(flights, flight, 300)
        others = [
            asyncio.create_task(
                one(
                    begin=draw.randrange(50),
                    pace=draw.randrange(8),
                    leaves=draw.choice([None, draw.randrange(1, 300)]),
                )
            )
            for _ in range(40)
        ]
        results = [await stays, *[await other for other in others]]
        whole = [result for result in results if result is not None]
        # Of a large one those are left who keep up.
        assert len(whole) > (5 if flight.is_whole else 0)
        assert all(result == list(range(300)) for result in whole)
        await _settle()
        assert len(flights) == 0


async def test_when_the_last_one_leaves_the_work_ends() -> None:
    flights, flight = Flights(), _flight()
    readers = [flight.join() for _ in range(3)]
    made = _start(flights, flight, 100)
    await _settle()
    for reader in readers[:2]:
        reader.leave()
        reader.leave()
    await _settle()
    assert flights.find("key") is flight
    readers[2].leave()
    # At once, so that the next one doesn't join what is about to end.
    assert flights.find("key") is None
    await _settle()
    assert len(flights) == 0
    assert len(made) == _AHEAD


async def test_what_is_nearly_done_is_finished_without_readers_and_may_be_joined() -> None:
    flights, flight = Flights(), _flight()
    reader = flight.join()
    made = _start(flights, flight, 100, is_nearly_done=lambda: True)
    await _settle()
    reader.leave()
    assert flights.find("key") is flight
    late = flight.join()
    assert await _hear(late, 5) == list(range(5))
    late.leave()
    await _settle()
    assert len(made) == 100
    assert flight.is_whole
    assert flight.totals == _TOTALS
    assert len(flight.frames) == 100


async def test_all_get_the_same_error_behind_the_last_frame() -> None:
    flights, flight = Flights(), _flight()
    readers = [flight.join() for _ in range(3)]

    async def where_it_happens() -> None:
        raise EngineUnavailable("stand-in", "is lost", reason="WORKER_LOST")

    async def make() -> None:
        await flight.append([_frame(n) for n in range(5)])
        await where_it_happens()

    flights.start(flight, make, key="key", is_nearly_done=lambda: False)

    async def fail(reader: Reader) -> tuple[list[int], Exception, str]:
        heard: list[int] = []
        with pytest.raises(EngineUnavailable) as caught:
            await _hear(reader, into=heard)
        return heard, caught.value, "".join(traceback.format_exception(caught.value))

    for heard, error, trace in await asyncio.gather(*map(fail, readers)):
        assert heard == list(range(5))
        assert isinstance(error, EngineUnavailable)
        assert error.reason == "WORKER_LOST"
        # Who reads the log finds the fault, and not just where it was handed on.
        assert trace.count("in where_it_happens") == 1
    assert flights.find("key") is None
    with pytest.raises(RuntimeError):
        _ = flight.totals


async def test_work_that_is_cancelled_from_within_leaves_nobody_waiting() -> None:
    flights, flight = Flights(), _flight()
    reader = flight.join()

    async def make() -> None:
        raise asyncio.CancelledError

    flights.start(flight, make, key="key", is_nearly_done=lambda: False)
    heard = asyncio.create_task(_hear(reader))
    await _settle()
    assert heard.done()
    with pytest.raises(RuntimeError):
        heard.result()
    await _settle()
    assert len(flights) == 0


async def test_a_later_flight_takes_the_key_and_keeps_it() -> None:
    flights, old, new = Flights(), _flight(), _flight()
    old_reader, new_reader = old.join(), new.join()
    _start(flights, old, 100)
    _start(flights, new, 100)
    assert flights.find("key") is new
    old_reader.leave()
    await _settle()
    assert flights.find("key") is new
    assert not flights.holds("key", old)
    assert flights.holds("key", new)
    assert await _hear(new_reader) == list(range(100))


async def test_what_has_no_key_is_not_found() -> None:
    flights, flight = Flights(), _flight()
    reader = flight.join()
    _start(flights, flight, 3, key=None)
    assert flights.find("key") is None
    assert await _hear(reader) == [0, 1, 2]


async def test_closing_ends_all_work() -> None:
    flights = Flights()
    for key in ("one", "other"):
        flight = _flight()
        flight.join()
        _start(flights, flight, 100, key=key)
    await _settle()
    assert len(flights) == 2
    await flights.close()
    assert len(flights) == 0
