"""From latents to vocoder frames, a piece at a time and in global coordinates.

Upstream stretches the whole utterance at once: by the speed, by 4, and by 24000/22050, each with
linear interpolation (`torch.nn.functional.interpolate`, `align_corners=False`). One latent is
640/147 frames, so pieces don't line up by themselves. Here each frame knows its number in the
whole utterance, and is made of the same two neighbours with the same weights as there.

One difference is meant: PyTorch copies where a factor adds no output, as in utterances of one or
two latents, or of less than a hundred at a speed of 0.99. Whether it adds one isn't known before
the end.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Stretch"]


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """For a run of outputs: the two inputs on both sides of each, and the weight of the second.

    All of shape (outputs,); inputs are numbered without regard to where they end.
    """

    before: Tensor
    after: Tensor
    weight: Tensor


class Stretch:
    """A chain of linear interpolations.

    Args:
        factors: of the chain's steps, in order.
    """

    def __init__(self, *factors: float) -> None:
        self._factors = factors

    def length(self, inputs: int) -> int:
        """Returns how many frames a whole utterance of so many inputs has."""
        for factor in self._factors:
            inputs = int(inputs * factor)
        return inputs

    def settled(self, inputs: int) -> int:
        """Returns how many frames can't change any more, however many inputs follow."""
        for factor in self._factors:
            after = _neighbours(0, int(inputs * factor), factor).after
            inputs = int((after < inputs).sum())
        return inputs

    def frames(self, latents: Tensor, first: int, end: int) -> Tensor:
        """Makes the frames from `first` up to `end`.

        Args:
            latents: shape (inputs, width): all there are so far. Where frames are asked for that
                aren't settled, the last of them is the utterance's last.

        Returns:
            Shape (end - first, width).
        """
        lengths = [latents.shape[0]]
        for factor in self._factors[:-1]:
            lengths.append(int(lengths[-1] * factor))
        runs = []
        for factor, length in zip(reversed(self._factors), reversed(lengths), strict=True):
            run = _neighbours(first, end, factor)
            last = length - 1
            run = _Neighbours(run.before.clamp(max=last), run.after.clamp(max=last), run.weight)
            first, end = int(run.before[0]), int(run.after[-1]) + 1
            runs.append((run, first))
        values = latents[first:end]
        for run, offset in reversed(runs):
            weight = run.weight[:, None].to(values.device)
            before = values[(run.before - offset).to(values.device)]
            after = values[(run.after - offset).to(values.device)]
            values = (1.0 - weight) * before + weight * after
        return values


def _neighbours(first: int, end: int, factor: float) -> _Neighbours:
    # PyTorch's kernels take the factor in float32 and round once, after a fused multiply and
    # add. Done in float64 and rounded, the weights are the same to the last bit.
    scale = torch.tensor(1.0 / factor, dtype=torch.float32).double()
    outputs = torch.arange(first, end, dtype=torch.float64)
    source = (scale * (outputs + 0.5) - 0.5).float().clamp(min=0.0)
    before = source.floor()
    return _Neighbours(before.long(), before.long() + 1, source - before)
