"""Every encoding: a second of a tone goes through it and has to come out again."""

from collections.abc import Iterator

import av
import numpy as np
from numpy.typing import NDArray

from audio_codec import CodecError, Encoding, StreamEncoder, resolve_format

from ..config import Settings
from .decoding import decode_frames
from .finding import Finding, fail, ok

__all__ = ["look_at_codecs"]

_RATE_HZ = 24_000
_TONE_HZ = 440.0
_AMPLITUDE = 0.3
_PIECE = _RATE_HZ // 10
# Codecs add up to two frames of their own at the ends.
_LENGTH_SLACK_S = 0.15
_PITCH_SLACK_HZ = 5.0
_LEVEL_SLACK_DB = 3.0


def look_at_codecs(settings: Settings) -> Iterator[Finding]:
    """Encodes and decodes with all of them."""
    del settings
    seconds = np.arange(_RATE_HZ) / _RATE_HZ
    tone = (_AMPLITUDE * np.sin(2 * np.pi * _TONE_HZ * seconds)).astype(np.float32)
    broken = False
    for encoding in Encoding:
        if (problem := _problem(encoding, tone)) is not None:
            broken = True
            yield fail("codecs", f"{encoding.value}: {problem}", "install the package av anew")
    if not broken:
        yield ok("codecs", f"{len(Encoding)} encodings code and decode")


def _problem(encoding: Encoding, tone: NDArray[np.float32]) -> str | None:
    try:
        audio_format = resolve_format(encoding, source_rate_hz=_RATE_HZ)
        frames = []
        with StreamEncoder(audio_format, source_rate_hz=_RATE_HZ) as encoder:
            for start in range(0, len(tone), _PIECE):
                frames += encoder.encode(tone[start : start + _PIECE])
            frames += encoder.finish()
        samples, rate_hz = decode_frames(
            encoding, audio_format.sample_rate_hz, [frame.data for frame in frames]
        )
    except (CodecError, ValueError, OSError, av.FFmpegError) as error:
        return f"{type(error).__name__}: {error}"
    length_s = len(samples) / rate_hz
    if abs(length_s - 1.0) > _LENGTH_SLACK_S:
        return f"a second became {length_s:.2f} s"
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    pitch_hz = float(np.argmax(spectrum)) * rate_hz / len(samples)
    if abs(pitch_hz - _TONE_HZ) > _PITCH_SLACK_HZ:
        return f"{_TONE_HZ:g} Hz became {pitch_hz:.0f} Hz"
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)) * length_s))
    change_db = 20 * np.log10(max(level, 1e-9) / (_AMPLITUDE / np.sqrt(2)))
    return None if abs(change_db) < _LEVEL_SLACK_DB else f"the level changed by {change_db:+.0f} dB"
