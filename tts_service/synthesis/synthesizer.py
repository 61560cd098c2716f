"""The pipeline: an utterance's PCM through one encoder to a stream of events."""

import os
import time
from collections.abc import AsyncGenerator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import google_crc32c

from audio_codec import EncodedFrame

from ..fleet import Fleet
from ..voices import Embeddings
from .encoder import ThreadedEncoder
from .events import Event, Frame, Header, Summary
from .renderer import Pcm, render_utterance
from .request import Utterance
from .timeline import Timeline

__all__ = ["Synthesizer"]


class Synthesizer:
    """Speaks utterances; owns the threads that encode. One for a server.

    Args:
        engine_wait_s: how long a call waits for an engine that is starting.
        render_ahead_ms: how much audio of one call may wait for its encoder.
    """

    def __init__(
        self, fleet: Fleet, embeddings: Embeddings, *, engine_wait_s: float, render_ahead_ms: int
    ) -> None:
        self._fleet = fleet
        self._embeddings = embeddings
        self._engine_wait_s = engine_wait_s
        self._render_ahead_ms = render_ahead_ms
        self._pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="encode")

    def close(self) -> None:
        """Ends the threads. No synthesis is in progress."""
        self._pool.shutdown()

    async def synthesize(
        self, utterance: Utterance, *, request_id: str, arrived_s: float, timeout_s: float | None
    ) -> AsyncGenerator[Event]:
        """Yields a header, the audio as it is made, and a summary.

        The header leaves with the first audio and not before it, since a client's transport
        tries a call again only as long as nothing has come of it. Closing the generator stops
        all work for it.

        Args:
            arrived_s: when the request arrived, on `time.monotonic`'s clock.
            timeout_s: what is left of the caller's time.

        Raises:
            ServiceError: see `render_utterance`.
        """
        stream = _Stream(utterance, request_id, arrived_s)
        pcm_runs = render_utterance(
            utterance,
            self._fleet,
            self._embeddings,
            request_id=request_id,
            deadline_s=None if timeout_s is None else time.monotonic() + timeout_s,
            engine_wait_s=self._engine_wait_s,
            ahead_ms=self._render_ahead_ms,
        )
        encoder: ThreadedEncoder | None = None
        async with aclosing(pcm_runs):
            try:
                async for pcm in pcm_runs:
                    if encoder is None:
                        encoder = self._encoder(utterance, pcm)
                    stream.heard(pcm)
                    for event in stream.frames(await encoder.encode(pcm.samples)):
                        yield event
                        stream.sent(event)
                if encoder is not None:
                    for event in stream.frames(await encoder.finish()):
                        yield event
                        stream.sent(event)
                    stream.sample_count = encoder.sample_count
            finally:
                if encoder is not None:
                    encoder.close()
        if stream.frame_count == 0:
            yield stream.header()
        yield stream.summary()

    def _encoder(self, utterance: Utterance, first: Pcm) -> ThreadedEncoder:
        return ThreadedEncoder(
            self._pool,
            utterance.audio_format,
            source_rate_hz=first.sample_rate_hz,
            source_sample_count=first.total_samples,
        )


class _Stream:
    """What one call's events are counted and stamped with."""

    def __init__(self, utterance: Utterance, request_id: str, arrived_s: float) -> None:
        self._arrived_s = arrived_s
        self.sample_count = 0
        self.frame_count = 0
        self._utterance = utterance
        self._request_id = request_id
        self._rate_hz = utterance.audio_format.sample_rate_hz
        self._timeline = Timeline()
        self._source_rate_hz = self._rate_hz
        self._byte_count = 0
        self._crc32c = 0
        self._first_audio_ms = 0.0
        self._last_audio_ms = 0.0

    def heard(self, pcm: Pcm) -> None:
        """Notes the text that a run of PCM speaks."""
        self._source_rate_hz = pcm.sample_rate_hz
        self._timeline.append(len(pcm.samples), pcm.span)

    def frames(self, encoded: Iterable[EncodedFrame]) -> Iterable[Event]:
        """Yields events for encoded frames, and the header before the first of them."""
        for frame in encoded:
            if self.frame_count == 0:
                yield self.header()
            start_ms = self._ms(frame.start_sample)
            start, end = self._timeline.span_at(
                frame.start_sample * self._source_rate_hz // self._rate_hz
            )
            sequence = self.frame_count
            self.frame_count += 1
            self._byte_count += len(frame.data)
            self._crc32c = google_crc32c.extend(self._crc32c, frame.data)
            yield Frame(
                data=frame.data,
                sequence=sequence,
                start_ms=start_ms,
                duration_ms=self._ms(frame.start_sample + frame.sample_count) - start_ms,
                start_character=start,
                end_character=end,
            )

    def sent(self, event: Event) -> None:
        """Notes that the transport took an event."""
        if isinstance(event, Frame):
            self._last_audio_ms = (time.monotonic() - self._arrived_s) * 1000
            self._first_audio_ms = self._first_audio_ms or self._last_audio_ms

    def header(self) -> Header:
        """The first event."""
        utterance = self._utterance
        return Header(
            request_id=self._request_id,
            voice=utterance.voice,
            mix=utterance.mix,
            language=utterance.language,
            audio_format=utterance.audio_format,
            seed=utterance.sampling.seed,
        )

    def summary(self) -> Summary:
        """The last event."""
        return Summary(
            audio_ms=self._ms(self.sample_count),
            sample_count=self.sample_count,
            byte_count=self._byte_count,
            crc32c=self._crc32c,
            first_audio_ms=self._first_audio_ms,
            render_ms=self._last_audio_ms,
            character_count=self._utterance.character_count,
        )

    def _ms(self, sample: int) -> int:
        return sample * 1000 // self._rate_hz
