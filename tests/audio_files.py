"""Audio files as people upload them, made from samples in memory."""

import io
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray


@dataclass(frozen=True)
class _Recipe:
    container: str
    codec: str
    sample_format: str


class AudioFileKind(Enum):
    """A container and the codec in it."""

    WAV = _Recipe("wav", "pcm_s16le", "s16")
    WAV_24_BIT = _Recipe("wav", "pcm_s24le", "s32")
    WAV_FLOAT = _Recipe("wav", "pcm_f32le", "flt")
    WAV_DOUBLE = _Recipe("wav", "pcm_f64le", "dbl")
    WAV_8_BIT = _Recipe("wav", "pcm_u8", "u8")
    WAV_MULAW = _Recipe("wav", "pcm_mulaw", "s16")
    WAV_ALAW = _Recipe("wav", "pcm_alaw", "s16")
    FLAC = _Recipe("flac", "flac", "s16")
    MP3 = _Recipe("mp3", "libmp3lame", "s16p")
    OGG_OPUS = _Recipe("ogg", "libopus", "flt")
    M4A = _Recipe("ipod", "aac", "fltp")
    M4A_ALAC = _Recipe("ipod", "alac", "s16p")
    AAC_ADTS = _Recipe("adts", "aac", "fltp")
    WEBM = _Recipe("webm", "libopus", "flt")


# One of each container that an upload may come in.
CONTAINER_KINDS = (
    AudioFileKind.WAV,
    AudioFileKind.FLAC,
    AudioFileKind.MP3,
    AudioFileKind.OGG_OPUS,
    AudioFileKind.M4A,
    AudioFileKind.AAC_ADTS,
    AudioFileKind.WEBM,
)

_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


def audio_file(
    kind: AudioFileKind,
    samples: NDArray[np.floating],
    sample_rate_hz: int,
    *,
    bitrate_bps: int | None = None,
) -> bytes:
    """Encodes samples of shape (n,) or (channels, n), full scale 1.0, into a whole file.

    The codec resamples by itself where it does not know the rate: Opus always has one of 8 to
    48 kHz.
    """
    planes = np.atleast_2d(samples)
    recipe = kind.value
    rates = av.codec.Codec(recipe.codec, "w").audio_rates
    rate_hz = sample_rate_hz
    if rates and sample_rate_hz not in rates:
        rate_hz = min((rate for rate in rates if rate > sample_rate_hz), default=max(rates))
    file = io.BytesIO()
    with av.open(file, "w", format=recipe.container) as container:
        stream = cast(AudioStream, container.add_stream(recipe.codec, rate=rate_hz))
        stream.codec_context.layout = _LAYOUTS[len(planes)]
        stream.codec_context.format = recipe.sample_format
        if bitrate_bps is not None:
            stream.codec_context.bit_rate = bitrate_bps
        # The whole of it as one frame, or the codec's delay would be all that a block holds.
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(planes, np.float32), format="fltp", layout=_LAYOUTS[len(planes)]
        )
        frame.sample_rate = sample_rate_hz
        # Without a time the muxer could not say how much of the beginning is the codec's delay.
        frame.pts, frame.time_base = 0, Fraction(1, sample_rate_hz)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def tone(
    seconds: float,
    sample_rate_hz: int,
    *,
    channels: int = 1,
    frequency_hz: float = 440.0,
    level: float = 0.5,
) -> NDArray[np.float32]:
    """A sine of shape (channels, n), each channel a fifth above the one before it."""
    time_s = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    frequencies = frequency_hz * 1.5 ** np.arange(channels)
    return (level * np.sin(2 * np.pi * np.outer(frequencies, time_s))).astype(np.float32)
