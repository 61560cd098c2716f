"""An engine without a model: each character is a short tone.

It is deterministic to the bit, so that tests of everything around an engine can compare
samples, and it can be told to take its time, so that they can interrupt it. It clones, too:
a recording's pitch and the colour of its sound are found again in the tones. It mixes voices
by the weighted means of both.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from .base import (
    Ability,
    EmbeddingError,
    EngineDescription,
    EngineVoice,
    OptionError,
    PcmChunk,
    RenderJob,
    UnknownVoiceError,
)
from .misbehaviour import Misbehaviour

__all__ = ["ToneEngine"]

_SAMPLE_RATE_HZ = 24_000
_CHARACTER_MS = 60
_RAMP_MS = 5
_AMPLITUDE = 0.3
_LANGUAGES = ("en", "de")
# Where the pitch of speech is looked for, in Hz.
_PITCH_RANGE_HZ = (60.0, 400.0)
_FULL_HARMONIC_COUNT = 4


@dataclass(frozen=True, slots=True)
class Timbre:
    """What a voice of tones is.

    Attributes:
        base_hz: the lowest tone.
        harmonics: strength of the fundamental and the overtones, summing to 1.
    """

    base_hz: float
    harmonics: tuple[float, ...]

    @classmethod
    def of_recording(cls, samples: NDArray[np.float32], sample_rate_hz: int) -> "Timbre":
        """Measures pitch and overtones of a recording's long-term spectrum."""
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
        hertz = np.fft.rfftfreq(len(samples), 1 / sample_rate_hz)
        voiced = (hertz >= _PITCH_RANGE_HZ[0]) & (hertz <= _PITCH_RANGE_HZ[1])
        power = spectrum[voiced]
        base_hz = float((hertz[voiced] * power).sum() / max(power.sum(), 1e-12))
        bands = [
            spectrum[(hertz >= base_hz * n * 0.75) & (hertz < base_hz * n * 1.25)].sum()
            for n in range(1, _FULL_HARMONIC_COUNT + 1)
        ]
        strengths = np.sqrt(np.asarray(bands)) + 1e-6
        return cls(max(base_hz, _PITCH_RANGE_HZ[0]), tuple(strengths / strengths.sum()))

    @classmethod
    def of_mix(cls, parts: Sequence[tuple["Timbre", float]]) -> "Timbre":
        """The weighted means of timbres, which come with their weights."""
        total = sum(weight for _, weight in parts)
        shares = [weight / total for _, weight in parts]
        bases_hz = [timbre.base_hz for timbre, _ in parts]
        columns = zip_longest(*(timbre.harmonics for timbre, _ in parts), fillvalue=0.0)
        return cls(_dot(shares, bases_hz), tuple(_dot(shares, column) for column in columns))

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        tensors = {
            "base_hz": np.array([self.base_hz], dtype=np.float32),
            "harmonics": np.array(self.harmonics, dtype=np.float32),
        }
        return safetensors.numpy.save(tensors, metadata={"model": "tone-1"})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Timbre":
        """Reads what `to_bytes` wrote.

        Raises:
            EmbeddingError: it is something else.
        """
        try:
            tensors = safetensors.numpy.load(data)
            return cls(float(tensors["base_hz"][0]), tuple(map(float, tensors["harmonics"])))
        except (safetensors.SafetensorError, KeyError, IndexError) as error:
            raise EmbeddingError("not an embedding of the tone engine") from error


def _dot(weights: Sequence[float], values: Sequence[float]) -> float:
    return sum(weight * value for weight, value in zip(weights, values, strict=True))


_VOICES = {"tone-low": Timbre(110.0, (1.0,)), "tone-high": Timbre(440.0, (1.0,))}


