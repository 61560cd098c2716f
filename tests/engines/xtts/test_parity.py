"""Codes, logits and latents are upstream's, on the same weights in the same process."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.width import wide
from tests.xtts_checkpoint import SPEAKERS, Pair
from tts_service.engines.xtts.conditioning import Conditioning
from tts_service.engines.xtts.decoder import Decoder, Prompt
from tts_service.engines.xtts.gpt import Gpt
from tts_service.engines.xtts.sampling import SampleRules

STEPS = 220
OFFICIAL_STEPS = wide(STEPS, else_=48)
TOLERANCE = 1e-4

TEXTS = (
    "Hello world, this is a test of it.",
    "No.",
    "One more, and it is rather longer than that.",
)


@dataclass(frozen=True)
class Decoded:
    """What came of one prompt.

    Attributes:
        logits: shape (steps, codes): as the model gave them, before any processor.
        latents: shape (steps, width).
    """

    codes: list[int]
    logits: Tensor
    latents: Tensor


def upstream_options(rules: SampleRules) -> dict[str, Any]:
    options: dict[str, Any] = {
        "repetition_penalty": rules.repetition_penalty,
        "min_new_tokens": rules.min_codes,
        "max_new_tokens": rules.min_codes,
        "do_sample": rules.temperature > 0,
        "return_dict_in_generate": True,
    }
    if rules.temperature > 0:
        options |= {
            "temperature": rules.temperature,
            "top_k": rules.top_k,
            "top_p": rules.top_p,
        }
    return options


def upstream_generate(pair: Pair, voice: Conditioning, text: str, rules: SampleRules) -> Decoded:
    """What `Xtts.inference` does, and the hidden states that it makes on its way."""
    gpt = pair.stock.gpt
    tokens = torch.tensor([pair.checkpoint.tokenizer.encode(text, "en")])
    torch.manual_seed(rules.seed)
    with torch.inference_mode():
        codes, made = gpt.generate(
            voice.latents[None],
            tokens,
            output_logits=True,
            output_hidden_states=True,
            **upstream_options(rules),
        )
        hidden = torch.cat([states[-1][:, -1] for states in made.hidden_states])
        return Decoded(codes[0].tolist(), torch.cat(made.logits), gpt.final_norm(hidden))


def upstream_stream(pair: Pair, voice: Conditioning, text: str, rules: SampleRules) -> Decoded:
    """What `Xtts.inference_stream` does up to its vocoder.

    It draws even where it is told not to, so the likeliest code must be its only choice.
    """
    gpt = pair.stock.gpt
    options = upstream_options(rules)
    if rules.temperature == 0:
        options |= {"do_sample": True, "top_k": 1}
    tokens = torch.tensor([pair.checkpoint.tokenizer.encode(text, "en")])
    torch.manual_seed(rules.seed)
    with torch.inference_mode():
        pairs = gpt.get_generator(
            fake_inputs=gpt.compute_embeddings(voice.latents[None], tokens),
            num_beams=1,
            num_return_sequences=1,
            output_hidden_states=True,
            **options,
        )
        codes, latents = zip(*pairs, strict=True)
        joined = torch.cat(latents)
        return Decoded([int(code) for code in codes], gpt.mel_head(joined), joined)


def decode(decoder: Decoder, gpt: Gpt, slot: int, prompt: Prompt) -> Decoded:
    """Decodes as many codes as its rules ask for at least, in one slot, alone."""
    steps = prompt.rules.min_codes
    codes = [decoder.begin(slot, prompt)]
    while len(codes) < steps:
        codes += decoder.step([slot])
    latents = decoder.latents(slot, steps).clone()
    decoder.end(slot)
    return Decoded(codes, gpt.logits(latents), latents)


def prompt_of(pair: Pair, voice: Conditioning, text: str, rules: SampleRules) -> Prompt:
    return Prompt(voice.latents, pair.checkpoint.tokenizer.encode(text, "en"), rules)


def voice_of(pair: Pair, number: int = 0) -> Conditioning:
    return pair.checkpoint.speakers[SPEAKERS[number]]


def float32_gpt(pair: Pair) -> Gpt:
    return Gpt(pair.checkpoint.gpt, torch.float32, torch.device("cpu"))


def check_same(ours: Decoded, upstream: Decoded) -> None:
    assert ours.codes == upstream.codes
    torch.testing.assert_close(ours.logits, upstream.logits, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(ours.latents, upstream.latents, rtol=0, atol=TOLERANCE)


class PaddedSteps:
    """Stands in for the CUDA graphs: the same steps of fixed shapes, without a GPU."""

    def __init__(self, step: Callable[[int, int], None]) -> None:
        self._step = step
        self.shapes: list[tuple[int, int]] = []

    def run(self, batch: int, positions: int) -> None:
        self.shapes.append((batch, positions))
        self._step(batch, positions)


def padded(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> PaddedSteps:
    """Makes a decoder step as it does on a GPU."""
    steps = PaddedSteps(decoder._step_padded)
    monkeypatch.setattr(decoder, "_graphs", steps)
    return steps


GREEDY = SampleRules(temperature=0.0, min_codes=STEPS)
RULES = {
    "greedy": GREEDY,
    "greedy, soft penalty": SampleRules(temperature=0.0, repetition_penalty=1.5, min_codes=STEPS),
    "sampled": SampleRules(seed=7, min_codes=STEPS),
    "sampled, wide": SampleRules(
        temperature=1.3, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=2**40 + 1, min_codes=STEPS
    ),
    "sampled, narrow": SampleRules(
        temperature=0.4, top_k=5, top_p=0.5, repetition_penalty=3.0, seed=3, min_codes=STEPS
    ),
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_codes_logits_and_latents_are_upstreams(any_tiny: Pair, rules: SampleRules) -> None:
    gpt = float32_gpt(any_tiny)
    voice = voice_of(any_tiny)
    upstream = upstream_generate(any_tiny, voice, TEXTS[0], rules)
    assert len(upstream.codes) == STEPS
    assert len(set(upstream.codes)) > STEPS // 10
    prompt = prompt_of(any_tiny, voice, TEXTS[0], rules)
    check_same(decode(Decoder(gpt, 1), gpt, 0, prompt), upstream)


@pytest.mark.parametrize("rules", [GREEDY, RULES["sampled"]], ids=["greedy", "sampled"])
def test_latents_are_those_that_upstream_streams_from(any_tiny: Pair, rules: SampleRules) -> None:
    gpt = float32_gpt(any_tiny)
    voice = voice_of(any_tiny, 1)
    prompt = prompt_of(any_tiny, voice, TEXTS[2], rules)
    check_same(
        decode(Decoder(gpt, 1), gpt, 0, prompt),
        upstream_stream(any_tiny, voice, TEXTS[2], rules),
    )


@pytest.mark.parametrize("path", ["each row its own length", "all rows padded"])
@pytest.mark.parametrize("batch_sizes", [(1, 2, 4), (4,)], ids=["growing", "fixed"])
@pytest.mark.parametrize("slot", [0, 3])
def test_slot_batch_size_and_path_make_no_difference(
    tiny: Pair,
    slot: int,
    batch_sizes: tuple[int, ...],
    path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpt = float32_gpt(tiny)
    decoder = Decoder(gpt, 4, batch_sizes)
    steps = padded(decoder, monkeypatch) if path == "all rows padded" else None
    for rules in (GREEDY, RULES["sampled"]):
        prompt = prompt_of(tiny, voice_of(tiny), TEXTS[0], rules)
        check_same(
            decode(decoder, gpt, slot, prompt),
            upstream_generate(tiny, voice_of(tiny), TEXTS[0], rules),
        )
        assert decoder.batch_size == (4 if slot == 3 else batch_sizes[0])
    if steps is not None:
        assert {positions for _, positions in steps.shapes} == {256, 512}


@pytest.mark.parametrize("is_padded", [False, True], ids=["own lengths", "padded"])
def test_neighbours_that_come_and_go_make_no_difference(
    tiny: Pair, is_padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four slots, each begun later than the one before and with rules of its own."""
    gpt = float32_gpt(tiny)
    decoder = Decoder(gpt, 4)
    if is_padded:
        padded(decoder, monkeypatch)
    rules = list(RULES.values())[:4]
    texts = [TEXTS[n % len(TEXTS)] for n in range(4)]
    upstream = [
        upstream_generate(tiny, voice_of(tiny, n % 2), texts[n], rules[n]) for n in range(4)
    ]
    codes: dict[int, list[int]] = {}
    latents: dict[int, Tensor] = {}
    turn = 0
    while len(latents) < 4:
        turn += 1
        if turn in (1, 11, 21, 31):
            n = turn // 10
            codes[n] = [
                decoder.begin(n, prompt_of(tiny, voice_of(tiny, n % 2), texts[n], rules[n]))
            ]
        # A slot that pauses keeps its place and loses nothing.
        slots = [n for n in codes if n not in latents and (turn + n) % 5]
        stepped = decoder.step(slots) if slots else []
        for n, code in zip(slots, stepped, strict=True):
            codes[n].append(code)
            if len(codes[n]) == STEPS:
                latents[n] = decoder.latents(n, STEPS).clone()
                decoder.end(n)
    for n in range(4):
        check_same(Decoded(codes[n], gpt.logits(latents[n]), latents[n]), upstream[n])


