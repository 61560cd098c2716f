"""A voice is heard as upstream hears it, kept, and mixed."""

from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torchaudio.functional import resample
from TTS.tts.models import xtts as upstream_xtts

from tests.xtts_checkpoint import Pair
from tts_service.engines.base import EmbeddingError
from tts_service.engines.xtts.conditioning import Conditioner, Conditioning, mix

TOLERANCE = 1e-5
WIDTH = 64

Heard = Callable[[Pair, list[Tensor], int], Conditioning]


def recording(seconds: float, rate_hz: int, seed: int = 0) -> Tensor:
    """Something like a voice: a gliding tone with overtones, in syllables, and some noise."""
    generator = torch.Generator().manual_seed(seed)
    time_s = torch.arange(int(seconds * rate_hz)) / rate_hz
    pitch_hz = 110 + 20 * seed + 15 * torch.sin(2 * torch.pi * 0.7 * time_s)
    phase = torch.cumsum(pitch_hz / rate_hz, dim=0) * 2 * torch.pi
    tone = sum(torch.sin(phase * n) / n for n in range(1, 12))
    syllables = torch.sin(2 * torch.pi * 3 * time_s).clamp(min=0.0)
    return 0.2 * tone * syllables + 0.01 * torch.randn(len(time_s), generator=generator)


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """Upstream's `get_conditioning_latents`, which is given arrays in place of files."""

    def heard(pair: Pair, recordings: list[Tensor], rate_hz: int) -> Conditioning:
        def load_audio(number: str, wanted_hz: int) -> Tensor:
            audio = recordings[int(number)][None]
            if rate_hz != wanted_hz:
                audio = resample(audio, rate_hz, wanted_hz)
            return audio.clip(-1, 1)

        monkeypatch.setattr(upstream_xtts, "load_audio", load_audio)
        config = pair.stock.config
        latents, speaker = pair.stock.get_conditioning_latents(
            [str(number) for number in range(len(recordings))],
            max_ref_length=config.max_ref_len,
            gpt_cond_len=config.gpt_cond_len,
            gpt_cond_chunk_len=config.gpt_cond_chunk_len,
        )
        return Conditioning(latents[0], speaker.flatten())

    return heard


def conditioner_of(pair: Pair) -> Conditioner:
    checkpoint = pair.checkpoint
    return Conditioner(checkpoint.gpt, checkpoint.vocoder, checkpoint.mel_stats, checkpoint.config)


