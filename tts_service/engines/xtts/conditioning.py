"""What makes the model speak like somebody: latents for the GPT, a vector for the vocoder.

Both are made as upstream's `get_conditioning_latents` makes them, so that an embedding speaks
alike here and there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torchaudio.functional import resample
from TTS.tts.configs.xtts_config import XttsConfig
from TTS.tts.layers.xtts.gpt import GPT
from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
from TTS.tts.models.xtts import wav_to_mel_cloning

from ..base import EmbeddingError

__all__ = ["Conditioner", "Conditioning", "mix"]

# The rates at which upstream's two encoders listen.
_LATENTS_RATE_HZ = 22_050
_SPEAKER_RATE_HZ = 16_000

# Of upstream's perceiver, and of its speaker encoder.
_LATENTS = 32
_SPEAKER_WIDTH = 512

# Upstream leaves out a last piece that is shorter.
_MIN_PIECE_S = 0.33

_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_FORMAT = {"format": "xtts-v2", "version": "1"}


@dataclass(frozen=True, slots=True)
class Conditioning:
    """A voice, as the model hears it. float32, on the CPU.

    Attributes:
        latents: shape (32, width); the first positions of the GPT's prompt.
        speaker: shape (512,); added in every layer of the vocoder.
    """

    latents: Tensor
    speaker: Tensor

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        return save({"latents": self.latents, "speaker": self.speaker}, metadata=_FORMAT)

    @classmethod
    def from_bytes(cls, data: bytes, width: int) -> "Conditioning":
        """From a safetensors file.

        Args:
            width: of the model that is going to speak.

        Raises:
            EmbeddingError: it is none, or not of a model like this.
        """
        try:
            tensors = load(data)
        except SafetensorError as error:
            raise EmbeddingError(f"the embedding is no safetensors file: {error}") from error
        if tensors.keys() != {"latents", "speaker"}:
            raise EmbeddingError("the embedding is not one of XTTS")
        return cls.checked(tensors["latents"], tensors["speaker"], width)

    @classmethod
    def checked(cls, latents: Tensor, speaker: Tensor, width: int) -> "Conditioning":
        """From tensors of any floating type.

        Raises:
            EmbeddingError: they are not of a model of this width, or not finite.
        """
        shapes = tuple(latents.shape), tuple(speaker.shape)
        if shapes != ((_LATENTS, width), (_SPEAKER_WIDTH,)):
            raise EmbeddingError(f"the embedding is not this model's: it has shapes {shapes}")
        if not all(t.dtype in _FLOATING for t in (latents, speaker)):
            raise EmbeddingError("the embedding is not of 16, 32 or 64 bit floating point")
        latents, speaker = latents.float(), speaker.float()
        if not latents.isfinite().all() or not speaker.isfinite().all():
            raise EmbeddingError("the embedding is not finite")
        return cls(latents, speaker)


def mix(parts: Iterable[tuple[Conditioning, float]]) -> Conditioning:
    """Returns the weighted mean of voices; the weights need not add up to one.

    Upstream takes the plain mean in the same way over several recordings of one voice.

    Raises:
        ValueError: there are no parts, or their weights are not positive.
    """
    voices, weights = zip(*parts, strict=True)
    shares = torch.tensor(weights, dtype=torch.float64)
    if not (shares > 0).all() or not shares.isfinite().all():
        raise ValueError("the weights of a mix must be positive")
    shares = (shares / shares.sum()).float()
    return Conditioning(
        torch.einsum("v,vlw->lw", shares, torch.stack([voice.latents for voice in voices])),
        torch.einsum("v,vs->s", shares, torch.stack([voice.speaker for voice in voices])),
    )


class Conditioner:
    """Listens to recordings. Safe to use from many threads."""

    def __init__(
        self, gpt: GPT, vocoder: HifiDecoder, mel_stats: Tensor, config: XttsConfig
    ) -> None:
        # Not the whole of it: the layers are free to go once they were copied.
        self._encoder = gpt.conditioning_encoder
        self._perceiver = gpt.conditioning_perceiver
        self._speaker_encoder = vocoder.speaker_encoder
        self._mel_stats = mel_stats
        self._latents_s = config.gpt_cond_len
        self._piece_s = config.gpt_cond_chunk_len
        self._recording_s = config.max_ref_len

    @torch.inference_mode()
    def embed(self, recordings: Sequence[Tensor], sample_rate_hz: int) -> Conditioning:
        """Makes of recordings of one voice what the model needs to speak with it.

        Args:
            recordings: each of shape (n,), float32, full scale 1.0.

        Raises:
            ValueError: all recordings together are too short.
        """
        heard = [
            resample(recording[None], sample_rate_hz, _LATENTS_RATE_HZ).clip(-1.0, 1.0)
            if sample_rate_hz != _LATENTS_RATE_HZ
            else recording[None].clip(-1.0, 1.0)
            for recording in recordings
        ]
        heard = [samples[:, : _LATENTS_RATE_HZ * self._recording_s] for samples in heard]
        speakers = [self._speaker(samples) for samples in heard]
        return Conditioning(
            self._latents(torch.cat(heard, dim=1)), torch.stack(speakers).mean(dim=0)
        )

    def _speaker(self, samples: Tensor) -> Tensor:
        """Returns the speaker's vector, of shape (512,), of samples of shape (1, n)."""
        lower = resample(samples, _LATENTS_RATE_HZ, _SPEAKER_RATE_HZ)
        vector: Tensor = self._speaker_encoder.forward(lower, l2_norm=True)
        return vector[0]

    def _latents(self, samples: Tensor) -> Tensor:
        """Returns the mean, of shape (32, width), of the latents of all pieces."""
        if self._latents_s > 0:
            samples = samples[:, : _LATENTS_RATE_HZ * self._latents_s]
        pieces = torch.split(samples, _LATENTS_RATE_HZ * self._piece_s, dim=1)
        latents = [
            self._perceiver(self._encoder(self._mel_spectrogram(piece)).transpose(1, 2))[0]
            for piece in pieces
            if piece.shape[1] >= _LATENTS_RATE_HZ * _MIN_PIECE_S
        ]
        if not latents:
            raise ValueError(f"the recording is shorter than {_MIN_PIECE_S} s")
        mean: Tensor = torch.stack(latents).mean(dim=0)
        return mean

    def _mel_spectrogram(self, samples: Tensor) -> Tensor:
        """Returns shape (1, 80, frames)."""
        mel: Tensor = wav_to_mel_cloning(
            samples,
            mel_norms=self._mel_stats,
            n_fft=2048,
            hop_length=256,
            win_length=1024,
            power=2,
            normalized=False,
            sample_rate=_LATENTS_RATE_HZ,
            f_min=0,
            f_max=8000,
            n_mels=80,
        )
        return mel
