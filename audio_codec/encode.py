"""Encodes a stream of samples while it is being made."""

from dataclasses import dataclass
from importlib.metadata import version
from types import TracebackType
from typing import Self

import av
import numpy as np
from numpy.typing import NDArray

from audio_codec.coder import Chunk, Coder
from audio_codec.container import ContainerCoder
from audio_codec.errors import (
    EncodingFailedError,
    FormatError,
    LengthMismatchError,
    StreamClosedError,
)
from audio_codec.formats import AudioFormat, Encoding, codec_frames_per_frame, resolve_format
from audio_codec.opus import OggOpusCoder, OpusPacketCoder
from audio_codec.pcm import G711Coder, PcmCoder, wav_header
from audio_codec.resample import StreamResampler, resampled_count

# Says which programs and which revision of this one encode; the same samples and format may give
# other bytes with another.
ENCODER_VERSION = f"1 av {version('av')} ffmpeg {av.ffmpeg_version_info} soxr {version('soxr')}"

# 36 dB above full scale, where all of it is as loud as it gets.
_LOUDEST = 64.0


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """A run of encoded bytes and the audio that it completes.

    The frames of a stream tile it: each begins where the one before it ends, and their sample
    counts add up to the stream's. What counts is what a decoder puts out. Where the container
    declares the codec's delay (Ogg, WebM) a decoder leaves it out; MP3, ADTS and bare Opus
    packets cannot declare it, so that their audio sounds later by the delay.

    Attributes:
        data: the bytes. Those of all frames, joined, are one file (`OPUS_PACKETS` excepted).
        start_sample: where its audio begins, in samples at the output rate.
        sample_count: how many samples it completes; 0 if it only carries a header or what the
            codec's delay held back.
    """

    data: bytes
    start_sample: int
    sample_count: int


class StreamEncoder:
    """Encodes one stream, from its first sample to its last.

    It may be used from several threads, one call at a time. Encoders share nothing.

    Args:
        audio_format: what to encode to, from `resolve_format`.
        source_rate_hz: rate of the samples that will be given.
        source_sample_count: how many will be given, if that is known. WAV then states its
            true length.

    Raises:
        FormatError: `audio_format` does not come from `resolve_format`.
        EncodingFailedError: the codec library cannot be set up.
    """

    def __init__(
        self,
        audio_format: AudioFormat,
        *,
        source_rate_hz: int,
        source_sample_count: int | None = None,
    ) -> None:
        _require_resolved(audio_format, source_rate_hz)
        self._promised_count = source_sample_count
        self._source_count = 0
        self._sample_count = 0
        self._covered_count = 0
        self._finished = False
        self._resampler = StreamResampler(source_rate_hz, audio_format.sample_rate_hz)
        total = None
        if source_sample_count is not None:
            total = resampled_count(
                source_sample_count, source_rate_hz, audio_format.sample_rate_hz
            )
        try:
            self._coder = _open_coder(audio_format, total)
        except av.FFmpegError as error:
            raise EncodingFailedError(f"{audio_format.encoding} cannot be set up") from error
        self._waiting = np.zeros(0, np.float32)

    @property
    def sample_count(self) -> int:
        """Samples at the output rate so far; after `finish`, of the whole stream."""
        return self._sample_count

    def encode(self, samples: NDArray[np.float32]) -> list[EncodedFrame]:
        """Takes samples and returns the frames that they complete, maybe none.

        Args:
            samples: mono, shape (n,), full scale 1.0. What exceeds it saturates; what is not
                a number counts as silence.

        Raises:
            StreamClosedError: after `finish` or `close`.
            EncodingFailedError: the codec library failed.
        """
        self._require_open()
        if samples.ndim != 1:
            raise ValueError("samples must be one channel of shape (n,)")
        self._source_count += len(samples)
        clean = np.nan_to_num(samples.astype(np.float32, copy=False), posinf=1.0, neginf=-1.0)
        # A resampler would make infinities of the largest numbers, and of those no number.
        np.clip(clean, -_LOUDEST, _LOUDEST, out=clean)
        try:
            return self._frames(self._encode_blocks(self._resampler.process(clean)))
        except av.FFmpegError as error:
            raise EncodingFailedError("the encoder refused samples") from error

    def finish(self) -> list[EncodedFrame]:
        """Ends the stream and returns its last frames.

        Raises:
            LengthMismatchError: the stream is not as long as was promised.
            StreamClosedError: after `finish` or `close`.
            EncodingFailedError: the codec library failed.
        """
        self._require_open()
        try:
            if self._promised_count not in (None, self._source_count):
                raise LengthMismatchError(self._promised_count, self._source_count)
            chunks = self._encode_blocks(self._resampler.flush())
            chunks += self._coder.finish(self._waiting)
            frames = self._frames(chunks)
        except av.FFmpegError as error:
            raise EncodingFailedError("the encoder could not end the stream") from error
        finally:
            self.close()
        if self._covered_count != self._sample_count:
            missing = self._sample_count - self._covered_count
            raise EncodingFailedError(f"the encoder lost {missing} samples")
        return frames

    def close(self) -> None:
        """Frees the codec. Frames that were not asked for are lost. May be called twice."""
        self._finished = True
        self._coder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._finished:
            raise StreamClosedError("the encoder has been finished or closed")

    def _encode_blocks(self, samples: NDArray[np.float32]) -> list[Chunk]:
        self._sample_count += len(samples)
        waiting = np.concatenate([self._waiting, np.clip(samples, -1.0, 1.0)])
        size = self._coder.block_samples
        whole = len(waiting) - len(waiting) % size
        chunks = []
        for start in range(0, whole, size):
            chunks += self._coder.encode(waiting[start : start + size])
        # A copy, or the slice would keep all of a long input alive.
        self._waiting = waiting[whole:].copy()
        return chunks

    def _frames(self, chunks: list[Chunk]) -> list[EncodedFrame]:
        frames = []
        for chunk in chunks:
            start = self._covered_count
            self._covered_count = max(start, min(chunk.end_sample, self._sample_count))
            frames.append(EncodedFrame(chunk.data, start, self._covered_count - start))
        return frames


