"""How good recordings are: what is measured, and what people should know of it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .records import QualityWarning
from .speech import Span

__all__ = [
    "MOST_CLIPPED_SHARE",
    "Findings",
    "bandwidth_hz",
    "clipped_count",
    "signal_to_noise_db",
    "warnings_about",
]

MOST_CLIPPED_SHARE = 0.10
"""Share of speech that may be clipped; beyond it nobody sounds like themselves."""

# From here on people should know. Speech that is driven 3 dB into the rail has 0.1 % clipped
# samples; a quiet room with a headset gives 40 dB, a laptop at arm's length 20 to 30; telephones
# end at 4 kHz and their better kind at 7 kHz.
_CLIPPED_SHARE = 0.001
_NOISE_DB = 30.0
_BANDWIDTH_HZ = 6_900
_QUIET_LUFS = -38.0
_SHORT_MS = 6_000
_LIMITED_DB = 6.0

# Clipping: this many samples or more in a row, so close to the highest one.
_CLIPPED_RUN = 3
_CLIPPED_WITHIN = 0.001

# Noise is measured in pauses, this far from speech, which rings on and is breathed before.
_GUARD_MS = 100
_STEP_MS = 20
_LEAST_PAUSE_MS = 200
# Of the pauses' 20 ms. Breaths, clicks and the room's echo lie above it.
_NOISE_PERCENTILE = 25
# Noise of rounding to 16 bits, below which no recorder goes.
_ROUNDING_POWER = (2.0**-15) ** 2 / 12

# Spectrum: frames of about 43 ms, no more of them than tell something new.
_FRAMES_PER_S = 23.4
_MOST_FRAMES = 4000
# The spectrum of speech falls by 50 to 60 dB up to 12 kHz; what codecs and resamplers cut off
# lies deeper than this.
_FLOOR_BELOW_PEAK_DB = 75.0
_FLOOR_ABOVE_ROUNDING_DB = 10.0
_SMOOTHING_BINS = 5


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known of the recordings of one style.

    Attributes:
        speech_ms: speech in the recordings.
        kept_ms: length of what is kept.
        shortened: whether speech was left out.
        loudness_lufs: of the recordings.
        clipped_speech_share: clipped samples over samples of speech.
        signal_to_noise_db: None if unknown.
        bandwidth_hz: of the recording that has least.
        limited_db: how far the highest peak was turned down.
    """

    speech_ms: int
    kept_ms: int
    shortened: bool
    loudness_lufs: float
    clipped_speech_share: float
    signal_to_noise_db: float | None
    bandwidth_hz: int
    limited_db: float


def warnings_about(findings: Findings) -> tuple[QualityWarning, ...]:
    """What a person should know, and can do, the most serious first."""
    found: list[tuple[str, str]] = []
    share = findings.clipped_speech_share
    if share > _CLIPPED_SHARE:
        found.append(
            (
                "CLIPPING",
                f"Clipping: {share:.1%} of the speech is cut off at the top. Turn the input "
                "level down, or move away from the microphone.",
            )
        )
    ratio_db = findings.signal_to_noise_db
    if ratio_db is not None and ratio_db < _NOISE_DB:
        level = f"{ratio_db:.0f} dB below" if ratio_db >= 1 else "as loud as"
        found.append(
            (
                "BACKGROUND_NOISE",
                f"Background noise: {level} the voice. Record in a quieter room, or closer to "
                "the microphone.",
            )
        )
    if findings.bandwidth_hz < _BANDWIDTH_HZ:
        found.append(
            (
                "LOW_BANDWIDTH",
                f"Dull sound: nothing above {findings.bandwidth_hz / 1000:.1f} kHz, as on a "
                "telephone. Use the original recording, or a better microphone.",
            )
        )
    if findings.speech_ms < _SHORT_MS:
        found.append(
            (
                "SHORT",
                f"Short: {findings.speech_ms / 1000:.1f} s of speech. 10 to 30 s make a better "
                "likeness.",
            )
        )
    if findings.loudness_lufs < _QUIET_LUFS:
        found.append(
            (
                "QUIET",
                f"Quiet: {findings.loudness_lufs:.0f} LUFS. Turn the input level up, or move "
                "closer to the microphone.",
            )
        )
    if findings.limited_db > _LIMITED_DB:
        found.append(
            (
                "LOUD_PEAKS",
                f"Sudden loud sounds: turned down by {findings.limited_db:.0f} dB. Avoid knocks, "
                "and breath into the microphone.",
            )
        )
    if findings.shortened:
        found.append(
            (
                "SHORTENED",
                f"Shortened: of {findings.speech_ms / 1000:.0f} s of speech the best "
                f"{findings.kept_ms / 1000:.0f} s were kept.",
            )
        )
    return tuple(QualityWarning(code, message) for code, message in found)


