"""What a worker sends of a render. Nothing of it is believed unchecked."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protos.engine.v1 import engine_pb2

from ..pcm import decode_samples
from .worker_record import WorkerRecord

__all__ = ["BadAudioError", "ReceivedRender", "RenderStream", "SegmentAudio"]


class BadAudioError(Exception):
    """A worker's answer is no sound. The text is for the log."""


@dataclass(frozen=True, slots=True)
class SegmentAudio:
    """A run of mono samples and the span of the segment that they speak.

    Attributes:
        samples: shape (n,), float32, full scale 1.0.
        start_character: first code point of the span in the segment's text.
        end_character: one past the last.
    """

    samples: NDArray[np.float32]
    start_character: int
    end_character: int


@dataclass(frozen=True, slots=True)
class RenderStream:
    """A render whose header has arrived.

    Attributes:
        sample_count: samples of the whole segment, where the engine knew it.
        audio: the samples, to be read once.
    """

    sample_rate_hz: int
    sample_count: int | None
    audio: AsyncIterator[SegmentAudio]


class ReceivedRender:
    """The messages of one render, in their order.

    Args:
        characters: length of the text.
        sample_rate_hz: what the worker said its rate would be; None if it didn't say.
        record: where it is noted what comes.
    """

    def __init__(
        self,
        responses: AsyncIterator[engine_pb2.RenderResponse],
        *,
        characters: int,
        sample_rate_hz: int | None,
        record: WorkerRecord,
    ) -> None:
        self._responses = responses
        self._characters = characters
        self._sample_rate_hz = sample_rate_hz
        self._record = record

    async def begin(self) -> RenderStream:
        """Waits for the header.

        Raises, here and from the stream's `audio`:
            BadAudioError: something is not as the contract has it, or no sound.
        """
        response = await self._next()
        if response is None or response.WhichOneof("event") != "header":
            raise BadAudioError("no header")
        header = response.header
        expected_hz = self._sample_rate_hz
        if header.sample_rate_hz <= 0 or expected_hz not in (None, header.sample_rate_hz):
            raise BadAudioError(f"a rate of {header.sample_rate_hz} Hz and not {expected_hz}")
        known = header.sample_count if header.HasField("sample_count") else None
        audio = self._audio(header.sample_format, known)
        return RenderStream(header.sample_rate_hz, known, audio)

    async def _audio(
        self, sample_format: engine_pb2.SampleFormat.ValueType, sample_count: int | None
    ) -> AsyncIterator[SegmentAudio]:
        received = 0
        while (response := await self._next()) is not None:
            if response.WhichOneof("event") != "audio":
                raise BadAudioError("a message that is no audio")
            chunk = response.audio
            try:
                samples = decode_samples(chunk.samples, sample_format)
            except ValueError as error:
                raise BadAudioError(str(error)) from error
            received += len(samples)
            yield SegmentAudio(samples, *self._span(chunk))
        if sample_count is not None and received != sample_count:
            # It stands in the headers of files by now.
            raise BadAudioError(f"{received} samples and not {sample_count}, as its header said")
        self._record.spoke_well()

    def _span(self, chunk: engine_pb2.PcmChunk) -> tuple[int, int]:
        if not chunk.HasField("span"):
            return 0, self._characters
        start, end = chunk.span.start_character, chunk.span.end_character
        if not 0 <= start <= end <= self._characters:
            raise BadAudioError(f"a span {start} to {end} of {self._characters} characters")
        return start, end

    async def _next(self) -> engine_pb2.RenderResponse | None:
        read = asyncio.ensure_future(anext(self._responses, None))
        try:
            with self._record.waits():
                return await asyncio.shield(read)
        except asyncio.CancelledError:
            # It ends with its call. grpcio (1.85) frees no message whose read is cancelled: up to
            # 64 kB for each caller who leaves.
            read.add_done_callback(_has_ended)
            raise


def _has_ended(read: asyncio.Future[Any]) -> None:
    """Takes its exception, so that nobody is told that it was lost."""
    if not read.cancelled():
        read.exception()
