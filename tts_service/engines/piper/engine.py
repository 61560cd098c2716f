"""Speaks with Piper voices, sentence by sentence, each in windows of frames."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnxruntime
import structlog
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from ...ops.allocator import Trim, return_freed_memory
from ..base import (
    Ability,
    EngineDescription,
    EngineVoice,
    OptionError,
    PcmChunk,
    RenderJob,
    UnknownVoiceError,
)
from .arena import shrink_after_runs
from .crowd import Crowd
from .kept_parts import VoiceReplacedError, sweep_parts
from .loaded import LoadedVoice, LoadedVoices
from .phonemizer import require_readable
from .speech import Phonemes, Spoken
from .voices import VoiceFile, find_voice_files

__all__ = ["PiperEngine", "PiperRender"]

# An unbroken run of this many characters renders in under two seconds on two slow cores, and
# no sentence that people write is longer.
_MAX_SEGMENT_CHARACTERS = 500

# The graph reads all of a segment before it speaks: 27 ms for 150 characters on two cores, 9 for a
# clause of 30 (docs/latency.md).
_OPENING_CHARACTERS = 80

# What is free lies between pieces in use, on ever more pages. Under texts of all lengths, three at
# once, the worker held 380 MB when that went back each five seconds, and 345 so, at the same speed.
_TRIM_EVERY_S = 1.0

_WARM_UP = "Ready to speak, and glad to be of service."
# More threads than this hardly speed up one window.
_MAX_THREADS = 4


class PiperEngine:
    """All Piper voices of a folder, and the packaged default.

    Options, as text:
        voices_dir: folder with `*.onnx` voices and their `.onnx.json`; empty: none.
        loaded_voices_limit: how many voices stay in memory (about 170 MB each).
        concurrent_renders: sentences rendered at the same time; 0: as many as there are cores.
        parts_dir: folder where graphs that were taken apart are kept; empty: nowhere, and each
            start takes them apart anew.

    Raises:
        OptionError: an option can't be used, or a voice in the folder can't.
    """

    def __init__(
        self,
        *,
        voices_dir: str = "",
        loaded_voices_limit: str = "4",
        concurrent_renders: str = "0",
        parts_dir: str = "",
    ) -> None:
        files = find_voice_files(Path(voices_dir) if voices_dir else None)
        self._speakers: dict[str, tuple[EngineVoice, VoiceFile, int | None]] = {
            voice.id: (voice, file, speaker) for file in files for voice, speaker in file.speakers()
        }
        self._fingerprint = hashlib.sha256(
            "".join(sorted(file.fingerprint for file in files)).encode()
        ).hexdigest()
        cores = _cpu_count()
        # Tensors have an arena of their own, whose regions are larger than this.
        return_freed_memory(arenas=cores, from_bytes=1 << 20)
        self._concurrent_renders = (
            _number("concurrent_renders", concurrent_renders, least=0) or cores
        )
        threads = min(cores, _MAX_THREADS)
        self._loaded = LoadedVoices(
            limit=_number("loaded_voices_limit", loaded_voices_limit, least=1),
            parts_dir=Path(parts_dir) if parts_dir else None,
            threads=threads,
        )
        self._crowd = Crowd(cores, threads)
        self._trim = Trim(every_s=_TRIM_EVERY_S)
        if parts_dir:
            sweep_parts(Path(parts_dir), files)
        self._warm_up()

    def _warm_up(self) -> None:
        """The first run of a session allocates its memory; a caller should not wait for that."""
        voice, _, _ = next(iter(self._speakers.values()))
        with ExitStack() as others:
            for _ in range(2):
                for _ in self.render(RenderJob(_WARM_UP, voice.id, voice.languages[0])):
                    pass
                while not self._crowd.is_crowded:
                    others.enter_context(self._crowd.at_work())

    def describe(self) -> EngineDescription:
        """See `Engine.describe`."""
        return EngineDescription(
            name="piper",
            voices=tuple(voice for voice, _, _ in self._speakers.values()),
            model_fingerprint=self._fingerprint,
            max_segment_characters=_MAX_SEGMENT_CHARACTERS,
            max_concurrent_renders=self._concurrent_renders,
            opening_characters=_OPENING_CHARACTERS,
            abilities=frozenset({Ability.SPEED}),
        )

    def render(self, job: RenderJob) -> "PiperRender":
        """See `Engine.render`."""
        try:
            _, file, speaker = self._speakers[job.voice]
        except KeyError:
            raise UnknownVoiceError(job.voice) from None
        require_readable(file)
        return PiperRender(self._loaded, self._crowd, self._trim, file, speaker, job)

    def close(self) -> None:
        """See `Engine.close`."""
        self._loaded.clear()


class PiperRender:
    """One text: the sentences that eSpeak finds in it, and chunks of each.

    The samples are the model's own, not scaled to full range a sentence at a time as
    `PiperVoice.synthesize` does: that would set a short "Yes." as loud as a shout, and
    can only be done to a whole sentence (see docs/decisions).
    """

    def __init__(
        self,
        loaded: LoadedVoices,
        crowd: Crowd,
        trim: Trim,
        file: VoiceFile,
        speaker: int | None,
        job: RenderJob,
    ) -> None:
        self._loaded = loaded
        self._crowd = crowd
        self._trim = trim
        self._file = file
        self._speaker = speaker
        self._job = job
        self._chunks: Iterator[NDArray[np.float32]] | None = None
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
        with self._crowd.at_work(can_wait=self._job.listener.can_wait):
            return self._next()

    def _next(self) -> PcmChunk:
        if self._chunks is None:
            try:
                voice = self._loaded.get(self._file)
            except VoiceReplacedError:
                # The next worker describes the voices as they are.
                structlog.get_logger().exception("voices changed")
                os._exit(os.EX_TEMPFAIL)
            self._chunks = self._speak(voice)
        try:
            return PcmChunk(next(self._chunks), 0, len(self._job.text))
        except Fail:
            if self._cancelled:
                raise StopIteration from None
            raise

    def cancel(self) -> None:
        """See `Render.cancel`. A run in progress ends before its next operator."""
        self._cancelled = True
        self._run_options.terminate = True

    def _speak(self, voice: LoadedVoice) -> Iterator[NDArray[np.float32]]:
        sentences = voice.phonemizer.sentences(self._job.text, self._job.language)
        gives_back = self._trim.is_due()
        if gives_back:
            shrink_after_runs(self._run_options)
        try:
            for ids in sentences:
                if self._cancelled:
                    return
                spoken = self._speak_sentence(voice, ids)
                if len(sentences) == 1:
                    self._sample_count = spoken.sample_count
                yield from spoken.runs
        finally:
            if gives_back:
                self._trim.now()

    def _speak_sentence(self, voice: LoadedVoice, ids: list[int]) -> Spoken:
        config = voice.phonemizer.config
        scales = (config.noise_scale, config.length_scale / self._job.speed, config.noise_w_scale)
        return voice.speech.speak(
            Phonemes(ids, scales, self._speaker), self._run_options, self._is_crowded
        )

    def _is_crowded(self) -> bool:
        """Whether to take one thread, and a first window that bridges what others take."""
        # Those who give way leave a newcomer the cores.
        if self._job.listener.hears_nothing:
            return self._crowd.is_pressed
        return self._crowd.is_crowded


def _cpu_count() -> int:
    """Cores that this process may use, which in a container are fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _number(name: str, text: str, *, least: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise OptionError(f"{name} is a whole number from {least} up, not {text!r}")
    return int(text)