def clipped_count(samples: NDArray[np.float32]) -> int:
    """Counts samples where the waveform stands flat at its highest or lowest value.

    That value is full scale, or what the recording itself never exceeds: sound may have been
    turned down after it was clipped.

    Args:
        samples: shape (channels, n), finite.

    Returns:
        Clipped samples of the channel that has most of them.
    """
    return max(_flat_count(channel) + _flat_count(-channel) for channel in samples)


def _flat_count(channel: NDArray[np.float32]) -> int:
    rail = min(float(channel.max(initial=0.0)), 1.0)
    if rail <= 0.0:
        return 0
    flat = np.concatenate([[False], channel >= rail * (1 - _CLIPPED_WITHIN), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    lengths = edges[1::2] - edges[::2]
    return int(lengths[lengths >= _CLIPPED_RUN].sum())


def signal_to_noise_db(
    pieces: Iterable[tuple[NDArray[np.float32], Sequence[Span]]], sample_rate_hz: int
) -> float | None:
    """Estimates the level of speech above the noise that is heard in its pauses.

    Args:
        pieces: samples of shape (n,), and where speech is in them. All count together.

    Returns:
        Mean power of the speech, less the noise in it, over the steady power of the pauses, in
        dB from -20 to about 100. None if the pauses are too short to tell.
    """
    step = sample_rate_hz * _STEP_MS // 1000
    speech: list[NDArray[np.float64]] = []
    pauses: list[NDArray[np.float64]] = []
    for samples, spans in pieces:
        frames = samples[: len(samples) // step * step].reshape(-1, step)
        powers = np.einsum("ij,ij->i", frames, frames, dtype=np.float64) / step
        spoken = np.zeros(len(powers), bool)
        near = np.zeros(len(powers), bool)
        guard = _GUARD_MS // _STEP_MS
        for span in spans:
            start, stop = span.start // step, -(-span.stop // step)
            spoken[start:stop] = True
            near[max(0, start - guard) : stop + guard] = True
        speech.append(powers[spoken])
        pauses.append(powers[~near])
    spoken_powers, pause_powers = np.concatenate(speech), np.concatenate(pauses)
    if not len(spoken_powers) or len(pause_powers) * _STEP_MS < _LEAST_PAUSE_MS:
        return None
    noise = max(float(np.percentile(pause_powers, _NOISE_PERCENTILE)), _ROUNDING_POWER)
    return 10 * float(np.log10(max(0.01, float(spoken_powers.mean()) / noise - 1)))


def bandwidth_hz(samples: NDArray[np.float32], sample_rate_hz: int) -> int:
    """Estimates the frequency below which nearly all of the sound lies.

    It is the highest one at which the mean spectrum stands above a floor: 75 dB below its peak,
    and clear of the noise of rounding to 16 bits. A telephone's recording has 4 kHz, whatever
    its sample rate.

    Args:
        samples: mono, shape (n,), not silent.
    """
    size: int = 2 ** round(math.log2(sample_rate_hz / _FRAMES_PER_S))
    if len(samples) < size:
        samples = np.pad(samples, (0, size - len(samples)))
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    frames = frames[:: -(-len(frames) // _MOST_FRAMES)]
    window = np.hanning(size).astype(np.float32)
    power = np.zeros(size // 2 + 1)
    for frame in frames:
        power += np.abs(np.fft.rfft(frame * window)) ** 2
    power /= len(frames)
    smooth = np.convolve(power, np.full(_SMOOTHING_BINS, 1 / _SMOOTHING_BINS), "same")
    rounding = _ROUNDING_POWER * float(np.sum(window**2))
    floor = max(
        float(smooth.max()) * 10 ** (-_FLOOR_BELOW_PEAK_DB / 10),
        rounding * 10 ** (_FLOOR_ABOVE_ROUNDING_DB / 10),
    )
    heard = np.flatnonzero(smooth > floor)
    highest = int(heard[-1]) if len(heard) else 0
    return highest * sample_rate_hz // size
