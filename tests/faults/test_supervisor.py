"""One supervisor and its real worker, which is made to fail in every way there is."""

import asyncio
import gc
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from tts_service.engines.base import RenderJob
from tts_service.engines.tone import ToneEngine
from tts_service.errors import EngineUnavailable, NotPossible, RenderFailed, ServiceError
from tts_service.fleet import (
    Connection,
    EngineState,
    LostReason,
    SegmentJob,
    Speaker,
    Supervisor,
    WorkerCommand,
    WorkerLimits,
)

_LIMITS = WorkerLimits(
    start_timeout_s=60.0,
    health_interval_s=0.5,
    progress_timeout_s=1.5,
    drain_s=10.0,
    memory_growth_bytes=0,
    failure_limit=1000,
    retry_s=3.0,
)
_MIB = 1 << 20


class _Supervised(Supervisor):
    """A supervisor of the tone engine that keeps the reasons of its losses."""

    losses_of_all: ClassVar[list[str]] = []

    def __init__(self, real_time_factor: float, limits: WorkerLimits) -> None:
        self.losses: list[str] = []
        options = {"misbehaves": "true", "real_time_factor": str(real_time_factor)}
        super().__init__(
            WorkerCommand("tone", options, log_level="error"),
            limits,
            on_change=self._nothing,
            on_lost=self._lost,
        )

    def _lost(self, engine: str, reason: str) -> None:
        assert engine == "tone"
        self.losses.append(reason)
        self.losses_of_all.append(reason)

    @staticmethod
    async def _nothing() -> None:
        pass

    async def samples(self, text: str, connection: Connection | None = None) -> NDArray[np.float32]:
        """Has a text spoken."""
        connection = connection or await self.connection(30.0)
        async with connection.render(_job(text), request_id="r") as stream:
            return np.concatenate([audio.samples async for audio in stream.audio])

    async def successor(self, connection: Connection) -> Connection:
        """The next worker's connection, which speaks as the one before it did."""
        found = await self.connection(30.0, successor_of=connection)
        assert np.array_equal(await self.samples("As before"), _tones("As before"))
        return found


def _job(text: str) -> SegmentJob:
    return SegmentJob(text, (Speaker("tone-low"),), "en")


def _tones(text: str) -> NDArray[np.float32]:
    render = ToneEngine().render(RenderJob(text, "tone-low", "en"))
    return np.concatenate([chunk.samples for chunk in render])


@asynccontextmanager
async def _supervised(
    *, real_time_factor: float = 0.0, **limits: float
) -> AsyncIterator[tuple[_Supervised, Connection]]:
    supervisor = _Supervised(real_time_factor, replace(_LIMITS, **limits))  # type: ignore[arg-type]
    running = asyncio.create_task(supervisor.run())
    try:
        yield supervisor, await supervisor.connection(60.0)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _worker(supervisor: Supervisor) -> psutil.Process:
    assert supervisor.pid is not None
    return psutil.Process(supervisor.pid)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what it waits for comes from a process
            await asyncio.sleep(0.02)


async def _is_killed() -> None:
    async with _supervised() as (supervisor, connection):
        assert supervisor.restarts == 0
        assert supervisor.ready_since_s is not None
        worker = _worker(supervisor)
        worker.kill()
        await supervisor.successor(connection)
        assert supervisor.losses == [LostReason.KILLED]
        assert supervisor.restarts == 1
        assert supervisor.pid != worker.pid


async def _exits() -> None:
    async with _supervised() as (supervisor, connection):
        with pytest.raises(EngineUnavailable) as caught:
            await supervisor.samples("Bang ☠", connection)
        assert caught.value.reason == "WORKER_LOST"
        assert caught.value.retry_after_ms
        await supervisor.successor(connection)
        assert supervisor.losses == [LostReason.EXIT]


async def _is_stopped() -> None:
    async with _supervised(progress_timeout_s=60.0) as (supervisor, connection):
        _worker(supervisor).suspend()
        with pytest.raises(EngineUnavailable, match="it hung") as caught:
            await supervisor.samples("Anybody there?", connection)
        assert caught.value.reason == "WORKER_LOST"
        await supervisor.successor(connection)
        assert supervisor.losses == [LostReason.SILENT]


