"""HiFi-GAN over windows: from latents to samples, each frame computed once.

A sample depends on at most 13 frames on either side of its own. So a window that carries
`CONTEXT_FRAMES` more on both sides gives, in its middle, what the whole utterance would give there:
windows are joined without a cross-fade. At the utterance's true ends there is no context, and the
network pads as it does in the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody knows
from torch import Tensor
from torch.nn.utils.parametrize import remove_parametrizations
from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder

from .interpolation import Stretch

__all__ = ["CONTEXT_FRAMES", "Vocoder", "Window", "WindowStream"]

# At most 13 count, by the kernels and dilations of upstream's generator: 3 through the first
# convolution; through residual kernels of up to 11 with dilations 1, 3, 5, 60 steps of each rate,
# which are 60/8, 60/64, 60/128 and 60/256; 3/256 through the last; and 1.15 through the upsampling.
# That is 13.3, of which only whole frames count. One is to spare.
CONTEXT_FRAMES = 14

# Upstream's lower bound on the speed.
_MIN_SPEED = 0.05


@dataclass(frozen=True, slots=True)
class Window:
    """A run of frames, some of which are context only.

    Attributes:
        frames: shape (n, width).
        speaker: shape (512,).
        first: the first frame whose samples are wanted.
        end: one past the last.
        opens: nothing of the utterance lies before the frames.
        closes: nothing of it follows them.
    """

    frames: Tensor
    speaker: Tensor
    first: int
    end: int
    opens: bool
    closes: bool


class WindowStream:
    """Cuts one utterance into windows, as its latents come.

    Args:
        speaker: shape (512,).
        speed: factor on the speaking rate, as upstream defines it.
    """

    def __init__(self, vocoder: "Vocoder", speaker: Tensor, speed: float) -> None:
        self._speaker = speaker
        self._stretch = vocoder.stretch(speed)
        self._done = 0

    def next_window(self, latents: Tensor, *, final: bool) -> Window | None:
        """Returns what can be spoken now and wasn't yet; None if that is nothing.

        Args:
            latents: shape (n, width): all of the utterance so far, for `final` all there are.
        """
        count = latents.shape[0]
        known = self._stretch.length(count) if final else self._stretch.settled(count)
        end = known if final else known - CONTEXT_FRAMES
        if end <= self._done:
            return None
        first = max(0, self._done - CONTEXT_FRAMES)
        window = Window(
            frames=self._stretch.frames(latents, first, known),
            speaker=self._speaker,
            first=self._done - first,
            end=end - first,
            opens=first == 0,
            closes=final,
        )
        self._done = end
        return window


class Vocoder:
    """Upstream's generator with its weight norm folded. Holds nothing of any request.

    Args:
        batched: whether windows run together, which a GPU gains from and a CPU doesn't.
    """

    def __init__(self, decoder: HifiDecoder, device: torch.device, *, batched: bool) -> None:
        self._generator = decoder.waveform_decoder
        _fold_weight_norm(self._generator)
        self._generator.to(device)
        self._device = device
        self._batched = batched
        self.sample_rate_hz: int = decoder.output_sample_rate
        self.samples_per_frame: int = decoder.output_hop_length
        self._stretches = [
            decoder.ar_mel_length_compression / decoder.output_hop_length,
            decoder.output_sample_rate / decoder.input_sample_rate,
        ]

    def stretch(self, speed: float) -> Stretch:
        """Returns the interpolation from latents to frames at a speed."""
        length_scale = 1.0 / max(speed, _MIN_SPEED)
        return Stretch(*([] if length_scale == 1.0 else [length_scale]), *self._stretches)

    @torch.inference_mode()
    def speak(self, windows: Sequence[Window]) -> list[Tensor]:
        """Returns the wanted samples of each window: shape (n,), float32, on the CPU."""
        hop = self.samples_per_frame
        samples: dict[int, Tensor] = {}
        for batch in self._batches(windows):
            longest = max(windows[n].frames.shape[0] for n in batch)
            # Padding goes where a window has context to spare.
            before = [0 if windows[n].opens else longest - len(windows[n].frames) for n in batch]
            frames = [
                F.pad(windows[n].frames, (0, 0, left, longest - left - len(windows[n].frames)))
                for n, left in zip(batch, before, strict=True)
            ]
            waves = self._generator(
                torch.stack(frames).transpose(1, 2).to(self._device),
                g=torch.stack([windows[n].speaker for n in batch])[:, :, None].to(self._device),
            )
            for n, left, wave in zip(batch, before, waves[:, 0], strict=True):
                first, end = left + windows[n].first, left + windows[n].end
                samples[n] = wave[first * hop : end * hop].cpu()
        return [samples[n] for n in range(len(windows))]

    def _batches(self, windows: Sequence[Window]) -> list[list[int]]:
        """Says which windows run together: a whole utterance can't be padded."""
        if not self._batched:
            return [[n] for n in range(len(windows))]

        def kind(n: int) -> int:
            whole = windows[n].opens and windows[n].closes
            return windows[n].frames.shape[0] if whole else 0

        return [list(batch) for _, batch in groupby(sorted(range(len(windows)), key=kind), kind)]


def _fold_weight_norm(generator: torch.nn.Module) -> None:
    # Upstream's own `remove_weight_norm` fails here: the first and the last layer have none.
    for layer in generator.modules():
        if torch.nn.utils.parametrize.is_parametrized(layer, "weight"):
            remove_parametrizations(layer, "weight")
