"""A stream encoder that an event loop can use: the work is done on a pool of threads."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future

import numpy as np
from numpy.typing import NDArray

from audio_codec import AudioFormat, EncodedFrame, StreamEncoder

__all__ = ["ThreadedEncoder"]


class ThreadedEncoder:
    """Owns one `StreamEncoder` and runs it on `pool`, one call at a time.

    `close` neither waits nor blocks: if a call is in progress when its waiter was cancelled,
    the encoder is closed as soon as that call is done.
    """

    def __init__(
        self,
        pool: Executor,
        audio_format: AudioFormat,
        *,
        source_rate_hz: int,
        source_sample_count: int | None,
    ) -> None:
        self._pool = pool
        self._encoder = StreamEncoder(
            audio_format, source_rate_hz=source_rate_hz, source_sample_count=source_sample_count
        )
        self._last: Future[list[EncodedFrame]] | None = None

    @property
    def sample_count(self) -> int:
        """Samples encoded so far, at the format's rate."""
        return self._encoder.sample_count

    async def encode(self, samples: NDArray[np.float32]) -> list[EncodedFrame]:
        """See `StreamEncoder.encode`."""
        return await self._run(lambda: self._encoder.encode(samples))

    async def finish(self) -> list[EncodedFrame]:
        """See `StreamEncoder.finish`."""
        return await self._run(self._encoder.finish)

    def close(self) -> None:
        """Frees the encoder, now or as soon as its thread is done with it."""
        if self._last is None or self._last.cancel() or self._last.done():
            self._encoder.close()
        else:
            self._last.add_done_callback(lambda _: self._encoder.close())

    async def _run(self, work: Callable[[], list[EncodedFrame]]) -> list[EncodedFrame]:
        self._last = self._pool.submit(work)
        return await asyncio.wrap_future(self._last)