async def _hangs_in_a_render() -> None:
    """While others get on, it isn't blamed."""
    async with _supervised(real_time_factor=1.0) as (supervisor, connection):
        text = "This one takes over two and a half seconds."
        hanging = asyncio.create_task(supervisor.samples("Hang on ⏸", connection))
        assert np.array_equal(await supervisor.samples(text, connection), _tones(text))
        assert not hanging.done()
        with pytest.raises(EngineUnavailable, match="it hung") as caught:
            await hanging
        assert caught.value.reason == "WORKER_LOST"
        await supervisor.successor(connection)
        assert supervisor.losses == [LostReason.STUCK]


async def _hangs_for_callers_who_leave_soon() -> None:
    async with _supervised() as (supervisor, connection):
        while not supervisor.losses:
            with pytest.raises((TimeoutError, ServiceError)):
                await asyncio.wait_for(supervisor.samples("⏸ who?", connection), 0.5)
        await supervisor.successor(connection)
        assert supervisor.losses == [LostReason.STUCK]


async def _answers_with_bad_audio() -> None:
    async with _supervised(real_time_factor=1.0) as (supervisor, connection):
        assert len(await supervisor.samples("Well", connection))
        text = "Who is speaking meanwhile is let finish."
        speaking = asyncio.create_task(supervisor.samples(text, connection))
        for number, bad in enumerate("∅∞∅"):
            assert not supervisor.losses
            with pytest.raises(RenderFailed, match="no sound"):
                await supervisor.samples(f"No. {number} {bad}", connection)
        await supervisor.successor(connection)
        assert np.array_equal(await speaking, _tones(text))
        assert supervisor.losses == [LostReason.BAD_AUDIO]


async def _answers_with_bad_audio_now_and_then() -> None:
    async with _supervised() as (supervisor, connection):
        for _ in range(5):
            for _ in range(2):
                with pytest.raises(RenderFailed):
                    await supervisor.samples("Bad ∅", connection)
            assert len(await supervisor.samples("Good", connection))
        await asyncio.sleep(0.5)
        assert not supervisor.losses


async def _leaks() -> None:
    async with _supervised(real_time_factor=1.0, memory_growth_bytes=180 * _MIB) as (
        supervisor,
        connection,
    ):
        text = "Who is speaking meanwhile is let finish, and the next one waits."
        speaking = asyncio.create_task(supervisor.samples(text, connection))
        await supervisor.samples("⚖⚖", connection)
        await asyncio.sleep(2 * _LIMITS.health_interval_s)
        assert not supervisor.losses
        assert supervisor.state is EngineState.READY
        await supervisor.samples("⚖", connection)
        await supervisor.successor(connection)
        assert np.array_equal(await speaking, _tones(text))
        assert supervisor.losses == [LostReason.MEMORY]


async def _leaks_fast() -> None:
    async with _supervised(real_time_factor=1.0, memory_growth_bytes=100 * _MIB) as (
        supervisor,
        connection,
    ):
        with pytest.raises(EngineUnavailable, match="too large"):
            await supervisor.samples("⚖⚖⚖ and on, longer than anybody waits" * 9, connection)
        await supervisor.successor(connection)
        assert supervisor.losses == [LostReason.MEMORY]


async def _is_slow() -> None:
    """But alive: a sound every 0.3 s, for longer than nothing may come."""
    async with _supervised(real_time_factor=5.0, progress_timeout_s=3.0) as (supervisor, _):
        assert np.array_equal(await supervisor.samples("Slow but sure"), _tones("Slow but sure"))
        assert not supervisor.losses


async def _has_a_slow_reader() -> None:
    async with _supervised() as (supervisor, connection):
        async with connection.render(_job("Nobody waits for this"), request_id="r") as stream:
            await anext(aiter(stream.audio))
            await asyncio.sleep(3.0)
            assert len([audio async for audio in stream.audio]) == 20
        assert not supervisor.losses


async def _gets_a_text_that_ends_it() -> None:
    """It is refused after three workers, and only it is."""
    async with _supervised() as (supervisor, first):
        connection = first
        for _ in range(3):
            with pytest.raises(EngineUnavailable):
                await supervisor.samples("☠ again", connection)
            connection = await supervisor.successor(connection)
        with pytest.raises(NotPossible) as caught:
            await supervisor.samples("☠ again", connection)
        assert caught.value.reason == "TEXT_ENDS_WORKERS"
        assert supervisor.losses == [LostReason.EXIT] * 3
        assert len(await supervisor.samples("Another text"))


