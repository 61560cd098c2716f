"""Checkpoints of XTTS v2 in the official layout, with random weights.

The real weights are not free to ship. These have the official shapes, or tiny ones, so that
everything but the meaning of the sound can be proven against upstream on the same weights.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from transformers.initialization import no_init_weights
from TTS.tts.configs.xtts_config import XttsConfig
from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
from TTS.tts.models.xtts import Xtts

from tts_service.engines.xtts.checkpoint import Checkpoint, load_checkpoint

__all__ = [
    "OFFICIAL",
    "SPEAKERS",
    "TINY",
    "Pair",
    "Shape",
    "load_pair",
    "load_stock",
    "stock_model",
    "write_checkpoint",
]

SPEAKERS = ("Ana Example", "Bruno Example")

_LETTERS = "".join(
    chr(code)
    for first, last in (
        (0x21, 0x7E),  # ASCII
        (0xA1, 0x17F),  # Latin
        (0x400, 0x45F),  # Cyrillic
        (0x600, 0x6FF),  # Arabic
        (0x900, 0x97F),  # Devanagari
    )
    for code in range(first, last + 1)
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What differs between a tiny model and the official one.

    Attributes:
        vocoder_width: channels at the vocoder's first layer.
    """

    layers: int
    width: int
    heads: int
    text_tokens: int
    vocoder_width: int


OFFICIAL = Shape(layers=30, width=1024, heads=16, text_tokens=6681, vocoder_width=512)
TINY = Shape(layers=3, width=64, heads=4, text_tokens=1400, vocoder_width=32)


def write_checkpoint(folder: Path, shape: Shape, seed: int = 0) -> Path:
    """Writes `config.json`, `model.pth`, `vocab.json` and `speakers_xtts.pth` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_vocabulary(folder / "vocab.json", shape.text_tokens)
    config = XttsConfig()
    arguments = config.model_args
    arguments.gpt_layers = shape.layers
    arguments.gpt_n_model_channels = arguments.decoder_input_dim = shape.width
    arguments.gpt_n_heads = shape.heads
    arguments.gpt_number_text_tokens = shape.text_tokens
    arguments.gpt_start_text_token, arguments.gpt_stop_text_token = 261, 0
    arguments.gpt_num_audio_tokens = 1026
    arguments.gpt_start_audio_token, arguments.gpt_stop_audio_token = 1024, 1025
    arguments.gpt_use_perceiver_resampler = True
    config.gpt_cond_len, config.gpt_cond_chunk_len, config.max_ref_len = 30, 4, 30
    config.save_json(folder / "config.json")
    torch.manual_seed(seed)
    model = stock_model(config, shape)
    with torch.no_grad():
        model.mel_stats.uniform_(0.5, 2.0)
        # As initialised, logits are so close together that rounding could decide which is the
        # largest, and the waveform is 60 dB below full scale.
        model.gpt.mel_head.weight.mul_(20.0)
        model.hifigan_decoder.waveform_decoder.conv_post.weight.mul_(8.0)
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    voices = {
        name: {
            "gpt_cond_latents": torch.randn(1, 32, shape.width) * 0.5,
            "speaker_embedding": torch.nn.functional.normalize(torch.randn(1, 512, 1), dim=1),
        }
        for name in SPEAKERS
    }
    torch.save(voices, folder / "speakers_xtts.pth")
    return folder


def stock_model(config: XttsConfig, shape: Shape) -> Xtts:
    """Builds upstream's model with upstream's initial weights."""
    model = Xtts(config)
    if shape.vocoder_width != OFFICIAL.vocoder_width:
        model.hifigan_decoder = HifiDecoder(
            decoder_input_dim=shape.width, upsample_initial_channel_decoder=shape.vocoder_width
        )
    return model


def load_stock(folder: Path, shape: Shape) -> Xtts:
    """Loads a checkpoint of `write_checkpoint` the way upstream does."""
    config = XttsConfig()
    config.load_json(folder / "config.json")
    with no_init_weights():
        model = stock_model(config, shape)
        decoder = model.hifigan_decoder
        # The width of the vocoder is no part of the configuration; upstream would make a new one.
        initialise = model.init_models

        def init_models() -> None:
            initialise()
            model.hifigan_decoder = decoder

        model.init_models = init_models
        model.load_checkpoint(config, checkpoint_dir=folder, eval=True)
    # Or else the model would hold itself, and its memory until it is searched for.
    del model.init_models
    return model


@dataclass(frozen=True, slots=True)
class Pair:
    """One checkpoint, as upstream loads it and as the engine does. They share no tensor."""

    folder: Path
    stock: Xtts
    checkpoint: Checkpoint


def load_pair(folder: Path, shape: Shape) -> Pair:
    """Loads a checkpoint of `write_checkpoint` both ways."""
    return Pair(folder, load_stock(folder, shape), load_checkpoint(folder))


def smaller(shape: Shape, **changes: int) -> Shape:
    """A shape with other numbers."""
    return replace(shape, **changes)


def _write_vocabulary(file: Path, size: int) -> None:
    languages = "en es fr de it pt pl tr ru nl cs ar zh-cn ja hu ko hi".split()
    tokens = ["[STOP]", "[UNK]", "[SPACE]", *(f"[{language}]" for language in languages)]
    tokens += list(dict.fromkeys(_LETTERS))
    tokens = [token for token in tokens if token not in "[]"]
    tokens += [f"<{number}>" for number in range(size - len(tokens) - 1)]
    tokens.insert(261, "[START]")
    tokenizer = Tokenizer(
        BPE({token: number for number, token in enumerate(tokens)}, [], unk_token="[UNK]")
    )
    special = [token for token in tokens if token.startswith("[") and len(token) > 1]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    tokenizer.save(str(file))
