"""Loudness and peaks, measured and set.

Loudness is ITU-R BS.1770-4's, through FFmpeg's filter `ebur128`: it agrees with pyloudnorm (de
Man's coefficients) to 0.01 LU at all rates, and spares the import of SciPy, which takes longer
than all the rest of preparing a short recording.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
import soxr
from numpy.typing import NDArray

__all__ = ["Levelled", "decibels", "integrated_loudness_lufs", "levelled", "true_peak_dbtp"]

# What an empty or silent recording is said to have. BS.1770's absolute gate is at -70 LUFS.
_LOWEST_LUFS = -70.0
_LOWEST_DB = -120.0
_BLOCK_S = 1
# BS.1770-4, annex 2.
_OVERSAMPLING = 4

# The limiter looks this far ahead, and behind: short enough that it only touches the peak's
# own period, long enough that the gain's slope is not heard.
_LIMITER_REACH_MS = 5
# The gain's slope adds peaks of its own; the ceiling is kept for them as well.
_LIMITER_MARGIN_DB = 0.1
# The limiter takes some loudness away, which a second pass makes up for. Speech needs two.
_PASSES = 5
_CLOSE_ENOUGH_LU = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Levelled:
    """Audio at its target loudness.

    Attributes:
        samples: shape (n,), float32.
        limited_db: how far the highest peak was turned down, 0 if none was.
    """

    samples: NDArray[np.float32]
    limited_db: float


def decibels(amplitude: float) -> float:
    """20 log10, not below -120."""
    return max(_LOWEST_DB, 20.0 * float(np.log10(max(amplitude, 1e-12))))


def integrated_loudness_lufs(samples: NDArray[np.float32], sample_rate_hz: int) -> float:
    """Integrated loudness after ITU-R BS.1770-4, gated.

    Args:
        samples: mono, shape (n,), full scale 1.0.

    Returns:
        LUFS; -70 for what is silent, or shorter than the 0.4 s of one gating block.
    """
    graph = av.filter.Graph()
    source = graph.add(
        "abuffer",
        f"sample_rate={sample_rate_hz}:sample_fmt=flt:channel_layout=mono"
        f":time_base=1/{sample_rate_hz}",
    )
    meter = graph.add("ebur128", "metadata=1:framelog=quiet")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()

    loudness = _LOWEST_LUFS
    block = _BLOCK_S * sample_rate_hz
    for start in range(0, len(samples), block):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[None, start : start + block]), format="flt", layout="mono"
        )
        frame.sample_rate = sample_rate_hz
        frame.pts = start
        source.push(frame)
        loudness = _last_loudness(sink, loudness)
    source.push(None)
    return max(_LOWEST_LUFS, _last_loudness(sink, loudness))


def _last_loudness(sink: "av.filter.context.FilterContext", before: float) -> float:
    loudness = before
    while True:
        try:
            frame = sink.pull()
        except (av.BlockingIOError, av.EOFError):
            return loudness
        value = float(frame.metadata.get("lavfi.r128.I", loudness))
        if np.isfinite(value):
            loudness = value


def true_peak_dbtp(samples: NDArray[np.float32], sample_rate_hz: int) -> float:
    """Highest value of the waveform between the samples, after ITU-R BS.1770-4, annex 2.

    Args:
        samples: mono, shape (n,), full scale 1.0.

    Returns:
        dB over full scale, not below -120.
    """
    highest = float(np.abs(samples).max(initial=0.0))
    for block in _oversampled(samples, sample_rate_hz):
        highest = max(highest, float(np.abs(block).max(initial=0.0)))
    return decibels(highest)


def _oversampled(
    samples: NDArray[np.float32], sample_rate_hz: int
) -> Iterator[NDArray[np.float32]]:
    # In blocks, because ten minutes would take half a gigabyte.
    resampler = soxr.ResampleStream(
        sample_rate_hz, _OVERSAMPLING * sample_rate_hz, 1, dtype="float32", quality="HQ"
    )
    block = _BLOCK_S * sample_rate_hz
    for start in range(0, len(samples), block):
        end = start + block
        yield resampler.resample_chunk(samples[start:end], last=end >= len(samples))


def levelled(
    samples: NDArray[np.float32],
    sample_rate_hz: int,
    *,
    target_lufs: float,
    ceiling_dbtp: float,
) -> Levelled:
    """Brings audio to a loudness under a true-peak ceiling.

    Peaks that would pass the ceiling are turned down by a look-ahead limiter, and the rest is
    turned up until the loudness fits. The ceiling always holds. Where the sound is all peak,
    the loudness stays below its target.

    Args:
        samples: mono, shape (n,), not silent.
    """
    gain_db = target_lufs - integrated_loudness_lufs(samples, sample_rate_hz)
    best = Levelled(samples, 0.0)
    best_miss = np.inf
    for _ in range(_PASSES):
        louder = samples * np.float32(10 ** (gain_db / 20))
        candidate = _limited(louder, sample_rate_hz, ceiling_dbtp)
        miss = target_lufs - integrated_loudness_lufs(candidate.samples, sample_rate_hz)
        if abs(miss) < best_miss:
            best, best_miss = candidate, abs(miss)
        if abs(miss) <= _CLOSE_ENOUGH_LU:
            break
        gain_db += miss
    return best


def _limited(samples: NDArray[np.float32], sample_rate_hz: int, ceiling_dbtp: float) -> Levelled:
    aim = 10 ** ((ceiling_dbtp - _LIMITER_MARGIN_DB) / 20)
    peaks = _peaks(samples, sample_rate_hz)
    highest = float(peaks.max(initial=0.0))
    if highest <= aim:
        return Levelled(samples, 0.0)
    wanted = np.minimum(1.0, aim / np.maximum(peaks, 1e-9))

    # The lowest gain that is wanted within reach, then a mean over the same reach: smooth, and
    # at each sample no higher than what it wants.
    reach = sample_rate_hz * _LIMITER_REACH_MS // 1000
    padded = np.pad(wanted, 2 * reach, constant_values=1.0)
    lowest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).min(axis=1)
    window = np.hanning(2 * reach + 3)[1:-1]
    gain = np.convolve(lowest, window / window.sum(), "valid")

    limited = (samples * gain).astype(np.float32)
    # A hundredth of a decibel is for rounding to 16 bits.
    over_db = true_peak_dbtp(limited, sample_rate_hz) - (ceiling_dbtp - 0.01)
    if over_db > 0:
        limited *= np.float32(10 ** (-over_db / 20))
    return Levelled(limited, max(0.0, decibels(highest) - ceiling_dbtp))


def _peaks(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
    """The highest value around each sample, shape (n,)."""
    oversampled = np.concatenate(list(_oversampled(samples, sample_rate_hz)))
    between = np.zeros(len(samples) * _OVERSAMPLING, np.float32)
    count = min(len(between), len(oversampled))
    between[:count] = np.abs(oversampled[:count])
    highest: NDArray[np.float32] = between.reshape(-1, _OVERSAMPLING).max(axis=1)
    return np.maximum(highest, np.abs(samples))