class ToneEngine:
    """Speaks in tones, one a character, silence for white space.

    Args:
        real_time_factor: seconds that a second of audio takes, as text; "0" is as fast as
            it goes, "1" is real time.
        misbehaves: "true" to have it do what `Misbehaviour` lists.

    Raises:
        OptionError: the factor is not a number from 0 to 100, or the other no "true" or "false".
    """

    def __init__(self, *, real_time_factor: str = "0", misbehaves: str = "false") -> None:
        try:
            self._real_time_factor = float(real_time_factor)
        except ValueError:
            self._real_time_factor = -1.0
        if not 0.0 <= self._real_time_factor <= 100.0:
            raise OptionError(
                f"real_time_factor is a number from 0 to 100, not {real_time_factor!r}"
            )
        if misbehaves not in ("true", "false"):
            raise OptionError(f"misbehaves is true or false, not {misbehaves!r}")
        self._misbehaviour = Misbehaviour() if misbehaves == "true" else None

    def describe(self) -> EngineDescription:
        """See `Engine.describe`."""
        voices = tuple(
            EngineVoice(
                id=name,
                display_name=name.replace("-", " ").title(),
                languages=_LANGUAGES,
                sample_rate_hz=_SAMPLE_RATE_HZ,
                model_fingerprint=f"{name}-1",
            )
            for name in _VOICES
        )
        return EngineDescription(
            name="tone",
            voices=voices,
            model_fingerprint="tone-1",
            max_segment_characters=400,
            max_concurrent_renders=32,
            abilities=frozenset({Ability.SPEED, Ability.CLONE, Ability.MIX}),
            clone_languages=_LANGUAGES,
            clone_sample_rate_hz=_SAMPLE_RATE_HZ,
        )

    def render(self, job: RenderJob) -> "ToneRender":
        """See `Engine.render`."""
        if job.mix:
            timbre = Timbre.of_mix(
                [(_timbre(part.voice, part.embedding), part.weight) for part in job.mix]
            )
        else:
            timbre = _timbre(job.voice, job.embedding)
        return ToneRender(job, timbre, self._real_time_factor, self._misbehaviour)

    def embed(self, samples: NDArray[np.float32], sample_rate_hz: int, language: str) -> bytes:
        """See `CloningEngine.embed`. The language makes no difference."""
        del language
        return Timbre.of_recording(samples, sample_rate_hz).to_bytes()

    def close(self) -> None:
        """See `Engine.close`."""


def _timbre(voice: str, embedding: bytes) -> Timbre:
    if embedding:
        return Timbre.from_bytes(embedding)
    if voice not in _VOICES:
        raise UnknownVoiceError(voice)
    return _VOICES[voice]


class ToneRender:
    """One text as tones, a chunk a character."""

    def __init__(
        self,
        job: RenderJob,
        timbre: Timbre,
        real_time_factor: float,
        misbehaviour: Misbehaviour | None,
    ) -> None:
        self._text = job.text
        self._misbehaviour = misbehaviour
        self._timbre = timbre
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
        samples = self._tone(self._text[position])
        if self._misbehaviour is not None:
            samples = self._misbehaviour.apply(self._text[position], samples)
        return PcmChunk(samples, position, self._position)

    def cancel(self) -> None:
        """See `Render.cancel`."""
        self._cancelled.set()

    def _tone(self, character: str) -> NDArray[np.float32]:
        count = self._samples_per_character
        if character.isspace():
            return np.zeros(count, dtype=np.float32)
        # Semitones above the base, two octaves of them; neighbours in the alphabet differ.
        frequency_hz = self._timbre.base_hz * 2.0 ** (ord(character) % 24 / 12)
        seconds = np.arange(count) / _SAMPLE_RATE_HZ
        ramp = np.minimum(1.0, np.minimum(seconds, seconds[::-1]) / (_RAMP_MS / 1000))
        tone = sum(
            strength * np.sin(2 * np.pi * number * frequency_hz * seconds)
            for number, strength in enumerate(self._timbre.harmonics, 1)
        )
        return np.asarray(_AMPLITUDE * ramp * tone, dtype=np.float32)
