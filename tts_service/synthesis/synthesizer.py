"""The pipeline: what was spoken before is replayed, what is being spoken is joined, and all else
is rendered, encoded and kept."""

import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing

from ..admission import Admission, Caller, Place
from ..errors import NotCached, Overloaded
from ..fleet import Fleet
from ..ops.metrics import SpeechMetrics
from ..ops.tracing import current_span
from ..voices import Embeddings, VoiceDirectory
from .cache_mode import CacheMode, CacheStatus
from .encoder import ThreadedEncoder
from .events import Event, Header, Summary
from .flight import Flight, Flights
from .frame_maker import FrameMaker
from .keys import rendition_key, segment_keys
from .marks import speech_marks
from .renderer import Pcm, render_utterance
from .rendition import Rendition
from .request import Utterance
from .segment_memo import SegmentMemo
from .source import FlightSource, KeptSource, Source
from .speech_cache import SpeechCache

__all__ = ["Synthesizer"]

# Encoded audio that a response may be ahead of its quickest caller.
_LEAD_MS = 1000


class Synthesizer:
    """Speaks utterances; owns the threads that encode, and what is on its way. One for a server.

    Args:
        engine_wait_s: how long a call waits for an engine that is starting.
        render_ahead_ms: how much audio of one call may wait for its encoder.
    """

    def __init__(
        self,
        fleet: Fleet,
        directory: VoiceDirectory,
        embeddings: Embeddings,
        cache: SpeechCache,
        admission: Admission,
        metrics: SpeechMetrics,
        *,
        engine_wait_s: float,
        render_ahead_ms: int,
    ) -> None:
        self._fleet = fleet
        self._directory = directory
        self._embeddings = embeddings
        self._cache = cache
        self._admission = admission
        self._metrics = metrics
        self._engine_wait_s = engine_wait_s
        self._render_ahead_ms = render_ahead_ms
        self._flights = Flights()
        self._pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="encode")

    async def close(self) -> None:
        """Ends the work that nobody reads any more, and the threads. No call is in progress."""
        await self._flights.close()
        self._pool.shutdown()

    async def synthesize(
        self, utterance: Utterance, mode: CacheMode, caller: Caller, *, arrived_s: float
    ) -> AsyncGenerator[Event]:
        """Yields a header, the audio as it is made, and a summary.

        The header leaves with the first audio and not before it, since a client's transport
        tries a call again only as long as nothing has come of it. Closing the generator stops
        all work for it that is nobody else's, too.

        Args:
            arrived_s: when the request arrived, on `time.monotonic`'s clock.

        Raises:
            NotCached: it isn't kept, and nothing else was asked for.
            Overloaded: it has to be spoken, and there is no place for it.
            ServiceError: see `render_utterance`.
        """
        source = await self._find_source(utterance, mode, caller)
        first_audio_s = last_audio_s = arrived_s
        header: Header | None = _header(utterance, source, caller.request_id)
        meter = self._metrics.stream(
            engine=utterance.voice.engine,
            encoding=utterance.audio_format.encoding.value,
            cache=source.status.value,
            characters=utterance.character_count,
            arrived_s=arrived_s,
        )
        try:
            async with aclosing(source.frames()) as frames:
                async for frame in frames:
                    meter.came(frame.duration_ms)
                    if header is not None:
                        yield header
                    yield frame
                    # The transport has taken it.
                    last_audio_s = time.monotonic()
                    meter.taken(len(frame.data), frame.duration_ms, last_audio_s)
                    if header is not None:
                        header, first_audio_s = None, last_audio_s
                        current_span().event("first audio")
        finally:
            source.close()
            meter.close()
        if header is not None:
            yield header
        totals, rate_hz = source.totals, utterance.audio_format.sample_rate_hz
        yield Summary(
            audio_ms=totals.sample_count * 1000 // rate_hz,
            sample_count=totals.sample_count,
            byte_count=totals.byte_count,
            crc32c=totals.crc32c,
            first_audio_ms=(first_audio_s - arrived_s) * 1000,
            render_ms=(last_audio_s - arrived_s) * 1000,
            character_count=utterance.character_count,
        )

    async def _find_source(self, utterance: Utterance, mode: CacheMode, caller: Caller) -> Source:
        source = await self._look_up(utterance, mode, caller, joins=mode is CacheMode.DEFAULT)
        if not isinstance(source, FlightSource) or source.status is not CacheStatus.JOINED:
            return source
        try:
            await source.begun()
        except Overloaded:
            # That was another caller's refusal. This one has quotas of its own, and a time of its
            # own to come again.
            source.close()
            return await self._look_up(utterance, mode, caller, joins=False)
        except BaseException:
            source.close()
            raise
        return source

    async def _look_up(
        self, utterance: Utterance, mode: CacheMode, caller: Caller, *, joins: bool
    ) -> Source:
        key = rendition_key(utterance)
        if mode.looks and (source := self._at_hand(key, joins=joins)) is not None:
            return source
        keys = segment_keys(utterance)
        known: Set[str] = frozenset()
        if mode.looks:
            with current_span().child("look-up"):
                found, known = await self._cache.find(key, keys)
            if found is not None:
                self._cache.count("disk")
                return KeptSource(found)
            # While the disk was read, somebody may have begun or finished the same.
            if (source := self._at_hand(key, joins=joins)) is not None:
                return source
        memo = SegmentMemo(
            self._cache,
            keys,
            known,
            collects=mode.keeps and self._cache.is_on,
            may_speak=mode is not CacheMode.ONLY,
        )
        if mode.looks and memo.knows_all:
            status = CacheStatus.HIT
            self._cache.count("segments")
        else:
            if mode is CacheMode.ONLY:
                raise NotCached
            status = CacheStatus.MISS
            self._cache.count("miss" if mode.keeps else "bypass")
        return FlightSource(self._start(utterance, key, memo, mode, caller), status)

    def _at_hand(self, key: str, *, joins: bool) -> Source | None:
        """Finds what can be heard at once, or joins what is on its way."""
        if (kept := self._cache.recall(key)) is not None:
            self._cache.count("memory")
            return KeptSource(kept)
        flight = self._flights.find(key) if joins else None
        if flight is None:
            return None
        self._cache.count("joined")
        current_span().link(flight.origin)
        return FlightSource(flight, CacheStatus.JOINED)

    def _start(
        self, utterance: Utterance, key: str, memo: SegmentMemo, mode: CacheMode, caller: Caller
    ) -> Flight:
        # Segments that were kept have seeds of their own, if the caller named none.
        mixed = utterance.is_seed_drawn and memo.has_known
        flight = Flight(
            seed=None if mixed else utterance.sampling.seed,
            lead_ms=_LEAD_MS,
            limit_bytes=self._cache.limits.entry_bytes,
            is_shared=mode.keeps,
        )

        async def make() -> None:
            with ExitStack() as places:

                async def enter() -> Place:
                    engine, count = utterance.voice.engine, utterance.character_count
                    return places.enter_context(await self._admission.enter(engine, caller, count))

                place = None if memo.knows_all else await enter()
                await self._render(flight, utterance, memo, place, enter, caller.request_id)
            # One that was begun later, to speak it anew, is what is to be kept.
            is_latest = mode.keeps and self._flights.holds(key, flight)
            if is_latest and flight.frames and flight.is_whole and self._has_voices(utterance):
                rendition = Rendition(flight.frames, flight.totals, flight.seed, memo.made_s)
                self._cache.keep(key, rendition, memo.spoken, marks=speech_marks(utterance.parts))

        self._flights.start(
            flight,
            make,
            key=key if mode.keeps else None,
            is_nearly_done=lambda: mode.keeps and memo.is_complete,
        )
        return flight

    async def _render(
        self,
        flight: Flight,
        utterance: Utterance,
        memo: SegmentMemo,
        place: Place | None,
        enter: Callable[[], Awaitable[Place]],
        request_id: str,
    ) -> None:
        maker = FrameMaker(utterance.audio_format.sample_rate_hz, joins=utterance.joins_frames)
        pcm_runs = render_utterance(
            utterance,
            self._fleet,
            self._embeddings,
            memo,
            place,
            self._metrics,
            enter=enter,
            request_id=request_id,
            engine_wait_s=self._engine_wait_s,
            ahead_ms=self._render_ahead_ms,
        )
        encoder: ThreadedEncoder | None = None
        sample_count = 0
        async with aclosing(pcm_runs):
            try:
                async for pcm in pcm_runs:
                    if encoder is None:
                        encoder = self._encoder(utterance, pcm)
                    maker.heard(len(pcm.samples), pcm.sample_rate_hz, pcm.span)
                    await flight.append(maker.frames(await encoder.encode(pcm.samples)))
                if encoder is not None:
                    await flight.append(maker.frames(await encoder.finish()))
                    sample_count = encoder.sample_count
            finally:
                if encoder is not None:
                    encoder.close()
        flight.end(maker.totals(sample_count))

    def _encoder(self, utterance: Utterance, first: Pcm) -> ThreadedEncoder:
        return ThreadedEncoder(
            self._pool,
            utterance.audio_format,
            source_rate_hz=first.sample_rate_hz,
            source_sample_count=first.total_samples,
        )

    def _has_voices(self, utterance: Utterance) -> bool:
        """Whether all voices still are what they were when the key was made.

        One may have been deleted while it was speaking, or another worker have spoken, with
        another model.
        """
        catalog = self._directory.catalog
        return all(catalog.find(part.voice.id) == part.voice for part in utterance.parts)


def _header(utterance: Utterance, source: Source, request_id: str) -> Header:
    return Header(
        request_id=request_id,
        voice=utterance.voice,
        mix=utterance.mix,
        language=utterance.language,
        audio_format=utterance.audio_format,
        cache_status=source.status,
        seed=source.seed,
    )
