"""How many callers a server has time for."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator

from tts_client.load.callers import closed_loop
from tts_client.load.measurement import OnListening
from tts_client.load.report import LoadReport
from tts_client.load.speak import Speak

__all__ = ["FIRST_AUDIO_LIMIT_MS", "heard_in_time", "ramp", "ramp_steps"]

# Who waits longer than this for the first word has been kept waiting.
FIRST_AUDIO_LIMIT_MS = 1000.0


def heard_in_time(report: LoadReport) -> bool:
    """Whether every caller heard everything as it should be heard.

    No call failed or was cut off, none had an underrun, and the 95th percentile of the time to
    first audio is at most a second. It is false, too, when fewer calls were heard than there are
    callers: of the others nothing is known.
    """
    known = report.calls >= max(1, report.callers)
    whole = known and not report.errors and not report.unfinished
    quick = report.first_audio_ms(95) <= FIRST_AUDIO_LIMIT_MS
    return whole and quick and not report.underruns


def ramp_steps() -> Iterator[int]:
    """Yields numbers of callers: 1, 2, 3, 4, 6, 8, 12, 16, ..."""
    yield 1
    for power in itertools.count(1):
        yield 2**power
        yield 2**power + 2 ** (power - 1)


async def ramp(
    speak: Speak,
    texts: Iterable[str],
    *,
    duration_s: float,
    warm_up_s: float = 0.0,
    most_callers: int = 1024,
    seed: int = 0,
    plays_out: bool = False,
    stop: asyncio.Event | None = None,
    on_listening: OnListening | None = None,
) -> AsyncIterator[LoadReport]:
    """Runs closed loops of more and more callers, and yields the report of each.

    It ends with the first that was not `heard_in_time`, at `most_callers`, or when `stop` is set.
    See `closed_loop` for the arguments; each step has its own warm-up and duration.
    """
    spoken = tuple(texts)
    for callers in itertools.takewhile(lambda number: number <= most_callers, ramp_steps()):
        report = await closed_loop(
            speak,
            spoken,
            callers=callers,
            duration_s=duration_s,
            warm_up_s=warm_up_s,
            seed=seed,
            plays_out=plays_out,
            stop=stop,
            on_listening=on_listening,
        )
        yield report
        if not heard_in_time(report) or (stop is not None and stop.is_set()):
            return
