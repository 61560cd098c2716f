"""The loads that `tts bench` puts on a server."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass

from tts_client.channel import RetryPolicy
from tts_client.command.bench_live import LoadMeter, live_line
from tts_client.command.bench_report import callers as in_words
from tts_client.command.settings import LOOKUP_TIMEOUT_S, Settings
from tts_client.load import GrpcSpeak, LoadReport, closed_loop, open_loop, ramp, ramp_steps
from tts_client.request import SpeechOptions


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What is to be measured. `callers` is 0 for an open loop and for a ramp."""

    callers: int
    rate_per_s: float
    in_flight_limit: int
    ramps: bool
    plays_out: bool
    duration_s: float
    warm_up_s: float
    timeout_s: float
    seed: int


@dataclass(frozen=True, slots=True)
class BenchOutcome:
    """What was measured."""

    server_version: str
    reports: list[LoadReport]
    interrupted: bool


async def measure(
    settings: Settings, texts: tuple[str, ...], plan: BenchPlan, options: SpeechOptions
) -> BenchOutcome:
    """Calls a server as planned. Raises what the first call fails with, before the clock starts."""
    meter = LoadMeter()
    once = RetryPolicy(max_attempts=1)
    async with (
        settings.async_client(retry=once, timeout_s=LOOKUP_TIMEOUT_S) as client,
        live_line(meter),
    ):
        version = (await client.server_info()).version
        speak = GrpcSpeak(client, timeout_s=plan.timeout_s, **options)
        async for _ in speak(texts[0]):  # connects, and finds out what the server refuses
            pass
        with _interrupting() as stop:
            reports = await _load(speak, texts, plan, meter, stop)
        return BenchOutcome(version, reports, stop.is_set())


async def _load(
    speak: GrpcSpeak, texts: tuple[str, ...], plan: BenchPlan, meter: LoadMeter, stop: asyncio.Event
) -> list[LoadReport]:
    length_s = plan.warm_up_s + plan.duration_s
    if plan.rate_per_s:
        meter.begin(f"{plan.rate_per_s:g} calls a second", length_s)
        report = await open_loop(
            speak,
            texts,
            rate_per_s=plan.rate_per_s,
            duration_s=plan.duration_s,
            in_flight_limit=plan.in_flight_limit,
            warm_up_s=plan.warm_up_s,
            seed=plan.seed,
            stop=stop,
            on_listening=meter.count,
        )
        return [report]
    if not plan.ramps:
        meter.begin(in_words(plan.callers), length_s)
        report = await closed_loop(
            speak,
            texts,
            callers=plan.callers,
            duration_s=plan.duration_s,
            warm_up_s=plan.warm_up_s,
            seed=plan.seed,
            plays_out=plan.plays_out,
            stop=stop,
            on_listening=meter.count,
        )
        return [report]
    numbers = ramp_steps()
    meter.begin(in_words(next(numbers)), length_s)
    steps: list[LoadReport] = []
    async for step in ramp(
        speak,
        texts,
        duration_s=plan.duration_s,
        warm_up_s=plan.warm_up_s,
        seed=plan.seed,
        plays_out=plan.plays_out,
        stop=stop,
        on_listening=meter.count,
    ):
        steps.append(step)
        meter.begin(in_words(next(numbers)), length_s)
    return steps


@contextlib.contextmanager
def _interrupting() -> Iterator[asyncio.Event]:
    """Gives an event that the first Ctrl-C sets. A second one ends the command."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        stop.set()

    with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C ends it without a report
        loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        with contextlib.suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)
