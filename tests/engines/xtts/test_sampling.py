"""Codes are chosen as Hugging Face's processors and `torch.multinomial` choose them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from tts_service.engines.xtts.sampling import Sampler, SampleRules, process_logits

CODES = 96
START, STOP = CODES - 2, CODES - 1
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    """One row of a batch: its parameters and the codes before it."""

    repetition_penalty: float
    temperature: float
    top_k: int
    top_p: float
    history: tuple[int, ...]


# Round numbers as people write them, since their rounding to float32 matters.
_SHARES = st.one_of(
    st.sampled_from((0.0, 0.1, 0.5, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0)), st.floats(0.0, 1.0)
)
_ROWS = st.builds(
    Row,
    repetition_penalty=st.one_of(st.sampled_from((1.0, 2.0, 10.0)), st.floats(1.0, 20.0)),
    temperature=st.one_of(st.sampled_from((1.0, 0.75, 0.01)), st.floats(0.01, 2.0)),
    top_k=st.one_of(st.sampled_from((1, 50, CODES)), st.integers(1, CODES)),
    top_p=_SHARES,
    history=st.lists(st.integers(0, CODES - 1), max_size=40).map(tuple),
)
_MANY = settings(max_examples=400, deadline=None, derandomize=True)


def token_ids(codes: Sequence[int]) -> torch.LongTensor:
    """One row, of shape (1, n)."""
    return cast("torch.LongTensor", torch.tensor([codes], dtype=torch.int64))


def hugging_face(logits: Tensor, row: Row) -> Tensor:
    """The scores of one row, of shape (1, codes)."""
    history = token_ids(row.history)
    return LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(row.repetition_penalty),
            TemperatureLogitsWarper(row.temperature),
            TopKLogitsWarper(row.top_k),
            TopPLogitsWarper(row.top_p),
        ]
    )(history, logits)


def ours(logits: Tensor, rows: list[Row]) -> Tensor:
    seen = torch.zeros(logits.shape, dtype=torch.bool)
    for n, row in enumerate(rows):
        seen[n, list(row.history)] = True
    return process_logits(
        logits,
        seen=seen,
        repetition_penalty=torch.tensor(
            [row.repetition_penalty for row in rows], dtype=torch.float64
        ),
        temperature=torch.tensor([row.temperature for row in rows], dtype=torch.float64),
        top_k=torch.tensor([row.top_k for row in rows]),
        top_p=torch.tensor([row.top_p for row in rows], dtype=torch.float64),
    )


def random_logits(rows: int, seed: int, spread: float = 4.0) -> Tensor:
    return torch.randn(rows, CODES, generator=torch.Generator().manual_seed(seed)) * spread


@_MANY
@given(rows=st.lists(_ROWS, min_size=1, max_size=5), seed=st.integers(0, 2**32), spread=_SHARES)
def test_rows_of_a_batch_are_processed_as_alone(rows: list[Row], seed: int, spread: float) -> None:
    logits = random_logits(len(rows), seed, 10 * spread)
    expected = torch.cat([hugging_face(logits[n : n + 1], row) for n, row in enumerate(rows)])
    assert torch.equal(ours(logits, rows), expected)


@_MANY
@given(row=_ROWS, seed=st.integers(0, 2**32), levels=st.integers(1, 6))
def test_ties_are_treated_alike(row: Row, seed: int, levels: int) -> None:
    """Logits of a few levels, so that both borders fall among equals."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(0, levels, (1, CODES), generator=generator).float() - 1.0
    mine, upstream = ours(logits, [row]), hugging_face(logits, row)
    # Which of some equals goes first is up to the sorting; how many go is not.
    assert torch.equal(mine.sort(dim=1).values, upstream.sort(dim=1).values)


def sampler_with(rules: dict[int, SampleRules], slots: int = 4) -> Sampler:
    sampler = Sampler(slots, CODES, START, STOP, CPU)
    for slot, its in rules.items():
        sampler.begin(slot, its)
    return sampler


def sample(sampler: Sampler, logits: Tensor, slot: int, position: int) -> int:
    sampler.draw([slot])
    return int(sampler.sample(logits, slot, torch.tensor([position]), torch.tensor([True])).item())


def upstream_codes(logits: Tensor, rules: SampleRules) -> list[int]:
    """What `generate` does on given logits, of shape (steps, codes), from XTTS's fake prompt."""
    generator = torch.Generator().manual_seed(rules.seed)
    history = [1, START]
    for step_logits in logits:
        seen = token_ids(history)
        scores = LogitsProcessorList(
            [
                RepetitionPenaltyLogitsProcessor(rules.repetition_penalty),
                MinNewTokensLengthLogitsProcessor(2, rules.min_codes, STOP),
                TemperatureLogitsWarper(rules.temperature),
                TopKLogitsWarper(rules.top_k),
                TopPLogitsWarper(rules.top_p),
            ]
        )(seen, step_logits[None].clone())
        drawn = torch.multinomial(scores.softmax(dim=1), 1, generator=generator)
        history.append(int(drawn))
    return history[2:]


@pytest.mark.parametrize("top_p", [share / 20 for share in range(1, 20)])
def test_the_border_of_top_p_is_the_same_to_the_last_bit(top_p: float) -> None:
    """Twenty equals, of which the share is a whole number: rounding says which side it is on."""
    logits = torch.full((1, CODES), -100.0)
    logits[0, 20:40] = 0.0
    sampler = sampler_with({0: SampleRules(temperature=1.0, top_p=top_p, repetition_penalty=1.0)})
    drawn = {sample(sampler, logits, 0, n) for n in range(600)}
    kept = hugging_face(logits, Row(1.0, 1.0, CODES, top_p, ())).isfinite()
    assert len(drawn) == int(kept.sum())


