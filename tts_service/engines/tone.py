"""An engine without a model: each character is a short tone.

It is deterministic to the bit, so that tests of everything around an engine can compare
samples, and it can be told to take its time, so that they can interrupt it.
"""

import threading
import time

import numpy as np
from numpy.typing import NDArray

from .base import (
    Ability,
    EngineDescription,
    EngineVoice,
    OptionError,
    PcmChunk,
    RenderJob,
    UnknownVoiceError,
)

__all__ = ["ToneEngine"]

_SAMPLE_RATE_HZ = 24_000
_CHARACTER_MS = 60
_RAMP_MS = 5
_AMPLITUDE = 0.3
_BASE_HZ = {"tone-low": 110.0, "tone-high": 440.0}


class ToneEngine:
    """Speaks in tones, one a character, silence for white space.

    Args:
        real_time_factor: seconds that a second of audio takes, as text; "0" is as fast as
            it goes, "1" is real time.

    Raises:
        OptionError: the factor is not a number from 0 to 100.
    """

    def __init__(self, *, real_time_factor: str = "0") -> None:
        try:
            self._real_time_factor = float(real_time_factor)
        except ValueError:
            self._real_time_factor = -1.0
        if not 0.0 <= self._real_time_factor <= 100.0:
            raise OptionError(
                f"real_time_factor is a number from 0 to 100, not {real_time_factor!r}"
            )

    def describe(self) -> EngineDescription:
        """See `Engine.describe`."""
        voices = tuple(
            EngineVoice(
                id=name,
                display_name=name.replace("-", " ").title(),
                languages=("en", "de"),
                sample_rate_hz=_SAMPLE_RATE_HZ,
                model_fingerprint=f"{name}-1",
            )
            for name in _BASE_HZ
        )
        return EngineDescription(
            name="tone",
            voices=voices,
            model_fingerprint="tone-1",
            max_segment_characters=400,
            max_concurrent_renders=32,
            abilities=frozenset({Ability.SPEED}),
        )

    def render(self, job: RenderJob) -> "ToneRender":
        """See `Engine.render`."""
        if job.voice not in _BASE_HZ:
            raise UnknownVoiceError(job.voice)
        return ToneRender(job, _BASE_HZ[job.voice], self._real_time_factor)

    def close(self) -> None:
        """See `Engine.close`."""


class ToneRender:
    """One text as tones, a chunk a character."""

    def __init__(self, job: RenderJob, base_hz: float, real_time_factor: float) -> None:
        self._text = job.text
        self._base_hz = base_hz
        self._samples_per_character = round(_SAMPLE_RATE_HZ * _CHARACTER_MS / 1000 / job.speed)
        self._pause_s = self._samples_per_character / _SAMPLE_RATE_HZ * real_time_factor
        self._position = 0
        self._due_s = time.monotonic()
        self._cancelled = threading.Event()

    @property
    def sample_count(self) -> int:
        """See `Render.sample_count`."""
        return len(self._text) * self._samples_per_character

    def __iter__(self) -> "ToneRender":
        return self

    def __next__(self) -> PcmChunk:
        if self._position >= len(self._text):
            raise StopIteration
        self._due_s += self._pause_s
        if self._cancelled.wait(max(0.0, self._due_s - time.monotonic())):
            raise StopIteration
        position = self._position
        self._position += 1
        return PcmChunk(self._tone(self._text[position]), position, self._position)

    def cancel(self) -> None:
        """See `Render.cancel`."""
        self._cancelled.set()

    def _tone(self, character: str) -> NDArray[np.float32]:
        count = self._samples_per_character
        if character.isspace():
            return np.zeros(count, dtype=np.float32)
        # Semitones above the base, two octaves of them; neighbours in the alphabet differ.
        frequency_hz = self._base_hz * 2.0 ** (ord(character) % 24 / 12)
        seconds = np.arange(count) / _SAMPLE_RATE_HZ
        ramp = np.minimum(1.0, np.minimum(seconds, seconds[::-1]) / (_RAMP_MS / 1000))
        tone = _AMPLITUDE * ramp * np.sin(2 * np.pi * frequency_hz * seconds)
        return np.asarray(tone, dtype=np.float32)
