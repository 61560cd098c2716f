"""A segment of text as an engine spoke it, without loss."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from protos.cache.v1 import cache_pb2

from ..fleet import SegmentAudio

__all__ = ["SegmentSpeech"]

_S16_SCALE = np.float32(32768)


@dataclass(frozen=True, slots=True)
class SegmentSpeech:
    """The samples of a segment, in the runs in which the engine made them.

    Attributes:
        made_s: when it was made, in seconds since 1970.
    """

    sample_rate_hz: int
    runs: tuple[SegmentAudio, ...]
    made_s: float

    @property
    def sample_count(self) -> int:
        """Of all runs."""
        return sum(len(run.samples) for run in self.runs)

    @property
    def size_bytes(self) -> int:
        """What its samples take in memory."""
        return 4 * self.sample_count

    def to_bytes(self) -> bytes:
        """As `cache.v1.SegmentSpeech`; in 16 bits a sample where that loses nothing."""
        samples = np.concatenate([run.samples for run in self.runs] or [np.zeros(0, np.float32)])
        message = cache_pb2.SegmentSpeech(
            sample_rate_hz=self.sample_rate_hz,
            runs=[
                cache_pb2.SpokenRun(
                    sample_count=len(run.samples),
                    start_character=run.start_character,
                    end_character=run.end_character,
                )
                for run in self.runs
            ],
            made_time_s=self.made_s,
        )
        scaled = samples * _S16_SCALE
        whole = np.clip(np.rint(scaled), -32768, 32767)
        if np.array_equal(whole, scaled):
            message.s16 = whole.astype("<i2").tobytes()
        else:
            message.f32 = samples.astype("<f4").tobytes()
        return message.SerializeToString()

    @classmethod
    def from_bytes(cls, data: bytes) -> "SegmentSpeech":
        """Reads what `to_bytes` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            message = cache_pb2.SegmentSpeech.FromString(data)
        except DecodeError as error:
            raise ValueError("is no speech of a segment") from error
        if message.HasField("s16"):
            samples = np.frombuffer(message.s16, "<i2").astype(np.float32) / _S16_SCALE
        else:
            samples = np.frombuffer(message.f32, "<f4").astype(np.float32, copy=False)
        counts = [run.sample_count for run in message.runs]
        if message.sample_rate_hz <= 0 or min(counts, default=0) < 0 or sum(counts) != len(samples):
            raise ValueError("is no whole speech of a segment")
        return cls(message.sample_rate_hz, tuple(_cut(samples, message.runs)), message.made_time_s)


def _cut(
    samples: NDArray[np.float32], runs: Sequence[cache_pb2.SpokenRun]
) -> Iterator[SegmentAudio]:
    start = 0
    for run in runs:
        end = start + run.sample_count
        yield SegmentAudio(samples[start:end], run.start_character, run.end_character)
        start = end