@pytest.mark.parametrize("slot", [0, 3])
@pytest.mark.parametrize(
    "rules",
    [
        SampleRules(seed=1),
        SampleRules(seed=2**63 - 1, temperature=1.5, top_p=1.0, repetition_penalty=1.0),
        SampleRules(seed=0, top_k=1),
        SampleRules(seed=4, top_k=CODES, top_p=0.3, min_codes=50),
    ],
    ids=["default", "wide", "one", "narrow"],
)
def test_draws_are_those_of_multinomial(rules: SampleRules, slot: int) -> None:
    logits = random_logits(100, seed=5)
    sampler = sampler_with({slot: rules})
    codes = [sample(sampler, logits[n : n + 1], slot, n) for n in range(100)]
    assert codes == upstream_codes(logits, rules)


def test_a_slots_draws_depend_on_no_other_slot() -> None:
    rules = {n: SampleRules(seed=n, temperature=1.0 + n / 4) for n in range(4)}
    logits = random_logits(60 * 4, seed=6).view(60, 4, CODES)
    alone = []
    for slot in range(4):
        sampler = sampler_with({slot: rules[slot]})
        alone.append([sample(sampler, logits[n, slot : slot + 1], slot, n) for n in range(60)])
    together = sampler_with(rules)
    positions = torch.zeros(4, dtype=torch.int64)
    for n in range(60):
        together.draw([0, 1, 2, 3])
        codes = together.sample(logits[n], 0, positions + n, torch.ones(4, dtype=torch.bool))
        assert codes.tolist() == [codes_alone[n] for codes_alone in alone]


def test_a_slot_that_waits_keeps_its_generator_and_its_history() -> None:
    """Its row is computed with the others' and the result thrown away."""
    rules = {0: SampleRules(seed=1, top_p=1.0), 1: SampleRules(seed=2, top_p=1.0)}
    logits = random_logits(80, seed=7).view(40, 2, CODES)
    expected = upstream_codes(logits[:20, 1], rules[1])
    sampler = sampler_with(rules, slots=2)
    codes = []
    for n in range(40):
        advances = n % 2 == 0
        sampler.draw([0, 1] if advances else [0])
        rows = torch.stack((logits[n, 0], logits[n // 2, 1]))
        chosen = sampler.sample(rows, 0, torch.tensor([n, n // 2]), torch.tensor([True, advances]))
        if advances:
            codes.append(int(chosen[1]))
    assert codes == expected


def test_greedy_is_the_same_whatever_the_seed() -> None:
    logits = random_logits(50, seed=8)
    chosen = set()
    for seed in range(5):
        # Neither top_k nor top_p has a say.
        rules = SampleRules(temperature=0.0, seed=seed, top_k=seed + 1, top_p=seed / 4)
        sampler = sampler_with({2: rules})
        chosen.add(tuple(sample(sampler, logits[n : n + 1], 2, n) for n in range(50)))
    assert len(chosen) == 1


def test_next_to_no_temperature_is_greedy() -> None:
    """Divided by it, scores would be infinite."""
    logits = random_logits(50, seed=8)
    greedy = sampler_with({0: SampleRules(temperature=0.0)})
    cold = sampler_with({0: SampleRules(temperature=1e-40)})
    for n in range(50):
        row = logits[n : n + 1]
        assert sample(cold, row, 0, n) == sample(greedy, row, 0, n)


def test_greedy_takes_the_likeliest_that_is_not_penalised() -> None:
    logits = torch.zeros(1, CODES)
    logits[0, [10, 11]] = torch.tensor([6.0, 5.0])
    sampler = sampler_with({0: SampleRules(temperature=0.0, repetition_penalty=2.0)})
    assert [sample(sampler, logits, 0, n) for n in range(3)] == [10, 11, 10]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_stop_code_is_no_choice_before_its_time(temperature: float) -> None:
    logits = torch.zeros(1, CODES)
    logits[0, STOP] = 50.0
    rules = SampleRules(temperature=temperature, min_codes=7, repetition_penalty=1.0)
    sampler = sampler_with({1: rules})
    codes = [sample(sampler, logits, 1, n) for n in range(9)]
    assert STOP not in codes[:7]
    assert codes[7:] == [STOP, STOP]


def test_the_prompts_stand_ins_are_penalised_from_the_start() -> None:
    for code in (1, START):
        logits = torch.zeros(1, CODES)
        logits[0, [code, 20]] = torch.tensor([6.0, 5.0])
        sampler = sampler_with({0: SampleRules(temperature=0.0, repetition_penalty=2.0)})
        assert sample(sampler, logits, 0, 0) == 20


def test_a_slot_begun_again_has_forgotten_everything() -> None:
    logits = random_logits(40, seed=9)
    rules = SampleRules(seed=3, top_p=1.0)
    fresh = sampler_with({0: rules})
    expected = [sample(fresh, logits[n : n + 1], 0, n) for n in range(40)]
    used = sampler_with({0: replace(rules, seed=99, temperature=0.0, min_codes=500, top_k=3)})
    for n in range(30):
        sample(used, logits[n : n + 1], 0, n)
    used.begin(0, rules)
    assert [sample(used, logits[n : n + 1], 0, n) for n in range(40)] == expected
