"""Decodes a file that somebody sent.

Nothing in the file is believed. Its first bytes choose the demuxer, and libavformat may use no
other, nor a protocol: an `ffconcat` script or a playlist would otherwise make it open files and
addresses of the sender's choice. Of a header only what is in range is used, and lengths that it
promises never: samples are counted while they are decoded.

A native library may still crash on what it reads, and libavformat does set memory aside by what
some headers say: 2 GB for a WAV of 5 KB. Decode strangers' files in a `Sandbox`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import av

# PyAV imports these when it meets the first stream. A sandbox has closed the doors by then.
import av.audio.codeccontext
import av.subtitles.codeccontext
import av.subtitles.stream
import av.video.codeccontext
import av.video.stream
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from audio_codec.errors import DecodeError, DecodeFailure
from audio_codec.sniff import HEAD_BYTES, Container, sniff_container

__all__ = ["DecodeLimits", "DecodedAudio", "decode_audio"]

_MAX_CHANNELS = 8
_MIN_RATE_HZ, _MAX_RATE_HZ = 4_000, 192_000
_VALUE_BYTES = 4
# Decoders by FFmpeg's names. libavformat tries a file's streams while it opens it, so that the
# list holds already there.
_DECODERS = frozenset(
    "aac alac flac mp3 mp3float opus vorbis pcm_alaw pcm_mulaw pcm_f32be pcm_f32le pcm_f64be "
    "pcm_f64le pcm_s16be pcm_s16le pcm_s24be pcm_s24le pcm_s32be pcm_s32le pcm_s8 pcm_u8".split()
)
# A film has a handful; the default of 1000 is an invitation.
_MAX_STREAMS = 16
# Factor to full scale 1.0, by sample format without the planes' "p". 24-bit samples arrive in
# the upper bits of "s32".
_SCALES = {"s16": 2.0**-15, "s32": 2.0**-31, "s64": 2.0**-63, "flt": 1.0, "dbl": 1.0}


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """How much audio a file may unfold to.

    Attributes:
        max_duration_s: of the audio.
        max_decoded_bytes: of its float32 samples, all channels together. About twice as much is
            held for a moment.
    """

    max_duration_s: float = 600.0
    max_decoded_bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DecodedAudio:
    """The audio of one file.

    Attributes:
        samples: float32, shape (channels, n), n at least 1, finite. Full scale is 1.0; float
            and lossy files may exceed it.
        sample_rate_hz: 4000 to 192000.
        container: what the file was.
        codec: FFmpeg's name of the codec in it, such as "flac" or "pcm_s16le".
    """

    samples: NDArray[np.float32]
    sample_rate_hz: int
    container: Container
    codec: str


def decode_audio(file: BinaryIO, limits: DecodeLimits) -> DecodedAudio:
    """Decodes the first audio stream of a file.

    What is there is taken: a file that has lost its end counts as far as it goes, because
    recorders that stream write no true length either. A cut within a frame is refused where the
    codec can tell, and so is each other error: no frame is skipped. FLAC can prove that it is
    whole, and has to.

    Args:
        file: readable and seekable; read from its beginning and not closed.
        limits: where to stop.

    Raises:
        DecodeError: with the reason.
    """
    file.seek(0)
    container_kind = sniff_container(file.read(HEAD_BYTES))
    if container_kind is None:
        raise DecodeError(
            DecodeFailure.NOT_AUDIO,
            "The file is none of WAV, FLAC, MP3, Ogg, MP4 (M4A), AAC or WebM.",
        )
    file.seek(0)
    try:
        with _open(file, container_kind) as container:
            stream = _first_audio_stream(container, container_kind)
            codec = stream.codec_context.name
            frames = _frames(container, stream)
            if container_kind is Container.FLAC:
                frames = _without_gaps(frames, stream.duration)
            samples, rate_hz = _join(frames, limits)
    except av.FFmpegError as error:
        raise DecodeError(
            DecodeFailure.DAMAGED,
            f"The file begins as {container_kind.label} but cannot be decoded to its end.",
        ) from error
    return DecodedAudio(samples, rate_hz, container_kind, codec)


class _Reader:
    """All that libavformat sees of a file. Without `write` and `name` it can't use them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        # PyAV copies what it is given into a buffer of `size` bytes without a look.
        return self._file.read(size)[:size]

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _open(file: BinaryIO, container_kind: Container) -> InputContainer:
    return av.open(
        _Reader(file),
        "r",
        format=container_kind.demuxer,
        # Each of these blocks a file that names another; none depends on the sniffing.
        container_options={
            "format_whitelist": container_kind.demuxer,
            "protocol_whitelist": "none",
            "codec_whitelist": ",".join(sorted(_DECODERS)),
            "max_streams": str(_MAX_STREAMS),
        },
        # Titles may be in any encoding, and nobody reads them here.
        metadata_errors="replace",
    )


