"""The decode loop's model side: slots, a prompt into one of them, a step of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .gpt import Attend, Gpt
from .kv_cache import KvCache
from .sampling import Sampler, SampleRules
from .step_graphs import StepGraphs

__all__ = ["BATCH_SIZES", "Decoder", "Prompt"]

# A step runs with the smallest of these that holds all slots in use.
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# On a GPU attention reads a multiple of so many positions.
_POSITIONS_STEP = 256


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a slot begins with.

    Attributes:
        latents: shape (32, width), of the voice.
        text: tokens, without start and stop.
    """

    latents: Tensor
    text: list[int]
    rules: SampleRules


class Decoder:
    """Decodes codes in slots. Used by one thread.

    A slot's codes depend on its prompt alone: on a CPU bit for bit at one batch size; across
    batch sizes up to the rounding of matrix products.

    Args:
        batch_sizes: see `BATCH_SIZES`; without any each step is made for all slots.

    Attributes:
        stop_code: ends an utterance.
        batch_size: slots that the last step was made for.
    """

    def __init__(self, gpt: Gpt, slots: int, batch_sizes: Sequence[int] = BATCH_SIZES) -> None:
        device = gpt.device
        self.stop_code = gpt.stop_code
        self.batch_size = 1
        self._gpt = gpt
        self._batch_sizes = sorted({size for size in batch_sizes if size < slots} | {slots})
        self._max_positions = gpt.max_positions
        self._cache = KvCache(
            layers=gpt.layers,
            slots=slots,
            heads=gpt.heads,
            positions=gpt.max_positions,
            head_width=gpt.width // gpt.heads,
            # One query at a time, PyTorch's attention on CPUs is five times quicker in float32.
            dtype=gpt.dtype if device.type == "cuda" else torch.float32,
            device=device,
        )
        self._sampler = Sampler(slots, gpt.codes, gpt.start_code, gpt.stop_code, device)
        self._lengths = [0] * slots
        # The same and more on the device, where a step finds and leaves its state.
        self._ends = torch.zeros(slots, dtype=torch.int64, device=device)
        self._codes = torch.zeros(slots, dtype=torch.int64, device=device)
        self._counts = torch.zeros(slots, dtype=torch.int64, device=device)
        self._advance = torch.zeros(slots, dtype=torch.bool, device=device)
        self._advancing: list[int] = []
        # One more than there are codes: a step that isn't taken writes behind the last.
        self._latents = torch.zeros(slots, gpt.max_codes + 1, gpt.width, device=device)
        self._rows = torch.arange(slots, device=device)
        self._graphs = StepGraphs(self._step_padded, device) if device.type == "cuda" else None

    @property
    def slot_bytes(self) -> int:
        """What one slot takes in memory."""
        return self._cache.slot_bytes + self._latents[0].numel() * self._latents.element_size()

    @torch.inference_mode()
    def begin(self, slot: int, prompt: Prompt) -> int:
        """Reads a prompt into a slot.

        Returns:
            The first code.
        """
        if self._graphs is not None:
            self._cache.clear(slot)
        hidden = self._gpt.embed_prompt(prompt.latents, prompt.text)
        latents = self._gpt.run(hidden, self._cache.fill(slot))[-1:]
        self._sampler.begin(slot, prompt.rules)
        self._sampler.draw([slot])
        self._lengths[slot] = hidden.shape[0]
        self._ends[slot] = hidden.shape[0]
        self._counts[slot] = 0
        self._latents[slot, 0] = latents[0]
        row = slice(slot, slot + 1)
        code = self._sampler.sample(
            self._gpt.logits(latents),
            slot,
            self._counts[row],
            torch.ones_like(self._advance[row]),
        )
        self._codes[row] = code
        self._counts[row] = 1
        return int(code)

    @torch.inference_mode()
    def step(self, slots: Sequence[int]) -> list[int]:
        """Takes one step in these slots, none of which has all its codes.

        Returns:
            The next code of each.
        """
        slots = sorted(slots)
        batch = next(size for size in self._batch_sizes if size > slots[-1])
        self.batch_size = batch
        self._set_advancing(slots)
        self._sampler.draw(slots)
        if self._graphs is None:
            lengths = [self._lengths[slot] for slot in slots]
            self._step(batch, self._cache.extend_each(slots, lengths, self._ends[:batch]))
        else:
            longest = max(self._lengths[:batch]) + 1
            positions = -(-longest // _POSITIONS_STEP) * _POSITIONS_STEP
            self._graphs.run(batch, min(positions, self._max_positions))
        for slot in slots:
            self._lengths[slot] += 1
        # The one place where the host waits for the device.
        codes = self._codes[:batch].tolist()
        return [codes[slot] for slot in slots]

    def latents(self, slot: int, count: int) -> Tensor:
        """Returns shape (count, width), float32: a view of what the first codes were made from."""
        return self._latents[slot, :count]

    def end(self, slot: int) -> None:
        """Frees a slot."""
        self._lengths[slot] = 0
        self._ends[slot] = 0
        self._counts[slot] = 0

    def warm_up(self) -> None:
        """Runs each shape of a step once, which captures the CUDA graphs on a GPU."""
        if self._graphs is not None:
            for batch in self._batch_sizes:
                for positions in range(_POSITIONS_STEP, self._max_positions, _POSITIONS_STEP):
                    self._graphs.capture(batch, positions)
                self._graphs.capture(batch, self._max_positions)

    def _set_advancing(self, slots: list[int]) -> None:
        if slots != self._advancing:
            mask = torch.zeros(len(self._lengths), dtype=torch.bool)
            mask[slots] = True
            self._advance.copy_(mask, non_blocking=True)
            self._advancing = slots

    def _step_padded(self, batch: int, positions: int) -> None:
        self._step(batch, self._cache.extend_all(positions, self._ends[:batch]))

    def _step(self, batch: int, attend: Attend) -> None:
        """The whole step, on tensors of fixed places only."""
        rows = slice(0, batch)
        counts, advance = self._counts[rows], self._advance[rows]
        latents = self._gpt.run(self._gpt.embed_codes(self._codes[rows], counts), attend)
        self._latents[self._rows[rows], counts] = latents
        codes = self._sampler.sample(self._gpt.logits(latents), 0, counts, advance)
        self._codes[rows] = torch.where(advance, codes, self._codes[rows])
        self._ends[rows] += advance
        counts += advance
