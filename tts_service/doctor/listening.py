"""Listens to a sentence, and says what is odd about it. No recogniser: that it is speech, and
whole, not which words."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voice_store.speech import find_speech

__all__ = ["Heard", "listen", "oddities"]

_WINDOW_MS = 20
_SILENCE_DBFS = -55.0
# The level that the speech detector knows.
_DETECTOR_DBFS = -20.0
_CLIPPED = 0.999
_CLIPPED_RUN = 4

_MAX_CLIPPED_SHARE = 0.001
_LEVEL_RANGE_DBFS = (-40.0, -6.0)
_LONGEST_HOLE_MS = 1500
_PACE_RANGE = (4.0, 40.0)  # characters a second
_LEAST_SPEECH_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard.

    Attributes:
        level_dbfs: of what is not silence; -inf if all is.
        hole_ms: the longest silence within.
        clipped_share: of samples in runs at full scale.
        speech_share: of samples in which somebody speaks.
    """

    duration_s: float
    level_dbfs: float
    hole_ms: int
    clipped_share: float
    speech_share: float


def listen(samples: NDArray[np.float32], sample_rate_hz: int) -> Heard:
    """Listens to samples of shape (n,), full scale 1.0."""
    duration_s = len(samples) / sample_rate_hz
    window = sample_rate_hz * _WINDOW_MS // 1000
    windows = samples[: len(samples) // window * window].reshape(-1, window).astype(np.float64)
    power = np.mean(windows**2, axis=1) if len(windows) else np.zeros(0)
    loud = np.flatnonzero(power > 10 ** (_SILENCE_DBFS / 10))
    if len(loud) == 0:
        return Heard(duration_s, -np.inf, 0, 0.0, 0.0)
    level_dbfs = float(10 * np.log10(np.mean(power[loud])))
    hole = int(np.max(np.diff(loud), initial=1)) - 1
    gain = np.float32(10 ** ((_DETECTOR_DBFS - level_dbfs) / 20))
    speech = find_speech(samples * gain, sample_rate_hz)
    return Heard(
        duration_s=duration_s,
        level_dbfs=level_dbfs,
        hole_ms=hole * _WINDOW_MS,
        clipped_share=_clipped_share(samples),
        speech_share=speech.sample_count / len(samples),
    )


def oddities(heard: Heard, *, characters: int, is_voice: bool) -> Iterator[str]:
    """Says what is odd about a spoken text of so many characters.

    Args:
        is_voice: whether it is to sound like somebody who speaks.
    """
    if heard.level_dbfs == -np.inf:
        yield "it is silent"
        return
    slowest, quickest = _PACE_RANGE
    if not characters / quickest <= heard.duration_s <= characters / slowest:
        yield f"{characters} characters take {heard.duration_s:.1f} s"
    lowest, highest = _LEVEL_RANGE_DBFS
    if not lowest <= heard.level_dbfs <= highest:
        yield f"its level is {heard.level_dbfs:.0f} dBFS"
    if heard.clipped_share > _MAX_CLIPPED_SHARE:
        yield f"{heard.clipped_share:.1%} of it is clipped"
    if heard.hole_ms > _LONGEST_HOLE_MS:
        yield f"it has a hole of {heard.hole_ms} ms"
    if is_voice and heard.speech_share < _LEAST_SPEECH_SHARE:
        yield f"only {heard.speech_share:.0%} of it sounds like speech"


def _clipped_share(samples: NDArray[np.float32]) -> float:
    """Share of the samples that lie in runs at full scale: single ones are just loud."""
    is_full = np.concatenate([[False], np.abs(samples) >= _CLIPPED, [False]])
    borders = np.flatnonzero(np.diff(is_full.astype(np.int8)))
    lengths = borders[1::2] - borders[::2]
    return float(lengths[lengths >= _CLIPPED_RUN].sum() / len(samples))
