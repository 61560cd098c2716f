"""Windows joined are what upstream's vocoder makes of the whole."""

import random
from copy import deepcopy
from itertools import accumulate

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.width import wide
from tests.xtts_checkpoint import SPEAKERS, Pair
from tts_service.engines.xtts.interpolation import Stretch
from tts_service.engines.xtts.vocoder import CONTEXT_FRAMES, Vocoder, Window, WindowStream

TOLERANCE = 1e-4
SPEEDS = (0.7, 1.0, 1.3)
CHUNKS = (1, 2, 3, 5, 8, 13, 20, 37, 60)

# Upstream's chain at its own speed.
_FACTORS = (4.0, 24_000 / 22_050)


def vocoder_of(pair: Pair, *, batched: bool = False) -> Vocoder:
    return Vocoder(pair.checkpoint.vocoder, torch.device("cpu"), batched=batched)


def speaker_of(pair: Pair, number: int = 0) -> Tensor:
    return pair.checkpoint.speakers[SPEAKERS[number]].speaker


def random_latents(pair: Pair, codes: int, seed: int = 0) -> Tensor:
    width = pair.checkpoint.gpt.model_dim
    return torch.randn(codes, width, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def upstream(pair: Pair, latents: Tensor, speaker: Tensor, speed: float) -> Tensor:
    """What `Xtts.inference` does behind its GPT."""
    latents = latents[None]
    if speed != 1.0:
        latents = F.interpolate(
            latents.transpose(1, 2), scale_factor=1.0 / speed, mode="linear"
        ).transpose(1, 2)
    wave: Tensor = pair.stock.hifigan_decoder(latents, g=speaker[None, :, None])
    return wave.flatten()


def windows_of(
    vocoder: Vocoder, latents: Tensor, speaker: Tensor, speed: float, ends: list[int]
) -> list[Window]:
    """What a stream cuts where its latents come in pieces; the last piece is the end."""
    stream = WindowStream(vocoder, speaker, speed)
    cut = [
        stream.next_window(latents[:end], final=number == len(ends) - 1)
        for number, end in enumerate(ends)
    ]
    return [window for window in cut if window is not None]


def every(chunk: int, codes: int) -> list[int]:
    return [*range(chunk, codes, chunk), codes]


def growing(codes: int) -> list[int]:
    sizes = (min(60, round(8 * 1.5**n)) for n in range(codes))
    return [*(end for end in accumulate(sizes) if end < codes), codes]


def at_random(codes: int, seed: int) -> list[int]:
    chooser = random.Random(seed)
    return [*sorted(chooser.sample(range(1, codes), chooser.randint(0, codes // 3))), codes]


def check(
    pair: Pair, latents: Tensor, speed: float, vocoder: Vocoder, *schedules: list[int]
) -> None:
    """What each schedule's windows join to, against the whole."""
    speaker = speaker_of(pair)
    whole = upstream(pair, latents, speaker, speed)
    assert whole.abs().max() > 0.005
    for ends in schedules:
        windows = windows_of(vocoder, latents, speaker, speed, ends)
        joined = torch.cat([vocoder.speak([window])[0] for window in windows])
        assert joined.shape == whole.shape
        torch.testing.assert_close(joined, whole, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunks_of_any_size_join_to_upstreams_whole(tiny: Pair, chunk: int, speed: float) -> None:
    check(tiny, random_latents(tiny, 130), speed, vocoder_of(tiny), every(chunk, 130))


@pytest.mark.parametrize("speed", SPEEDS)
def test_schedules_join_to_upstreams_whole(any_tiny: Pair, speed: float) -> None:
    latents = random_latents(any_tiny, 200)
    vocoder = vocoder_of(any_tiny)
    random_schedules = [at_random(200, seed) for seed in range(wide(4, else_=2))]
    check(any_tiny, latents, speed, vocoder, growing(200), *random_schedules)


@pytest.mark.parametrize("speed", SPEEDS)
def test_any_length_has_upstreams_samples(tiny: Pair, speed: float) -> None:
    vocoder = vocoder_of(tiny)
    for codes in [*range(4, 40, wide(1, else_=3)), 73, 99, 100, 101, 150, 200]:
        latents = random_latents(tiny, codes, seed=codes)
        check(tiny, latents, speed, vocoder, at_random(codes, codes))


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_shortest_have_upstreams_length(tiny: Pair, speed: float) -> None:
    """PyTorch's factor is another one here; see the module on interpolation."""
    vocoder = vocoder_of(tiny)
    for codes in (2, 3):
        latents = random_latents(tiny, codes)
        windows = windows_of(vocoder, latents, speaker_of(tiny), speed, [1, codes])
        samples = torch.cat(vocoder.speak(windows))
        assert samples.shape == upstream(tiny, latents, speaker_of(tiny), speed).shape
        assert samples.isfinite().all()


def test_less_than_a_frame_is_nothing(tiny: Pair) -> None:
    vocoder = vocoder_of(tiny)
    assert not windows_of(vocoder, random_latents(tiny, 1), speaker_of(tiny), 1.3, [1])
    assert vocoder.speak([]) == []


@pytest.mark.timeout(900)
def test_the_official_size_joins_to_upstreams_whole(official: Pair) -> None:
    vocoder = vocoder_of(official)
    latents = random_latents(official, 48)
    check(official, latents, 1.0, vocoder, growing(48))
    check(official, latents, 0.7, vocoder, every(20, 48))
    check(official, latents[:20], 1.3, vocoder, every(5, 20))


def mixed_windows(pair: Pair) -> list[Window]:
    """Of every kind and several lengths, in no order."""
    vocoder = vocoder_of(pair)
    windows = []
    for number, (codes, speed, ends) in enumerate(
        [
            (60, 1.0, [8, 20, 38, 60]),
            (60, 0.7, [15, 60]),
            (33, 1.3, [20, 30, 33]),
            (9, 1.0, [9]),
            (9, 1.0, [9]),
            (5, 1.0, [5]),
        ]
    ):
        latents = random_latents(pair, codes, seed=number)
        windows += windows_of(vocoder, latents, speaker_of(pair, number % 2), speed, ends)
    random.Random(1).shuffle(windows)
    return windows


def test_windows_that_run_together_are_as_alone(tiny: Pair) -> None:
    windows = mixed_windows(tiny)
    kinds = {(window.opens, window.closes) for window in windows}
    assert kinds == {(False, False), (False, True), (True, False), (True, True)}
    alone = [vocoder_of(tiny).speak([window])[0] for window in windows]
    together = vocoder_of(tiny, batched=True).speak(windows)
    assert [len(samples) for samples in together] == [len(samples) for samples in alone]
    for mine, other in zip(together, alone, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batched", [False, True])
def test_each_window_has_256_samples_a_frame(tiny: Pair, batched: bool) -> None:
    windows = mixed_windows(tiny)
    samples = vocoder_of(tiny, batched=batched).speak(windows)
    assert [len(one) for one in samples] == [256 * (one.end - one.first) for one in windows]


def test_no_frame_beyond_the_context_has_any_part_in_a_sample(tiny: Pair) -> None:
    """By the gradient, in float64: in float32 the farthest frames are lost in rounding."""
    generator = deepcopy(tiny.stock.hifigan_decoder.waveform_decoder).double()
    frames = random_latents(tiny, 80).T[None].double().requires_grad_()
    samples = generator(frames, g=speaker_of(tiny)[None, :, None].double())[0, 0]
    (gradient,) = torch.autograd.grad(samples[40 * 256 : 41 * 256].sum(), frames)
    reached = gradient.abs().sum(dim=(0, 1)).nonzero().flatten()
    assert 12 < 40 - reached.min() <= CONTEXT_FRAMES
    assert 12 < reached.max() - 40 <= CONTEXT_FRAMES


@pytest.mark.parametrize("side", ["before", "after"])
def test_what_lies_beyond_the_context_is_not_heard(tiny: Pair, side: str) -> None:
    vocoder = vocoder_of(tiny)
    frames = random_latents(tiny, 80)

    def middle(frames: Tensor) -> Tensor:
        window = Window(frames, speaker_of(tiny), 40, 41, opens=True, closes=True)
        return vocoder.speak([window])[0]

    def disturbed(context: int) -> Tensor:
        other = frames.clone()
        if side == "before":
            other[: 40 - context] = 5.0
        else:
            other[41 + context :] = 5.0
        return middle(other)

    assert torch.equal(disturbed(CONTEXT_FRAMES), middle(frames))
    assert not torch.equal(disturbed(CONTEXT_FRAMES - 5), middle(frames))


_SPEED_FACTORS = st.floats(0.5, 2.0).map(lambda speed: (1.0 / speed, *_FACTORS))
_CHAINS = st.one_of(
    st.just(_FACTORS),
    _SPEED_FACTORS,
    st.lists(st.floats(0.3, 5.0), min_size=1, max_size=3).map(tuple),
)
_MANY = settings(max_examples=300, deadline=None, derandomize=True)


@_MANY
@given(factors=_CHAINS, codes=st.integers(1, 80), more=st.integers(0, 80), seed=st.integers(0, 99))
def test_a_settled_frame_never_changes(
    factors: tuple[float, ...], codes: int, more: int, seed: int
) -> None:
    values = torch.randn(codes + more, 2, generator=torch.Generator().manual_seed(seed))
    stretch = Stretch(*factors)
    settled = stretch.settled(codes)
    assert settled <= stretch.length(codes)
    if settled:
        early = stretch.frames(values[:codes], 0, settled)
        assert torch.equal(early, stretch.frames(values, 0, settled))


@_MANY
@given(factors=_SPEED_FACTORS, codes=st.integers(3, 300))
def test_few_frames_are_not_settled(factors: tuple[float, ...], codes: int) -> None:
    """What waits for the next latent is less than three of them are worth."""
    stretch = Stretch(*factors)
    assert stretch.length(codes) - stretch.settled(codes) <= stretch.length(3)


@_MANY
@given(factors=_CHAINS, codes=st.integers(1, 120), seed=st.integers(0, 99), data=st.data())
def test_frames_are_those_of_interpolate(
    factors: tuple[float, ...], codes: int, seed: int, data: st.DataObject
) -> None:
    values = torch.randn(1, 2, codes, generator=torch.Generator().manual_seed(seed))
    whole = values
    for factor in factors:
        outputs = int(whole.shape[2] * factor)
        if outputs in {0, whole.shape[2]}:
            return  # PyTorch refuses the first and copies the second.
        whole = F.interpolate(whole, scale_factor=factor, mode="linear")
    stretch = Stretch(*factors)
    length = stretch.length(codes)
    assert length == whole.shape[2]
    first = data.draw(st.integers(0, length - 1))
    end = data.draw(st.integers(first + 1, length))
    frames = stretch.frames(values[0].T, first, end)
    torch.testing.assert_close(frames, whole[0, :, first:end].T, rtol=0, atol=1e-6)
