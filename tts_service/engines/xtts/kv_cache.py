"""Keys and values of all slots, in one block of memory that never grows or moves."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .gpt import Attend

__all__ = ["KvCache"]


class KvCache:
    """A static cache, and the ways to attend to it.

    Args:
        positions: of the longest sequence.
    """

    def __init__(
        self,
        *,
        layers: int,
        slots: int,
        heads: int,
        positions: int,
        head_width: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (layers, slots, heads, positions, head_width)
        self._keys = torch.zeros(shape, dtype=dtype, device=device)
        self._values = torch.zeros(shape, dtype=dtype, device=device)
        self._rows = torch.arange(slots, device=device)
        self._positions = torch.arange(positions, device=device)

    @property
    def slot_bytes(self) -> int:
        """What one slot takes in memory."""
        return 2 * self._keys[:, 0].numel() * self._keys.element_size()

    def clear(self, slot: int) -> None:
        """Forgets what a slot held. A mask can't hide a NaN that somebody left there."""
        self._keys[:, slot] = 0.0
        self._values[:, slot] = 0.0

    def fill(self, slot: int) -> Attend:
        """For a prompt: row n is position n of one slot, and sees the positions before it."""

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            q, k, v = (rows.transpose(0, 1) for rows in self._cast(queries, keys, values))
            self._keys[layer, slot, :, : k.shape[1]] = k
            self._values[layer, slot, :, : v.shape[1]] = v
            context = scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)
            return context[0].transpose(0, 1)

        return attend

    def extend_each(self, slots: Sequence[int], lengths: Sequence[int], ends: Tensor) -> Attend:
        """For a step on a CPU: row n is slot n, and each row sees exactly what its slot holds.

        A row's numbers depend on no other row, not even on their lengths, and nothing is read
        that isn't needed: on a CPU the cache's bandwidth is what attention costs.

        Args:
            slots: those that take the step; the others' context is zero.
            lengths: positions that each of them holds.
            ends: shape (rows,), int64: the same for all rows.
        """

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            queries, keys, values = self._cast(queries, keys, values)
            self._append(layer, keys, values, ends)
            context = torch.zeros_like(queries)
            for slot, length in zip(slots, lengths, strict=True):
                context[slot] = scaled_dot_product_attention(
                    queries[None, slot, :, None],
                    self._keys[layer, None, slot, :, : length + 1],
                    self._values[layer, None, slot, :, : length + 1],
                )[0, :, 0]
            return context

        return attend

    def extend_all(self, positions: int, ends: Tensor) -> Attend:
        """For a step on a GPU: row n is slot n, all rows see `positions` under a mask.

        The shapes depend on nothing but their number and `positions`, as a CUDA graph needs.

        Args:
            ends: shape (rows,), int64: positions that each slot holds, less than `positions`.
        """
        rows = ends.shape[0]
        mask = (self._positions[:positions] <= ends[:, None])[:, None, None]

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            queries, keys, values = self._cast(queries, keys, values)
            self._append(layer, keys, values, ends)
            context = scaled_dot_product_attention(
                queries[:, :, None],
                self._keys[layer, :rows, :, :positions],
                self._values[layer, :rows, :, :positions],
                attn_mask=mask,
            )
            return context[:, :, 0]

        return attend

    def _cast(self, *rows: Tensor) -> list[Tensor]:
        return [tensor.to(self._keys.dtype) for tensor in rows]

    def _append(self, layer: int, keys: Tensor, values: Tensor, ends: Tensor) -> None:
        # A slot that doesn't take the step is written behind its end, where nobody looks.
        rows = self._rows[: ends.shape[0]]
        self._keys[layer, rows, :, ends] = keys
        self._values[layer, rows, :, ends] = values
