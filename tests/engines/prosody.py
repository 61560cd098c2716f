"""What is heard at the border of two clauses: how long it is quiet, and where the voice goes."""

from dataclasses import dataclass

import librosa
import numpy as np
from numpy.typing import NDArray

__all__ = ["Border", "hear_border"]

_BLOCK_MS = 5
_QUIET_DB = -35.0  # below the loudest block of the sentence
_SEARCH_MS = 200  # a pause that begins further from the border belongs to something else
_VOICE_MS = 300
_AROUND_MS = 1500
_PITCH_HZ = (60.0, 300.0)


@dataclass(frozen=True, slots=True)
class Border:
    """The border of two clauses.

    Attributes:
        pause_ms: how long it is quiet there; 0 if nowhere near it.
        before_hz, after_hz: median pitch of the last and the first 300 ms that have a voice.
        fall_semitones: the last 300 ms against the clause's last 1.5 s; negative: the voice falls.
    """

    pause_ms: float
    before_hz: float
    after_hz: float
    fall_semitones: float

    @property
    def reset_semitones(self) -> float:
        """How much higher the voice begins anew than it ended."""
        return _semitones(self.after_hz, self.before_hz)


def hear_border(samples: NDArray[np.float32], at: int, rate_hz: int) -> Border | None:
    """Listens around a sample; None if there is no voice on both sides."""
    start, end = _quiet(samples, at, rate_hz)
    reach = _AROUND_MS * rate_hz // 1000
    before = _pitch(samples[max(0, start - reach) : start], rate_hz)
    after = _pitch(samples[end : end + reach], rate_hz)
    if not len(before) or not len(after):
        return None
    count = _VOICE_MS * rate_hz // 1000 // 256
    last_hz = float(np.median(before[-count:]))
    return Border(
        pause_ms=(end - start) * 1000 / rate_hz,
        before_hz=last_hz,
        after_hz=float(np.median(after[:count])),
        fall_semitones=_semitones(last_hz, float(np.median(before))),
    )


def _quiet(samples: NDArray[np.float32], at: int, rate_hz: int) -> tuple[int, int]:
    """The longest quiet run near a sample: first sample, and one past the last."""
    block = _BLOCK_MS * rate_hz // 1000
    count = len(samples) // block
    energy = np.square(samples[: count * block]).reshape(count, block).mean(axis=1)
    is_quiet = energy < energy.max() * 10 ** (_QUIET_DB / 10)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_quiet, [False]]).astype(int)))
    near = _SEARCH_MS // _BLOCK_MS
    runs = [
        (int(start), int(end))
        for start, end in edges.reshape(-1, 2)
        if start - near <= at // block <= end + near
    ]
    start, end = max(runs, key=lambda run: run[1] - run[0], default=(at // block, at // block))
    return start * block, end * block


def _pitch(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
    """Hertz of the blocks of 256 samples that have a voice."""
    low, high = _PITCH_HZ
    if len(samples) < 2048:
        return np.empty(0)
    pitch, has_voice, _ = librosa.pyin(samples, fmin=low, fmax=high, sr=rate_hz, hop_length=256)
    return np.asarray(pitch[has_voice], dtype=np.float64)


def _semitones(hz: float, against_hz: float) -> float:
    return float(12 * np.log2(hz / against_hz))