@pytest.mark.parametrize("is_padded", [False, True], ids=["own lengths", "padded"])
def test_a_broken_voice_spoils_neither_its_slot_nor_its_neighbours(
    tiny: Pair, is_padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt = float32_gpt(tiny)
    decoder = Decoder(gpt, 2)
    if is_padded:
        padded(decoder, monkeypatch)
    broken = Prompt(torch.full((32, gpt.width), float("nan")), [20] * 300, SampleRules(min_codes=9))
    prompt = prompt_of(tiny, voice_of(tiny), TEXTS[0], GREEDY)
    upstream = upstream_generate(tiny, voice_of(tiny), TEXTS[0], GREEDY)
    decoder.begin(1, broken)
    codes = [decoder.begin(0, prompt)]
    while len(codes) < STEPS:
        codes.append(decoder.step([0, 1])[0])
    assert codes == upstream.codes
    decoder.end(0)
    decoder.end(1)
    check_same(decode(decoder, gpt, 1, prompt), upstream)


@pytest.mark.timeout(900)
def test_the_official_size_agrees_with_upstream(official: Pair) -> None:
    """Greedy over all steps; then sampled, in the last of two slots and on the GPU's path."""
    gpt = float32_gpt(official)
    decoder = Decoder(gpt, 2)
    voice = voice_of(official)
    greedy = replace(GREEDY, min_codes=OFFICIAL_STEPS)
    prompt = prompt_of(official, voice, TEXTS[0], greedy)
    check_same(decode(decoder, gpt, 0, prompt), upstream_stream(official, voice, TEXTS[0], greedy))
    rules = SampleRules(seed=11, min_codes=24)
    upstream = upstream_generate(official, voice, TEXTS[1], rules)
    prompt = prompt_of(official, voice, TEXTS[1], rules)
    check_same(decode(decoder, gpt, 1, prompt), upstream)
    with pytest.MonkeyPatch.context() as monkeypatch:
        padded(decoder, monkeypatch)
        check_same(decode(decoder, gpt, 1, prompt), upstream)
