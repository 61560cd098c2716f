"""Encodings without frames of their own: plain samples, WAV and G.711."""

import struct
from typing import cast

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from audio_codec.coder import Chunk, quantised

_WAV_HEADER_BYTES = 44
_SAMPLE_BYTES = 2
# Size of the data of a WAV file whose length is not known at its start. SoX writes this value
# into pipes and is the only one to read "unknown" from it; Python's wave, libsndfile, SciPy and
# FFmpeg take any large size for "to the end of the file". It is even, fits in a signed 32-bit
# number with the header added, and is no file's size by chance. FFmpeg's own 0xFFFFFFFF makes
# SoX warn and the two sizes of the header contradict each other.
WAV_UNKNOWN_DATA_BYTES = 0x7FFFF000
# The largest data size that leaves room for the header in a 32-bit RIFF size.
_WAV_MAX_DATA_BYTES = 0xFFFFFFFE - (_WAV_HEADER_BYTES - 8)


def wav_header(sample_rate_hz: int, sample_count: int | None) -> bytes:
    """The 44 bytes before 16-bit mono PCM (RIFF, Microsoft 1991).

    Args:
        sample_rate_hz: rate of the samples.
        sample_count: how many follow; None if that is not known. A stream too long for the
            format's 32-bit sizes counts as unknown.
    """
    data_bytes = WAV_UNKNOWN_DATA_BYTES
    if sample_count is not None and sample_count * _SAMPLE_BYTES <= _WAV_MAX_DATA_BYTES:
        data_bytes = sample_count * _SAMPLE_BYTES
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        _WAV_HEADER_BYTES - 8 + data_bytes,
        b"WAVE",
        b"fmt ",
        16,  # bytes of this chunk
        1,  # PCM
        1,  # channel
        sample_rate_hz,
        sample_rate_hz * _SAMPLE_BYTES,
        _SAMPLE_BYTES,
        8 * _SAMPLE_BYTES,
        b"data",
        data_bytes,
    )


class PcmCoder:
    """16-bit little-endian samples, after a header if one is given."""

    def __init__(self, *, block_samples: int, header: bytes = b"") -> None:
        self.block_samples = block_samples
        self._header = header
        self._sample_count = 0

    def encode(self, block: NDArray[np.float32]) -> list[Chunk]:
        self._sample_count += len(block)
        data = self._header + quantised(block).astype("<i2").tobytes()
        self._header = b""
        return [Chunk(data, self._sample_count)]

    def finish(self, rest: NDArray[np.float32]) -> list[Chunk]:
        return self.encode(rest) if len(rest) or self._header else []

    def close(self) -> None:
        """Nothing is held."""


class G711Coder:
    """One byte a sample, by ITU-T G.711.

    Args:
        codec: FFmpeg's name, "pcm_mulaw" or "pcm_alaw".
        sample_rate_hz: rate of the samples.
        block_samples: samples of one frame.
    """

    def __init__(self, codec: str, *, sample_rate_hz: int, block_samples: int) -> None:
        self.block_samples = block_samples
        self._sample_rate_hz = sample_rate_hz
        self._sample_count = 0
        self._context = cast(AudioCodecContext, av.CodecContext.create(codec, "w"))
        self._context.sample_rate = sample_rate_hz
        self._context.format = "s16"
        self._context.layout = "mono"

    def encode(self, block: NDArray[np.float32]) -> list[Chunk]:
        frame = av.AudioFrame.from_ndarray(
            quantised(block).reshape(1, -1), format="s16", layout="mono"
        )
        frame.sample_rate = self._sample_rate_hz
        self._sample_count += len(block)
        data = b"".join(bytes(packet) for packet in self._context.encode(frame))
        return [Chunk(data, self._sample_count)]

    def finish(self, rest: NDArray[np.float32]) -> list[Chunk]:
        return self.encode(rest) if len(rest) else []

    def close(self) -> None:
        """Nothing is held but memory."""