async def _breaks() -> None:
    async with _supervised(failure_limit=2) as (supervisor, first):
        _worker(supervisor).kill()
        second = await supervisor.successor(first)
        waiting = asyncio.create_task(supervisor.connection(60.0, successor_of=second))
        _worker(supervisor).kill()
        with pytest.raises(EngineUnavailable):  # who waits is told, too
            await waiting
        for _ in range(3):
            with pytest.raises(EngineUnavailable) as caught:
                async with asyncio.timeout(1):
                    await supervisor.connection(60.0)
            assert caught.value.reason == "ENGINE_BROKEN"
            assert 1000 <= (caught.value.retry_after_ms or 0) <= 5000
        assert supervisor.state is EngineState.BROKEN
        await _until(lambda: supervisor.state is EngineState.READY)
        # One that comes up serves, but is on probation.
        assert len(await supervisor.samples("Back"))
        _worker(supervisor).kill()
        await _until(lambda: supervisor.state is EngineState.BROKEN)
        await _until(lambda: len(supervisor.losses) == 3)


async def _never_starts() -> None:
    supervisor = _Supervised(0.0, replace(_LIMITS, start_timeout_s=0.01))
    running = asyncio.create_task(supervisor.run())
    try:
        with pytest.raises(EngineUnavailable) as caught:
            await supervisor.connection(60.0)
        assert caught.value.reason == "ENGINE_BROKEN"
        await _until(lambda: supervisor.losses == [LostReason.START])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _is_replaced_over_and_over() -> None:
    async with _supervised() as (supervisor, first):
        connection = first
        assert len(await supervisor.samples("Well", connection))
        for number in range(8):
            for _ in range(3):
                with pytest.raises(RenderFailed):
                    await supervisor.samples("Bad ∅", connection)
            connection = await supervisor.successor(connection)
            assert supervisor.losses == [LostReason.BAD_AUDIO] * (number + 1)


_SCENARIOS = (
    *(_is_replaced_over_and_over, _gets_a_text_that_ends_it, _breaks, _never_starts),
    *(_hangs_in_a_render, _hangs_for_callers_who_leave_soon, _exits, _is_stopped),
    *(_answers_with_bad_audio, _answers_with_bad_audio_now_and_then, _leaks, _leaks_fast),
    *(_is_slow, _has_a_slow_reader),
)


@dataclass(frozen=True)
class _Holdings:
    """What this process has of the system's."""

    fds: int
    children: int
    folders: int
    tasks: int

    @classmethod
    def now(cls) -> "_Holdings":
        process = psutil.Process()
        gc.collect()  # the frames of a caught error hold the call's channel, in a circle
        folders = len(os.listdir(tempfile.gettempdir()))
        tasks = len(asyncio.all_tasks())
        return cls(process.num_fds(), len(process.children()), folders, tasks)


@dataclass(frozen=True)
class _Outcomes:
    """What became of the scenarios, by name; what was held before and after all of them."""

    errors: dict[str, BaseException | None]
    before: _Holdings
    after: _Holdings


@pytest.fixture(scope="module")
def outcomes() -> Iterator[_Outcomes]:
    """Each scenario has a worker of its own, and mostly waits: so some run at the same time."""
    # Not pytest's own folder: a socket's path holds 107 bytes at most.
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", folder)
        yield asyncio.run(_run_scenarios())


async def _run_scenarios() -> _Outcomes:
    places = asyncio.Semaphore(4)

    async def run(scenario: Callable[[], Awaitable[None]]) -> None:
        async with places:
            await scenario()

    await _is_killed()  # what gRPC and asyncio keep for themselves is there from now on
    await asyncio.sleep(1.0)  # gRPC closes sockets a moment later
    before = _Holdings.now()
    errors = await asyncio.gather(*map(run, _SCENARIOS), return_exceptions=True)
    names = [scenario.__name__ for scenario in _SCENARIOS]
    with suppress(TimeoutError):
        await _until(lambda: _Holdings.now().fds <= before.fds)
    return _Outcomes(dict(zip(names, errors, strict=True)), before, _Holdings.now())


@pytest.mark.parametrize("name", [scenario.__name__ for scenario in _SCENARIOS])
def test_a_worker(name: str, outcomes: _Outcomes) -> None:
    if (error := outcomes.errors[name]) is not None:
        raise error


def test_more_than_twenty_replacements_leave_nothing_behind(outcomes: _Outcomes) -> None:
    assert len(_Supervised.losses_of_all) > 20
    assert outcomes.after.children == outcomes.before.children == 0
    assert outcomes.after.folders == outcomes.before.folders == 0
    assert outcomes.after.tasks == outcomes.before.tasks
    assert outcomes.after.fds <= outcomes.before.fds
