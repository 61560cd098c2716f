"""A checkpoint folder in the official layout, loaded without running any code from it.

Upstream builds its GPT with random weights and then fills it, which takes longer than reading the
file. Here its storage is left as it comes until the file's tensors are in it.
"""

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from TTS.config.shared_configs import BaseDatasetConfig
from TTS.tts.configs.xtts_config import XttsArgs, XttsAudioConfig, XttsConfig
from TTS.tts.layers.xtts.gpt import GPT
from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

from ..base import OptionError
from .conditioning import Conditioning

__all__ = ["Checkpoint", "load_checkpoint"]

_MODEL_FILE = "model.pth"
_CONFIG_FILE = "config.json"
_VOCABULARY_FILE = "vocab.json"
_MARKS = ("[START]", "[STOP]")
_SPEAKERS_FILE = "speakers_xtts.pth"

# What reading a file may raise that isn't what its name says.
_UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
)

_GPT = "gpt."
_VOCODER = "hifigan_decoder."

# What upstream's trainer leaves in a checkpoint and inference has no use for.
_TRAINING_KEYS = ("torch_mel_spectrogram_style_encoder.", "torch_mel_spectrogram_dvae.", "dvae.")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was loaded. All weights are float32, on the CPU, in evaluation mode.

    Attributes:
        mel_stats: shape (80,); the conditioning spectrogram is divided by it.
        speakers: the voices that come with the model, by name.
        fingerprint: SHA-256 (hexadecimal) over the content of all files.
    """

    config: XttsConfig
    tokenizer: VoiceBpeTokenizer
    gpt: GPT
    vocoder: HifiDecoder
    mel_stats: torch.Tensor
    speakers: Mapping[str, Conditioning]
    fingerprint: str


def load_checkpoint(folder: Path) -> Checkpoint:
    """Loads XTTS v2 from a folder.

    Raises:
        OptionError: a file is missing, or is not what its name says.
    """
    files = [folder / name for name in (_CONFIG_FILE, _MODEL_FILE, _VOCABULARY_FILE)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise OptionError(
            f"{folder} is no XTTS v2 checkpoint, {', '.join(missing)} is missing; "
            "fetch one with: tts-service models download xtts-v2"
        )
    config = _load_config(folder / _CONFIG_FILE)
    tokenizer = _load_tokenizer(folder / _VOCABULARY_FILE)
    state = _load_state(folder / _MODEL_FILE)
    arguments = config.model_args
    if not arguments.gpt_use_perceiver_resampler:
        raise OptionError(f"{folder / _CONFIG_FILE} is of XTTS v1; this engine is for v2")
    with torch.device("meta"):
        gpt = _build_gpt(arguments, tokenizer)
    gpt.to_empty(device="cpu")
    vocoder = _build_vocoder(arguments, state)
    mel_stats = state.pop("mel_stats", torch.ones(80))
    foreign = [name for name in state if not name.startswith((_GPT, _VOCODER))]
    if mel_stats.shape != (80,) or foreign:
        wrong = foreign[0] if foreign else f"mel_stats of shape {tuple(mel_stats.shape)}"
        raise OptionError(f"{folder / _MODEL_FILE} does not fit {_CONFIG_FILE}: it holds {wrong}")
    _fill(gpt, state, _GPT, folder)
    _fill(vocoder, state, _VOCODER, folder)
    speakers = _load_speakers(folder / _SPEAKERS_FILE, gpt.model_dim)
    if (folder / _SPEAKERS_FILE).is_file():
        files.append(folder / _SPEAKERS_FILE)
    return Checkpoint(
        config=config,
        tokenizer=tokenizer,
        gpt=gpt,
        vocoder=vocoder,
        mel_stats=mel_stats.clone().float(),  # or the file stays mapped
        speakers=speakers,
        fingerprint=_fingerprint(files),
    )


def _load_config(file: Path) -> XttsConfig:
    config = XttsConfig()
    try:
        config.load_json(file)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise OptionError(f"{file} is no configuration of XTTS: {error}") from error
    if not isinstance(config.model_args, XttsArgs):
        raise OptionError(f"{file} is no configuration of XTTS: it has no model_args")
    return config


def _load_tokenizer(file: Path) -> VoiceBpeTokenizer:
    try:
        tokenizer = VoiceBpeTokenizer(vocab_file=file)
    except Exception as error:  # the library has no class of its own for it
        raise OptionError(f"{file} is no vocabulary: {_first_line(error)}") from error
    missing = [mark for mark in _MARKS if tokenizer.tokenizer.token_to_id(mark) is None]
    if missing:
        raise OptionError(f"{file} is no vocabulary of XTTS: it has no {', '.join(missing)}")
    return tokenizer


def _load_state(file: Path) -> dict[str, torch.Tensor]:
    """Reads the tensors, mapped from the file where its format allows it."""
    # The official file holds, beside the weights, the configuration as an object of classes
    # that have moved since.
    moved = "TTS.tts.models.xtts"
    known: list[Any] = [
        BaseDatasetConfig,
        XttsConfig,
        (XttsArgs, f"{moved}.XttsArgs"),
        (XttsAudioConfig, f"{moved}.XttsAudioConfig"),
    ]
    try:
        with torch.serialization.safe_globals(known):
            state = dict(_load_tensors(file)["model"])
    except _UNREADABLE as error:
        raise OptionError(f"{file} is no checkpoint of XTTS: {_first_line(error)}") from error
    if not all(isinstance(name, str) and torch.is_tensor(state[name]) for name in state):
        raise OptionError(f"{file} is no checkpoint of XTTS: it holds more than tensors by name")
    state = {name.removeprefix("xtts."): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in state.items() if not name.startswith(_TRAINING_KEYS)}


def _load_tensors(file: Path) -> Any:
    return torch.load(
        file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file) or None
    )


def _build_gpt(arguments: XttsArgs, tokenizer: VoiceBpeTokenizer) -> GPT:
    return GPT(
        layers=arguments.gpt_layers,
        model_dim=arguments.gpt_n_model_channels,
        heads=arguments.gpt_n_heads,
        start_text_token=tokenizer.tokenizer.token_to_id(_MARKS[0]),
        stop_text_token=tokenizer.tokenizer.token_to_id(_MARKS[1]),
        number_text_tokens=tokenizer.get_number_tokens(),
        max_text_tokens=arguments.gpt_max_text_tokens,
        max_mel_tokens=arguments.gpt_max_audio_tokens,
        max_prompt_tokens=arguments.gpt_max_prompt_tokens,
        num_audio_tokens=arguments.gpt_num_audio_tokens,
        start_audio_token=arguments.gpt_start_audio_token,
        stop_audio_token=arguments.gpt_stop_audio_token,
        use_perceiver_resampler=True,
        code_stride_len=arguments.gpt_code_stride_len,
    )


def _build_vocoder(arguments: XttsArgs, state: Mapping[str, torch.Tensor]) -> HifiDecoder:
    # Its width is no part of the configuration: 512 in the official model, less in small ones.
    first = state.get("hifigan_decoder.waveform_decoder.conv_pre.weight")
    return HifiDecoder(
        input_sample_rate=arguments.input_sample_rate,
        output_sample_rate=arguments.output_sample_rate,
        output_hop_length=arguments.output_hop_length,
        ar_mel_length_compression=arguments.gpt_code_stride_len,
        decoder_input_dim=arguments.decoder_input_dim,
        upsample_initial_channel_decoder=512 if first is None or not first.ndim else len(first),
        d_vector_dim=arguments.d_vector_dim,
        cond_d_vector_in_each_upsampling_layer=arguments.cond_d_vector_in_each_upsampling_layer,
    )


def _fill(
    module: torch.nn.Module, state: Mapping[str, torch.Tensor], prefix: str, folder: Path
) -> None:
    """Gives a module its tensors from the file; all of them and no others."""
    own = {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        # Upstream's inference wrapper, which old checkpoints hold, is the same weights again.
        if name.startswith(prefix) and not name.startswith("gpt.gpt_inference.")
    }
    own.pop("gpt.wte.weight", None)
    try:
        module.load_state_dict(own, strict=True)
    except RuntimeError as error:
        raise OptionError(
            f"{folder / _MODEL_FILE} does not fit {_CONFIG_FILE}: {_first_line(error, 400)}"
        ) from error
    module.eval().requires_grad_(False)


def _load_speakers(file: Path, width: int) -> dict[str, Conditioning]:
    if not file.is_file():
        return {}
    try:
        entries = torch.load(file, map_location="cpu", weights_only=True)
        return {
            name: Conditioning.checked(latents.squeeze(0), speaker.flatten(), width)
            for name, (latents, speaker) in ((n, entry.values()) for n, entry in entries.items())
        }
    except _UNREADABLE as error:
        raise OptionError(f"{file} holds no speakers of XTTS: {_first_line(error)}") from error


def _fingerprint(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(file.name.encode() + b"\0")
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _first_line(error: Exception, limit: int = 200) -> str:
    return " ".join(str(error).split())[:limit]
