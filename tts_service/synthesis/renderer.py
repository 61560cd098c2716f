"""The PCM of a whole utterance: its segments, one after another, with their pauses.

The next segment is rendered while the one before it is being encoded and sent, but never
further ahead than a bound.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..fleet import Fleet
from .plan import Segment
from .request import Utterance

__all__ = ["Pcm", "render_utterance"]

# Longest run that is handed on at once. The first of them sets how long the first audio waits
# for the encoder; a thread's switch costs a hundredth of coding so much.
_RUN_MS = 100


@dataclass(frozen=True, slots=True)
class Pcm:
    """A run of mono samples and the span of the caller's text that they speak.

    Attributes:
        samples: shape (n,), float32, full scale 1.0.
        sample_rate_hz: the same in all runs of an utterance.
        total_samples: samples of the whole utterance, if that is known by now.
    """

    samples: NDArray[np.float32]
    sample_rate_hz: int
    span: tuple[int, int]
    total_samples: int | None


async def render_utterance(
    utterance: Utterance,
    fleet: Fleet,
    *,
    request_id: str,
    deadline_s: float | None,
    engine_wait_s: float,
    ahead_ms: int,
) -> AsyncGenerator[Pcm]:
    """Yields the samples of an utterance in order, rendering at most `ahead_ms` ahead.

    Closing the generator stops the render in the worker.

    Args:
        deadline_s: when the caller's time is over, on `time.monotonic`'s clock.
        engine_wait_s: how long to wait for an engine that is starting.

    Raises:
        EngineUnavailable, DeadlinePassed, RenderFailed: see `Connection.render`.
    """
    queue: asyncio.Queue[Pcm | Exception | None] = asyncio.Queue(max(1, ahead_ms // _RUN_MS))

    async def produce() -> None:
        last: Exception | None = None
        try:
            for segment in utterance.segments:
                await _render_segment(
                    utterance, segment, fleet, queue, request_id, deadline_s, engine_wait_s
                )
        except Exception as error:  # raised again by the consumer, after the audio before it
            last = error
        await queue.put(last)

    producer = asyncio.create_task(produce(), name=f"render-{request_id}")
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        producer.cancel()
        with suppress(asyncio.CancelledError):
            await producer


async def _render_segment(
    utterance: Utterance,
    segment: Segment,
    fleet: Fleet,
    queue: asyncio.Queue[Pcm | Exception | None],
    request_id: str,
    deadline_s: float | None,
    engine_wait_s: float,
) -> None:
    """Puts the samples of one segment and of the pause after it into the queue."""
    voice = utterance.voice
    connection = await fleet.connection(voice.engine, engine_wait_s)
    async with connection.render(
        text=segment.text,
        voice=voice.id,
        language=utterance.language,
        speed=utterance.speed,
        request_id=request_id,
        timeout_s=None if deadline_s is None else max(0.0, deadline_s - time.monotonic()),
    ) as stream:
        rate_hz = stream.sample_rate_hz
        run = rate_hz * _RUN_MS // 1000
        total = stream.sample_count if len(utterance.segments) == 1 else None

        async def put(samples: NDArray[np.float32], span: tuple[int, int]) -> None:
            for start in range(0, len(samples), run):
                await queue.put(Pcm(samples[start : start + run], rate_hz, span, total))

        start = segment.start_character
        async for audio in stream.audio:
            await put(audio.samples, (start + audio.start_character, start + audio.end_character))
        pause = np.zeros(rate_hz * segment.pause_ms // 1000, dtype=np.float32)
        await put(pause, (segment.end_character, segment.end_character))
