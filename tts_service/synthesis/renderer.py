"""The PCM of a whole utterance: its segments, one after another, with their pauses.

A segment that was spoken before comes from the cache, any other from a worker.
The next segment is rendered while the one before it is being encoded and sent, but never
further ahead than a bound.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..admission import Place
from ..errors import EngineUnavailable, Overloaded, RenderFailed
from ..fleet import Connection, Fleet, SegmentJob, Speaker
from ..ops.metrics import SpeechMetrics
from ..voices import Embeddings
from .mix import VoicePart
from .plan import Segment
from .request import Utterance
from .segment_memo import SegmentMemo
from .segment_speech import SegmentSpeech

__all__ = ["Pcm", "render_utterance"]

# Longest run that is handed on at once. The first of them sets how long the first audio waits
# for the encoder; each costs a switch of threads, and a message.
_FIRST_RUN_MS = 100
_RUN_MS = 400


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
    embeddings: Embeddings,
    memo: SegmentMemo,
    place: Place | None,
    metrics: SpeechMetrics,
    *,
    enter: Callable[[], Awaitable[Place]],
    request_id: str,
    engine_wait_s: float,
    ahead_ms: int,
) -> AsyncGenerator[Pcm]:
    """Yields the samples of an utterance in order, rendering at most `ahead_ms` ahead.

    Closing the generator stops the render in the worker.

    Args:
        place: at the engine; is closed when all is rendered, and left idle while so much is ahead
            that the engine isn't needed. None if all of it is kept.
        enter: gets a place for what turns out to be kept no more.
        engine_wait_s: how long to wait for an engine that is starting.

    Raises:
        EngineUnavailable, Overloaded, NotPossible, RenderFailed: see `Connection.render`.
        Overloaded: by `enter`.
    """
    rendering = _Rendering(
        utterance,
        fleet,
        embeddings,
        memo,
        place,
        metrics,
        enter,
        request_id,
        engine_wait_s,
        ahead_ms,
    )
    producer = asyncio.create_task(rendering.run(), name=f"render-{request_id}")
    try:
        while (item := await rendering.queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            rendering.took(item)
            yield item
    finally:
        producer.cancel()
        await asyncio.wait({producer})


class _Rendering:
    """Fills a bounded queue with the samples of one utterance.

    The queue's last item is None, or what ended the render early.
    """

    def __init__(
        self,
        utterance: Utterance,
        fleet: Fleet,
        embeddings: Embeddings,
        memo: SegmentMemo,
        place: Place | None,
        metrics: SpeechMetrics,
        enter: Callable[[], Awaitable[Place]],
        request_id: str,
        engine_wait_s: float,
        ahead_ms: int,
    ) -> None:
        self.queue: asyncio.Queue[Pcm | Exception | None] = asyncio.Queue(
            max(1, ahead_ms // _RUN_MS)
        )
        self._utterance = utterance
        self._fleet = fleet
        self._embeddings = embeddings
        self._memo = memo
        self._place = place or Place()
        self._may_render = place is not None
        self._enter = enter
        self._metrics = metrics
        self._request_id = request_id
        self._engine_wait_s = engine_wait_s
        self._speakers: tuple[Speaker, ...] = ()
        self._rate_hz = 0  # of what has been spoken so far
        self._run_count = 0
        self._ahead_ms = ahead_ms
        self._untaken_s = 0.0  # what is in the queue
        self._heard_until_s = 0.0  # by a listener who plays it as it comes

    async def run(self) -> None:
        """Renders all segments, one after another."""
        last: Exception | None = None
        try:
            for number, segment in enumerate(self._utterance.segments):
                speech = await self._memo.find(number)
                if speech is None:
                    speech = await self._render_when_free(segment, await self._job(number))
                    self._memo.note(number, speech)
                else:
                    await self._play(segment, speech)
                pause = np.zeros(speech.sample_rate_hz * segment.pause_ms // 1000, dtype=np.float32)
                end = segment.end_character
                await self._put(pause, speech.sample_rate_hz, (end, end), None)
            self._place.close(is_whole=True)
        except Exception as error:  # raised again by the reader, after the audio before it
            last = error
            # Not when the reader gets there: others may have the engine's time now. Who heard
            # nothing because the engine had none hasn't used up what it may ask for.
            was_refused = isinstance(error, Overloaded | EngineUnavailable)
            self._place.close(is_refused=was_refused and not self._run_count)
        await self.queue.put(last)

    async def _job(self, number: int) -> SegmentJob:
        utterance = self._utterance
        if not self._speakers:
            self._speakers = await self._find_speakers(utterance.parts)
        return SegmentJob(
            text=utterance.segments[number].text,
            speakers=self._speakers,
            language=utterance.language,
            speed=utterance.speed,
            sampling=utterance.sampling,
            look_ahead=number > 0,
            lead_ms=max(0, round(self._lead_s() * 1000)),
            ahead_ms=self._ahead_ms,
        )

    def _lead_s(self) -> float:
        """What the listener has to hear yet, at the least what it hasn't taken."""
        return max(self._heard_until_s - time.monotonic(), self._untaken_s)

    def took(self, pcm: Pcm) -> None:
        """The reader has one run less before it."""
        self._untaken_s -= len(pcm.samples) / pcm.sample_rate_hz

    async def _find_speakers(self, parts: tuple[VoicePart, ...]) -> tuple[Speaker, ...]:
        # The heaviest weighs 1, so that weights of any size have a finite sum, and none is lost.
        heaviest = max(part.weight for part in parts)
        speakers = []
        for part in parts:
            voice, embedding = part.voice, b""
            if voice.stored is not None:
                embedding = await self._embeddings.get(voice, part.style)
            weight = max(part.weight / heaviest, sys.float_info.min)
            speakers.append(Speaker(voice.engine_voice, embedding, weight))
        return tuple(speakers)

    async def _play(self, segment: Segment, speech: SegmentSpeech) -> None:
        """Hands on what was spoken before."""
        total = self._total(speech.sample_count)
        for run in speech.runs:
            span = segment.source_span(run.start_character, run.end_character)
            await self._put(run.samples, speech.sample_rate_hz, span, total)

    async def _render_when_free(self, segment: Segment, job: SegmentJob) -> SegmentSpeech:
        before = self._run_count
        while True:
            try:
                return await self._render(segment, job)
            except Overloaded as error:
                if not before or self._run_count > before:
                    raise
                # What is being heard is not broken off: its caller would ask for all of it
                # again, of an engine that has enough to do.
                await asyncio.sleep(error.retry_after_ms / 1000)

    async def _render(self, segment: Segment, job: SegmentJob) -> SegmentSpeech:
        if not self._may_render:
            self._place = await self._enter()
            self._may_render = True
        engine = self._utterance.voice.engine
        connection = await self._fleet.connection(engine, self._engine_wait_s)
        try:
            return await self._render_with(connection, segment, job)
        except EngineUnavailable as error:
            if self._run_count or error.reason != "WORKER_LOST":
                raise
            # The worker ended at rest or with this call's first words, and nothing of the
            # call was heard yet: its successor can begin anew. Once, for it may be the text
            # that ends workers.
            connection = await self._fleet.connection(
                engine, self._engine_wait_s, successor_of=connection
            )
            try:
                return await self._render_with(connection, segment, job)
            except EngineUnavailable as again:
                raise EngineUnavailable(
                    engine, "lost two workers on this text", reason="WORKERS_LOST"
                ) from again

    async def _render_with(
        self, connection: Connection, segment: Segment, job: SegmentJob
    ) -> SegmentSpeech:
        runs = []
        with self._metrics.render(self._utterance.voice.engine) as meter:
            async with connection.render(job, request_id=self._request_id) as stream:
                total = self._total(stream.sample_count)
                async for audio in stream.audio:
                    meter.came(len(audio.samples) / stream.sample_rate_hz)
                    runs.append(audio)
                    span = segment.source_span(audio.start_character, audio.end_character)
                    await self._put(audio.samples, stream.sample_rate_hz, span, total)
                    meter.waits()
        return SegmentSpeech(stream.sample_rate_hz, tuple(runs), time.time())

    def _total(self, segment_samples: int | None) -> int | None:
        """The samples of the whole utterance, if those of one segment tell."""
        return segment_samples if len(self._utterance.segments) == 1 else None

    async def _put(
        self,
        samples: NDArray[np.float32],
        rate_hz: int,
        span: tuple[int, int],
        total: int | None,
    ) -> None:
        if self._rate_hz not in (0, rate_hz):
            # A voice's file was replaced, and its worker with it, between two segments. At the rate
            # of the first they would be too fast or too slow, and too high or too low.
            raise RenderFailed(
                self._utterance.voice.engine, "came back with another model meanwhile"
            )
        self._rate_hz = rate_hz
        start = 0
        while start < len(samples):
            run_ms = _RUN_MS if self._run_count else _FIRST_RUN_MS
            end = start + rate_hz * run_ms // 1000
            self._run_count += 1
            pcm = Pcm(samples[start:end], rate_hz, span, total)
            with self._place.idle() if self.queue.full() else nullcontext():
                await self.queue.put(pcm)
            self._untaken_s += len(pcm.samples) / rate_hz
            start = end
        self._heard_until_s = max(self._heard_until_s, time.monotonic()) + len(samples) / rate_hz
