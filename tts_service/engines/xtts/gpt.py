"""GPT-2 as XTTS uses it, on top of upstream's weights.

The prompt is 32 latents of the voice, then the text between its start and stop tokens, then the
start code; from there on the model continues with audio codes. Text and codes have learned
positions of their own. What the vocoder speaks from is the last hidden state, after two
normalisations.

Matrix products run in `dtype`; the residual stream, normalisations and the head stay in float32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody knows
from torch import Tensor
from TTS.tts.layers.xtts.gpt import GPT

__all__ = ["Attend", "Gpt"]

# (layer, queries, keys, values), each of shape (rows, heads, head width), to the context of the
# same shape. Keys and values are kept on the way.
Attend: TypeAlias = Callable[[int, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: Tensor  # (outputs, inputs)
    bias: Tensor

    def __call__(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs.to(self.weight.dtype), self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, inputs: Tensor) -> Tensor:
        return F.layer_norm(inputs, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class _Block:
    norm_1: _Norm
    queries_keys_values: _Linear
    attention_out: _Linear
    norm_2: _Norm
    up: _Linear
    down: _Linear


class Gpt:
    """The weights, and one pass through them. Holds nothing of any request."""

    def __init__(self, gpt: GPT, dtype: torch.dtype, device: torch.device) -> None:
        self.width: int = gpt.model_dim
        self.heads: int = gpt.heads
        self.layers: int = gpt.layers
        self.codes: int = gpt.num_audio_tokens
        self.start_code: int = gpt.start_audio_token
        self.stop_code: int = gpt.stop_audio_token
        self.max_codes: int = gpt.max_gen_mel_tokens
        self.max_text_tokens: int = gpt.max_text_tokens - 2
        self.dtype = dtype
        self.device = device

        def norm(module: torch.nn.LayerNorm) -> _Norm:
            weight, bias = module.weight.to(device), module.bias.to(device)
            return _Norm(weight, bias, module.eps)

        def linear(module: Any) -> _Linear:
            # Hugging Face's Conv1D keeps (inputs, outputs).
            weight = module.weight.T.to(device, dtype).contiguous()
            return _Linear(weight, module.bias.to(device, dtype))

        self._blocks = [
            _Block(
                norm(block.ln_1),
                linear(block.attn.c_attn),
                linear(block.attn.c_proj),
                norm(block.ln_2),
                linear(block.mlp.c_fc),
                linear(block.mlp.c_proj),
            )
            for block in gpt.gpt.h
        ]
        self._norms = (norm(gpt.gpt.ln_f), norm(gpt.final_norm))
        self._head = _Linear(gpt.mel_head.weight.to(device), gpt.mel_head.bias.to(device))
        self._text_tokens = gpt.text_embedding.weight.to(device)
        self._text_positions = gpt.text_pos_embedding.emb.weight.to(device)
        self._code_tokens = gpt.mel_embedding.weight.to(device)
        self._code_positions = gpt.mel_pos_embedding.emb.weight.to(device)
        self._text_ends = (gpt.start_text_token, gpt.stop_text_token)

    @property
    def max_positions(self) -> int:
        """The longest sequence: the voice's latents, the text, and the codes."""
        return 32 + self.max_text_tokens + 2 + 1 + self.max_codes

    def embed_prompt(self, latents: Tensor, text: list[int]) -> Tensor:
        """Returns the prompt, of shape (positions, width), float32.

        Args:
            latents: shape (32, width), of the voice.
            text: tokens, without start and stop.
        """
        start, stop = self._text_ends
        tokens = torch.tensor([start, *text, stop], device=self.device)
        code = torch.tensor([self.start_code], device=self.device)
        return torch.cat(
            (
                latents.to(self.device),
                self._text_tokens[tokens] + self._text_positions[: len(tokens)],
                self.embed_codes(code, torch.zeros_like(code)),
            )
        )

    def embed_codes(self, codes: Tensor, positions: Tensor) -> Tensor:
        """Returns shape (rows, width), float32; the start code has position 0."""
        embedded: Tensor = self._code_tokens[codes] + self._code_positions[positions]
        return embedded

    def run(self, hidden: Tensor, attend: Attend) -> Tensor:
        """Passes rows of shape (rows, width) through all layers.

        Returns:
            What the vocoder speaks from, of the same shape, float32.
        """
        rows = hidden.shape[0]
        for layer, block in enumerate(self._blocks):
            projected = block.queries_keys_values(block.norm_1(hidden))
            queries, keys, values = projected.view(rows, 3, self.heads, -1).unbind(1)
            context = attend(layer, queries, keys, values).reshape(rows, self.width)
            hidden = hidden + block.attention_out(context).float()
            raised = F.gelu(block.up(block.norm_2(hidden)), approximate="tanh")
            hidden = hidden + block.down(raised).float()
        for norm in self._norms:
            hidden = norm(hidden)
        return hidden

    def logits(self, latents: Tensor) -> Tensor:
        """Returns shape (rows, codes), float32, for the code that follows each row."""
        return self._head(latents)
