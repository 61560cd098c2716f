"""XTTS v2 behind the `Engine` seam: options, voices, and what a render needs before the loop."""

import hashlib
import secrets
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...ops.allocator import keep_freed_memory
from ..base import (
    Ability,
    EngineDescription,
    EngineVoice,
    Render,
    RenderJob,
    Sampling,
    UnknownVoiceError,
    VoiceShare,
)
from .checkpoint import Checkpoint, load_checkpoint
from .conditioning import Conditioner, Conditioning, mix
from .decoder import BATCH_SIZES, Decoder
from .gpt import Gpt
from .guards import code_ceiling
from .loop import DecodeLoop
from .precision import choose_device, choose_dtype
from .sampling import SampleRules
from .scheduler import Scheduler
from .stream import Stream
from .text import LANGUAGES, TextEncoder
from .utterance import Utterance
from .vocoder import Vocoder

__all__ = ["XttsEngine"]

# Count this up when this package changes what is rendered for a text.
_REVISION = 2


class XttsEngine:
    """One model, and many renders at once from it.

    Args:
        checkpoint_dir: folder in the official layout.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: of the GPT, `float32`, `bfloat16`, or `auto`: bfloat16 where the device
            multiplies in it. The vocoder is always float32: in bfloat16 its noise is heard.
        slots: renders that are decoded at once.
        waiting_limit: renders that may wait for a slot.
        run_ahead_s: how far a render may be ahead of its reader.
        fixed_batch: `true` makes each step as large as if all slots were in use: a render's
            samples are then the same bits whoever else is served, and few renders are slower.

    Raises:
        OptionError: an option can't be used, or the folder holds no checkpoint.
    """

    def __init__(
        self,
        *,
        checkpoint_dir: str,
        device: str = "auto",
        precision: str = "auto",
        slots: str = "16",
        waiting_limit: str = "64",
        run_ahead_s: str = "20",
        fixed_batch: str = "false",
    ) -> None:
        where = choose_device(device)
        on_gpu = where.type == "cuda"
        if on_gpu:
            # Convolutions would otherwise multiply with ten bits of mantissa.
            torch.backends.cudnn.allow_tf32 = False
        checkpoint = load_checkpoint(Path(checkpoint_dir))
        self._slots = int(slots)
        self._max_open = self._slots + int(waiting_limit)
        # By id: what the file calls a voice, and the voice.
        self._voices = {
            _voice_id(name): (name, voice) for name, voice in checkpoint.speakers.items()
        }
        config = checkpoint.config
        self._rules = SampleRules(
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            repetition_penalty=config.repetition_penalty,
        )
        self._conditioner = Conditioner(
            checkpoint.gpt, checkpoint.vocoder, checkpoint.mel_stats, config
        )
        dtype = choose_dtype(precision, where)
        self._fingerprint = _fingerprint(checkpoint, dtype)
        gpt = Gpt(checkpoint.gpt, dtype, where)
        self._width = gpt.width
        self._max_codes = gpt.max_codes
        self._encoder = TextEncoder(checkpoint.tokenizer, gpt.max_text_tokens)
        self._encoder.warm_up()
        decoder = Decoder(gpt, self._slots, () if fixed_batch == "true" else BATCH_SIZES)
        decoder.warm_up()
        self._vocoder = Vocoder(checkpoint.vocoder, where, batched=on_gpu)
        self._loop = DecodeLoop(
            decoder,
            self._vocoder,
            # On a CPU one later chunk a turn keeps the steps of the others coming; a GPU takes
            # all of them together.
            Scheduler(
                self._slots, run_ahead_s=float(run_ahead_s), chunks_per_turn=0 if on_gpu else 1
            ),
            max_open=self._max_open,
        )
        if not on_gpu:
            # Not before: what loading leaves is to go back to the kernel.
            del checkpoint, gpt
            keep_freed_memory()

    def describe(self) -> EngineDescription:
        """See `Engine`."""
        languages = tuple(LANGUAGES)
        return EngineDescription(
            name="xtts",
            voices=tuple(
                EngineVoice(
                    id=voice,
                    display_name=name,
                    languages=languages,
                    sample_rate_hz=self._vocoder.sample_rate_hz,
                    model_fingerprint=self._fingerprint,
                )
                for voice, (name, _) in self._voices.items()
            ),
            model_fingerprint=self._fingerprint,
            max_segment_characters=min(one.max_characters for one in LANGUAGES.values()),
            segment_characters_by_language={
                tag: language.max_characters for tag, language in LANGUAGES.items()
            },
            max_concurrent_renders=self._slots,
            max_open_renders=self._max_open,
            abilities=frozenset({Ability.SPEED, Ability.CLONE, Ability.MIX, Ability.SAMPLING}),
            clone_languages=languages,
            clone_sample_rate_hz=self._vocoder.sample_rate_hz,
        )

    def render(self, job: RenderJob) -> Render:
        """See `Engine`."""
        voice = self._voice(job)
        text = self._encoder.encode(job.text, job.language)
        stream = Stream(len(job.text), self._loop.wake)
        self._loop.submit(
            Utterance(
                stream,
                voice,
                text.tokens,
                self._sample_rules(job.sampling),
                self._vocoder,
                max_codes=code_ceiling(text.characters, self._max_codes),
                speed=job.speed,
                look_ahead=job.look_ahead,
                listener=job.listener,
            )
        )
        return stream

    def embed(
        self,
        samples: NDArray[np.float32],
        sample_rate_hz: int,
        language: str,  # noqa: ARG002 - the model hears a voice, whatever it speaks
    ) -> bytes:
        """See `CloningEngine`."""
        recording = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
        return self._conditioner.embed([recording], sample_rate_hz).to_bytes()

    def close(self) -> None:
        """See `Engine`."""
        self._loop.close()

    def _voice(self, job: RenderJob) -> Conditioning:
        parts = job.mix or (VoiceShare(job.voice, job.embedding, 1.0),)
        voices = [self._part(part) for part in parts]
        if len(voices) == 1:
            return voices[0]
        return mix(zip(voices, (part.weight for part in parts), strict=True))

    def _part(self, part: VoiceShare) -> Conditioning:
        if part.embedding:
            return Conditioning.from_bytes(part.embedding, self._width)
        if part.voice not in self._voices:
            raise UnknownVoiceError(part.voice)
        _, voice = self._voices[part.voice]
        return voice

    def _sample_rules(self, sampling: Sampling) -> SampleRules:
        asked = {name: value for name, value in asdict(sampling).items() if value is not None}
        if "seed" not in asked:
            asked["seed"] = secrets.randbits(63)
        return replace(self._rules, **asked)


def _voice_id(name: str) -> str:
    """`Claribel Dervla` in the file is `claribel-dervla` to a caller."""
    return "-".join(name.lower().split())


def _fingerprint(checkpoint: Checkpoint, dtype: torch.dtype) -> str:
    """Over what decides how a text sounds: beside the weights their numbers, and who reads it."""
    readers = [f"{package} {version(package)}" for package in ("coqui-tts", "num2words")]
    parts = [checkpoint.fingerprint, str(dtype), *readers, str(_REVISION)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