def check_same(mine: Conditioning, other: Conditioning) -> None:
    assert mine.latents.shape == (32, other.latents.shape[1])
    assert mine.speaker.shape == (512,)
    torch.testing.assert_close(mine.latents, other.latents, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(mine.speaker, other.speaker, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("rate_hz", [22_050, 24_000])
# A fourth of a second behind the last whole piece is left out; half a second isn't.
@pytest.mark.parametrize("seconds", [0.4, 3.0, 8.25, 8.5, 10.0, 40.0])
def test_one_recording_is_heard_as_upstream_hears_it(
    tiny: Pair, upstream: Heard, seconds: float, rate_hz: int
) -> None:
    recordings = [recording(seconds, rate_hz)]
    check_same(conditioner_of(tiny).embed(recordings, rate_hz), upstream(tiny, recordings, rate_hz))


@pytest.mark.parametrize("rate_hz", [22_050, 24_000])
def test_several_recordings_are_heard_as_upstream_hears_them(
    tiny: Pair, upstream: Heard, rate_hz: int
) -> None:
    recordings = [recording(s, rate_hz, seed=n) for n, s in enumerate((3.0, 40.0, 7.3))]
    together = conditioner_of(tiny).embed(recordings, rate_hz)
    check_same(together, upstream(tiny, recordings, rate_hz))
    alone = conditioner_of(tiny).embed(recordings[:1], rate_hz)
    assert not torch.allclose(together.speaker, alone.speaker, atol=1e-3)


def test_what_is_louder_than_full_scale_is_cut_as_upstream_cuts_it(
    tiny: Pair, upstream: Heard
) -> None:
    recordings = [recording(3.0, 24_000) * 6]
    assert recordings[0].abs().max() > 1.5
    check_same(conditioner_of(tiny).embed(recordings, 24_000), upstream(tiny, recordings, 24_000))


@pytest.mark.timeout(900)
def test_the_official_size_hears_as_upstream_does(official: Pair, upstream: Heard) -> None:
    recordings = [recording(10.0, 24_000)]
    check_same(
        conditioner_of(official).embed(recordings, 24_000), upstream(official, recordings, 24_000)
    )


def test_the_samples_of_the_caller_stay_as_they_are(tiny: Pair) -> None:
    samples = recording(3.0, 22_050) * 6
    before = samples.clone()
    conditioner_of(tiny).embed([samples], 22_050)
    assert torch.equal(samples, before)


@pytest.mark.parametrize("seconds", [0.1, 0.32])
def test_too_short_is_refused(tiny: Pair, seconds: float) -> None:
    with pytest.raises(ValueError, match=r"shorter than 0\.33 s"):
        conditioner_of(tiny).embed([recording(seconds, 24_000)], 24_000)


def some_voice(seed: int = 0) -> Conditioning:
    generator = torch.Generator().manual_seed(seed)
    return Conditioning(
        torch.randn(32, WIDTH, generator=generator), torch.randn(512, generator=generator)
    )


def test_an_embedding_comes_back_bit_for_bit() -> None:
    voice = some_voice()
    again = Conditioning.from_bytes(voice.to_bytes(), WIDTH)
    assert torch.equal(again.latents, voice.latents)
    assert torch.equal(again.speaker, voice.speaker)


def test_an_embedding_is_a_safetensors_file_with_two_tensors() -> None:
    tensors = load(some_voice().to_bytes())
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        "latents": (32, WIDTH),
        "speaker": (512,),
    }


def test_another_floating_type_is_float32_in_memory() -> None:
    data = save({"latents": LATENTS.half(), "speaker": SPEAKER.double()})
    voice = Conditioning.from_bytes(data, WIDTH)
    assert {voice.latents.dtype, voice.speaker.dtype} == {torch.float32}
    assert torch.equal(voice.speaker, SPEAKER)


def test_what_was_heard_can_be_kept(tiny: Pair) -> None:
    voice = conditioner_of(tiny).embed([recording(3.0, 24_000)], 24_000)
    again = Conditioning.from_bytes(voice.to_bytes(), WIDTH)
    assert torch.equal(again.latents, voice.latents)


LATENTS, SPEAKER = some_voice().latents, some_voice().speaker
NOT_A_NUMBER = LATENTS.clone().index_fill_(0, torch.tensor([3]), float("nan"))
ENDLESS = SPEAKER.clone().index_fill_(0, torch.tensor([3]), float("inf"))

REFUSED = {
    "nothing": b"",
    "garbage": b"\x07" * 4096,
    "text": b"a voice, please" * 20,
    "cut": some_voice().to_bytes()[:-4],
    "none of the tensors": save({"hidden": LATENTS}),
    "one tensor missing": save({"latents": LATENTS}),
    "one tensor more": save({"latents": LATENTS, "speaker": SPEAKER, "more": SPEAKER.clone()}),
    "another width": save({"latents": LATENTS[:, :48].contiguous(), "speaker": SPEAKER}),
    "another speaker's width": save({"latents": LATENTS, "speaker": SPEAKER[:256].clone()}),
    "no positions": save({"latents": LATENTS[:0].clone(), "speaker": SPEAKER}),
    "a position less": save({"latents": LATENTS[:31].clone(), "speaker": SPEAKER}),
    "too many positions": save({"latents": LATENTS.repeat(40, 1), "speaker": SPEAKER}),
    "one position": save({"latents": LATENTS[0].clone(), "speaker": SPEAKER}),
    "one axis more": save({"latents": LATENTS[None].clone(), "speaker": SPEAKER}),
    "no number": save({"latents": NOT_A_NUMBER, "speaker": SPEAKER}),
    "infinite": save({"latents": LATENTS, "speaker": ENDLESS}),
    "infinite in float32": save({"latents": LATENTS.double() * 1e300, "speaker": SPEAKER}),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_is_no_embedding_of_this_model_is_refused(data: bytes) -> None:
    with pytest.raises(EmbeddingError):
        Conditioning.from_bytes(data, WIDTH)


def test_a_mix_is_the_weighted_mean() -> None:
    first, second = some_voice(1), some_voice(2)
    mixed = mix([(first, 3.0), (second, 1.0)])
    torch.testing.assert_close(mixed.latents, 0.75 * first.latents + 0.25 * second.latents)
    torch.testing.assert_close(mixed.speaker, 0.75 * first.speaker + 0.25 * second.speaker)


def test_equal_parts_are_upstreams_mean_over_recordings() -> None:
    voices = [some_voice(n) for n in range(3)]
    mixed = mix((voice, 1.0) for voice in voices)
    mean = torch.stack([voice.latents for voice in voices]).mean(dim=0)
    torch.testing.assert_close(mixed.latents, mean)


def test_a_mix_of_one_is_that_one() -> None:
    torch.testing.assert_close(mix([(some_voice(), 0.2)]).latents, some_voice().latents)


def test_the_order_of_a_mix_makes_no_difference() -> None:
    parts = [(some_voice(n), 0.5 + n) for n in range(4)]
    mixes = [mix(order) for order in permutations(parts)]
    for other in mixes[1:]:
        torch.testing.assert_close(other.latents, mixes[0].latents, rtol=0, atol=1e-6)
        torch.testing.assert_close(other.speaker, mixes[0].speaker, rtol=0, atol=1e-6)


@pytest.mark.parametrize("factor", [1e-300, 1e-30, 1e30, 1e300])
def test_only_the_shares_of_a_mix_matter(factor: float) -> None:
    parts = [(some_voice(n), 0.5 + n) for n in range(3)]
    scaled = mix((voice, weight * factor) for voice, weight in parts)
    torch.testing.assert_close(scaled.latents, mix(parts).latents)


def test_a_part_may_weigh_next_to_nothing() -> None:
    mixed = mix([(some_voice(1), 1.0), (some_voice(2), 1e-300)])
    torch.testing.assert_close(mixed.latents, some_voice(1).latents)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_that_are_none_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="weights of a mix must be positive"):
        mix([(some_voice(1), 1.0), (some_voice(2), weight)])


def test_a_mix_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"."):
        mix([])