def _require_resolved(audio_format: AudioFormat, source_rate_hz: int) -> None:
    resolved = resolve_format(
        audio_format.encoding,
        source_rate_hz=source_rate_hz,
        sample_rate_hz=audio_format.sample_rate_hz,
        bitrate_bps=audio_format.bitrate_bps,
        frame_ms=audio_format.frame_ms,
    )
    for field in ("sample_rate_hz", "bitrate_bps", "frame_ms"):
        valid = getattr(resolved, field)
        if valid != getattr(audio_format, field):
            raise FormatError(field, f"Must be resolved; the nearest valid value is {valid}.")


def _open_coder(audio_format: AudioFormat, sample_count: int | None) -> Coder:
    encoding, rate_hz = audio_format.encoding, audio_format.sample_rate_hz
    frame_ms, bitrate_bps = audio_format.frame_ms, audio_format.bitrate_bps
    frame_samples = rate_hz * frame_ms // 1000
    match encoding:
        case Encoding.PCM_S16LE:
            return PcmCoder(block_samples=frame_samples)
        case Encoding.WAV:
            header = wav_header(rate_hz, sample_count)
            return PcmCoder(block_samples=frame_samples, header=header)
        case Encoding.MULAW | Encoding.ALAW:
            return G711Coder(f"pcm_{encoding}", sample_rate_hz=rate_hz, block_samples=frame_samples)
        case Encoding.OPUS_PACKETS:
            return OpusPacketCoder(
                sample_rate_hz=rate_hz, bitrate_bps=bitrate_bps, packet_ms=frame_ms
            )
        case Encoding.OGG_OPUS:
            packets_per_page = codec_frames_per_frame(encoding, rate_hz, frame_ms)
            return OggOpusCoder(
                sample_rate_hz=rate_hz,
                bitrate_bps=bitrate_bps,
                packet_ms=frame_ms // packets_per_page,
                packets_per_page=packets_per_page,
            )
        case _:
            return ContainerCoder(audio_format)
