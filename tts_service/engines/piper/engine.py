"""Speaks with Piper voices, one ONNX run a sentence."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from piper import PiperVoice

from ...text import soften_inner_stops
from ..base import (
    Ability,
    EngineDescription,
    EngineVoice,
    OptionError,
    PcmChunk,
    RenderJob,
    UnknownVoiceError,
)
from .voices import LoadedVoices, VoiceFile, find_voice_files

__all__ = ["PiperEngine", "PiperRender"]

# An unbroken run of this many characters renders in under two seconds on two slow cores, and
# no sentence that people write is longer.
_MAX_SEGMENT_CHARACTERS = 500


class PiperEngine:
    """All Piper voices of a folder, and the packaged default.

    Options, as text:
        voices_dir: folder with `*.onnx` voices and their `.onnx.json`; empty: none.
        loaded_voices_limit: how many voices stay in memory (about 100 MB each).
        concurrent_renders: sentences rendered at the same time; each uses all cores.

    Raises:
        OptionError: an option can't be used, or a voice in the folder can't.
    """

    def __init__(
        self,
        *,
        voices_dir: str = "",
        loaded_voices_limit: str = "4",
        concurrent_renders: str = "2",
    ) -> None:
        files = find_voice_files(Path(voices_dir) if voices_dir else None)
        self._speakers: dict[str, tuple[EngineVoice, VoiceFile, int | None]] = {
            voice.id: (voice, file, speaker) for file in files for voice, speaker in file.speakers()
        }
        self._fingerprint = hashlib.sha256(
            "".join(sorted(file.fingerprint for file in files)).encode()
        ).hexdigest()
        self._concurrent_renders = _positive("concurrent_renders", concurrent_renders)
        self._loaded = LoadedVoices(
            limit=_positive("loaded_voices_limit", loaded_voices_limit),
            threads=_cpu_count(),
        )
        # The first run of a session allocates its arena; a caller should not wait for that.
        warm_voice, _, _ = next(iter(self._speakers.values()))
        for _ in self.render(RenderJob("Ready.", warm_voice.id, warm_voice.languages[0])):
            pass

    def describe(self) -> EngineDescription:
        """See `Engine.describe`."""
        return EngineDescription(
            name="piper",
            voices=tuple(voice for voice, _, _ in self._speakers.values()),
            model_fingerprint=self._fingerprint,
            max_segment_characters=_MAX_SEGMENT_CHARACTERS,
            max_concurrent_renders=self._concurrent_renders,
            abilities=frozenset({Ability.SPEED}),
        )

    def render(self, job: RenderJob) -> "PiperRender":
        """See `Engine.render`."""
        try:
            _, file, speaker = self._speakers[job.voice]
        except KeyError:
            raise UnknownVoiceError(job.voice) from None
        return PiperRender(self._loaded, file, speaker, job)

    def close(self) -> None:
        """See `Engine.close`."""
        self._loaded.clear()


class PiperRender:
    """One text, a chunk for each sentence that espeak finds in it.

    The samples are the model's own, not scaled to full range a sentence at a time as
    `PiperVoice.synthesize` does: that would set a short "Yes." as loud as a shout, and can
    only be done to a whole sentence (see docs/decisions).
    """

    def __init__(
        self, loaded: LoadedVoices, file: VoiceFile, speaker: int | None, job: RenderJob
    ) -> None:
        self._loaded = loaded
        self._file = file
        self._speaker = speaker
        self._job = job
        self._sentences: list[list[str]] | None = None
        self._sample_count: int | None = None
        self._run_options = onnxruntime.RunOptions()
        self._cancelled = False

    @property
    def sample_count(self) -> int | None:
        """See `Render.sample_count`. Known for a text of one sentence."""
        return self._sample_count

    def __iter__(self) -> "PiperRender":
        return self

    def __next__(self) -> PcmChunk:
        voice = self._loaded.get(self._file)
        if self._sentences is None:
            # eSpeak ends a sentence at every stop before a capital, in "Dr. Smith" too.
            text = soften_inner_stops(self._job.text, self._job.language)
            # "[[" would begin raw phonemes, which is Piper's own notation and not plain text.
            text = text.replace("[[", "[ [")
            self._sentences = [s for s in voice.phonemize(text) if s]
            only_one = len(self._sentences) == 1
        else:
            only_one = False
        if self._cancelled or not self._sentences:
            raise StopIteration
        samples = self._speak(voice, self._sentences.pop(0))
        if only_one:
            self._sample_count = len(samples)
        return PcmChunk(samples, 0, len(self._job.text))

    def cancel(self) -> None:
        """See `Render.cancel`. A run in progress ends before its next operator."""
        self._cancelled = True
        self._run_options.terminate = True

    def _speak(self, voice: PiperVoice, phonemes: list[str]) -> NDArray[np.float32]:
        config = voice.config
        ids = voice.phonemes_to_ids(phonemes)
        inputs: dict[str, Any] = {
            "input": np.array([ids], dtype=np.int64),
            "input_lengths": np.array([len(ids)], dtype=np.int64),
            "scales": np.array(
                [config.noise_scale, config.length_scale / self._job.speed, config.noise_w_scale],
                dtype=np.float32,
            ),
        }
        if self._speaker is not None:
            inputs["sid"] = np.array([self._speaker], dtype=np.int64)
        try:
            output = voice.session.run(None, inputs, self._run_options)[0]
        except Fail:
            if self._cancelled:
                raise StopIteration from None
            raise
        return np.asarray(output, dtype=np.float32).reshape(-1)


def _cpu_count() -> int:
    """Cores that this process may use, which in a container are fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _positive(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise OptionError(f"{name} is a whole number from 1 up, not {text!r}")
    return int(text)