def _first_audio_stream(container: InputContainer, container_kind: Container) -> AudioStream:
    if not container.streams.audio:
        raise DecodeError(
            DecodeFailure.NOT_AUDIO, f"The {container_kind.label} file holds no audio."
        )
    stream = container.streams.audio[0]
    # PyAV leaves the context out where FFmpeg has no decoder.
    if stream.codec_context is None or stream.codec_context.codec.name not in _DECODERS:
        raise DecodeError(
            DecodeFailure.UNSUPPORTED,
            f"The audio in the {container_kind.label} file is in a codec that is not supported.",
        )
    # PyAV's default is a thread a core, which the sandbox forbids.
    stream.codec_context.thread_count = 1
    if stream.codec_context.codec.name == "flac":
        # Checksums are compared only on request. Lossy files of real life have flaws that
        # their decoders rightly bridge.
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    return stream


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    for packet in container.demux(stream):
        yield from packet.decode()


def _without_gaps(frames: Iterator[AudioFrame], promised_count: int | None) -> Iterator[AudioFrame]:
    """The frames of a FLAC file, which are numbered.

    libavformat quietly passes over those whose checksum is wrong.
    """
    count = 0
    for frame in frames:
        if frame.pts != count:
            raise DecodeError(DecodeFailure.DAMAGED, "A part of the FLAC file is damaged.")
        count += frame.samples
        yield frame
    if promised_count is not None and count < promised_count:
        raise DecodeError(DecodeFailure.DAMAGED, "The end of the FLAC file is missing.")


def _join(frames: Iterator[AudioFrame], limits: DecodeLimits) -> tuple[NDArray[np.float32], int]:
    """All samples, shape (channels, n), and their rate."""
    blocks: list[NDArray[np.float32]] = []
    count = 0
    first: tuple[int, int] | None = None
    for frame in frames:
        rate_hz, channels = frame.sample_rate, frame.layout.nb_channels
        if first is None:
            first = rate_hz, channels
            _require_in_range(rate_hz, channels)
            max_count = min(
                int(limits.max_duration_s * rate_hz),
                limits.max_decoded_bytes // (channels * _VALUE_BYTES),
            )
        elif first != (rate_hz, channels):
            raise DecodeError(
                DecodeFailure.DAMAGED, "The audio changes its sample rate or channels on the way."
            )
        count += frame.samples
        if count > max_count:
            raise DecodeError(
                DecodeFailure.TOO_LONG,
                f"The audio is longer than {max_count / rate_hz:g} s.",
            )
        blocks.append(_values(frame, channels))
    if first is None or count == 0:
        raise DecodeError(DecodeFailure.NOT_AUDIO, "The file holds no audio.")
    samples = np.concatenate(blocks, axis=1)
    if not np.isfinite(samples).all():
        raise DecodeError(
            DecodeFailure.NOT_FINITE, "Some samples are infinite or not numbers at all."
        )
    return samples, first[0]


def _require_in_range(rate_hz: int, channels: int) -> None:
    if not _MIN_RATE_HZ <= rate_hz <= _MAX_RATE_HZ:
        raise DecodeError(
            DecodeFailure.UNSUPPORTED,
            f"The sample rate is {rate_hz} Hz; {_MIN_RATE_HZ} to {_MAX_RATE_HZ} are supported.",
        )
    if not 1 <= channels <= _MAX_CHANNELS:
        raise DecodeError(
            DecodeFailure.UNSUPPORTED,
            f"The audio has {channels} channels; 1 to {_MAX_CHANNELS} are supported.",
        )


def _values(frame: AudioFrame, channels: int) -> NDArray[np.float32]:
    """The frame's samples at full scale 1.0, shape (channels, n)."""
    planes = frame.to_ndarray()
    if frame.format.is_packed:
        planes = planes.reshape(-1, channels).T
    kind = frame.format.name.removesuffix("p")
    # A double can be too large for a float; it is found not to be finite then.
    with np.errstate(over="ignore"):
        if kind == "u8":
            return (planes.astype(np.float32) - 128.0) / 128.0
        return (planes * _SCALES[kind]).astype(np.float32)
