"""What one recording is: whether it can be used, its speech, and its measures."""

from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from .errors import RecordingRejectedError, RejectionReason
from .excerpt import Take
from .loudness import decibels, integrated_loudness_lufs, true_peak_dbtp
from .quality import MOST_CLIPPED_SHARE, bandwidth_hz, clipped_count
from .recording import Recording, mixed_down
from .records import RECORDING_RATE_HZ
from .speech import find_speech

__all__ = ["EVEN_LUFS", "Examined", "examined", "measured"]

EVEN_LUFS = -20.0
"""Loudness that each recording is brought to before anything is looked for in it."""

# Below this there is nothing but a recorder's own noise.
_SILENT_DBFS = -60.0


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """One recording.

    Attributes:
        take: the recording, mono at `RECORDING_RATE_HZ`, and its speech.
        gain_db: by how much the take was turned up.
        duration_ms: length of the recording.
        sample_count: length at its own rate.
        clipped_count: how many of them are clipped.
        true_peak_dbtp: of its loudest channel.
        bandwidth_hz: of its mix.
    """

    take: Take
    gain_db: float
    duration_ms: int
    sample_count: int
    clipped_count: int
    true_peak_dbtp: float
    bandwidth_hz: int

    @property
    def clipped_speech_share(self) -> float:
        """Clipped samples over samples of speech; over all samples if there is no speech."""
        speech, length = self.take.speech.sample_count, len(self.take.samples)
        share = speech / length if speech else 1.0
        return min(1.0, self.clipped_count / (share * self.sample_count))

    def as_recorded(self) -> NDArray[np.float32]:
        """The take at its own loudness."""
        return self.take.samples * np.float32(10 ** (-self.gain_db / 20))


def examined(recording: Recording, name: str) -> Examined:
    """Looks for speech in a recording and measures it.

    Args:
        name: what messages call it.

    Raises:
        RecordingRejectedError: NOT_FINITE, TOO_SHORT if it is empty, SILENT, CLIPPED or
            NO_SPEECH.
    """
    samples = recording.samples
    if not np.isfinite(samples).all():
        raise RecordingRejectedError(
            RejectionReason.NOT_FINITE, f"{name} has samples that are infinite or no numbers."
        )
    if not samples.shape[1]:
        raise RecordingRejectedError(RejectionReason.TOO_SHORT, f"{name} is empty.")
    mono = mixed_down(samples)
    if decibels(float(np.abs(mono).max())) < _SILENT_DBFS:
        raise RecordingRejectedError(
            RejectionReason.SILENT,
            f"{name} is silent: nothing in it is within {-_SILENT_DBFS:.0f} dB of full scale.",
        )
    found = measured(recording, mono)
    if found.clipped_speech_share > MOST_CLIPPED_SHARE:
        raise RecordingRejectedError(
            RejectionReason.CLIPPED,
            f"{name} is clipped: {found.clipped_speech_share:.0%} of it is cut off at the top, "
            "so that the input level was far too high.",
        )
    if not found.take.speech.phrases:
        raise RecordingRejectedError(RejectionReason.NO_SPEECH, f"{name} holds no speech.")
    return found


def measured(recording: Recording, mono: NDArray[np.float32]) -> Examined:
    """Measures a recording that is not silent, without a judgement.

    Args:
        mono: its mix, at its rate.
    """
    rate_hz = recording.sample_rate_hz
    take = np.asarray(soxr.resample(mono, rate_hz, RECORDING_RATE_HZ, quality="VHQ"), np.float32)
    gain_db = EVEN_LUFS - integrated_loudness_lufs(take, RECORDING_RATE_HZ)
    take *= np.float32(10 ** (gain_db / 20))
    return Examined(
        take=Take(take, find_speech(take, RECORDING_RATE_HZ)),
        gain_db=gain_db,
        duration_ms=recording.duration_ms,
        sample_count=recording.samples.shape[1],
        clipped_count=clipped_count(recording.samples),
        true_peak_dbtp=max(true_peak_dbtp(channel, rate_hz) for channel in recording.samples),
        bandwidth_hz=bandwidth_hz(mono, rate_hz),
    )
