"""A recording as it was decoded, and its mix to one channel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Recording", "mixed_down"]

# A channel this far below the loudest one holds crosstalk and noise, and no voice.
_SILENT_BELOW_DB = -20.0
# Channels that agree less than this with the loudest one hold another speaker, the room, or
# the same voice late or upside down. Adding them would thin the voice out.
_LEAST_CORRELATION = 0.5
# Decoders overshoot by a few dB where a loud recording was coded with loss. What lies further
# beyond full scale is no sound, and a single such sample would drown everything else.
_HIGHEST_SAMPLE = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One recording.

    Attributes:
        samples: shape (channels, n), float32, full scale 1.0.
        sample_rate_hz: rate of the samples.
    """

    samples: NDArray[np.float32]
    sample_rate_hz: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or self.samples.dtype != np.float32 or not len(self.samples):
            raise ValueError("samples must be float32 of shape (channels, n)")
        if self.sample_rate_hz <= 0:
            raise ValueError("the sample rate must be positive")

    @property
    def duration_ms(self) -> int:
        """Length of the recording."""
        return int(self.samples.shape[1] * 1000 // self.sample_rate_hz)


def mixed_down(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mixes channels to one, such that nothing cancels out.

    The mix is the mean of the loudest channel and of those that agree with it. Channels that
    are silent, out of phase or of other content are left out. Constant offsets are removed.

    Args:
        samples: finite, shape (channels, n), n >= 1.

    Returns:
        Shape (n,), float32.
    """
    channels = [_centred(channel) for channel in samples]
    powers = [float(np.dot(channel, channel)) for channel in channels]
    loudest = int(np.argmax(powers))
    least_power = powers[loudest] * 10 ** (_SILENT_BELOW_DB / 10)
    mix = channels[loudest].copy()
    count = 1
    for index, (channel, power) in enumerate(zip(channels, powers, strict=True)):
        if index == loudest or power <= least_power:
            continue
        together = float(np.dot(channel, channels[loudest]))
        if together >= _LEAST_CORRELATION * np.sqrt(power) * np.sqrt(powers[loudest]):
            mix += channel
            count += 1
    mix /= count
    return mix


def _centred(channel: NDArray[np.float32]) -> NDArray[np.float32]:
    limited = np.clip(channel, -_HIGHEST_SAMPLE, _HIGHEST_SAMPLE)
    limited -= np.float32(limited.mean(dtype=np.float64))
    return limited
