"""From logits to a code, for each slot by its own rules and with its own randomness.

The processors are those of Hugging Face `transformers` (`RepetitionPenaltyLogitsProcessor`,
`MinNewTokensLengthLogitsProcessor`, `TemperatureLogitsWarper`, `TopKLogitsWarper`,
`TopPLogitsWarper`, in this order), for a batch whose rows differ in their parameters.

The draw is `argmax(p / e)` with `e` from Exp(1), which is how `torch.multinomial` draws one
sample. The noise comes from one CPU generator a request, so a seed means the same beside any
neighbours and on any device.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["SampleRules", "Sampler", "process_logits"]

_MIN_TEMPERATURE = 1e-3


@dataclass(frozen=True, slots=True)
class SampleRules:
    """How one request samples.

    Attributes:
        temperature: 0 takes the likeliest code; top_k and top_p then mean nothing.
        top_k: codes that are considered; 0 considers all.
        top_p: share of the probability that is considered.
        repetition_penalty: factor on the logits of codes that were there before.
        seed: of the request's generator.
        min_codes: the stop code is no choice before so many codes.
    """

    temperature: float = 0.75
    top_k: int = 50
    top_p: float = 0.85
    repetition_penalty: float = 10.0
    seed: int = 0
    min_codes: int = 0

    @property
    def is_greedy(self) -> bool:
        """Whether chance has no part; nor has it at temperatures at which scores overflow."""
        return self.temperature < _MIN_TEMPERATURE


def process_logits(
    logits: Tensor,
    *,
    seen: Tensor,
    repetition_penalty: Tensor,
    temperature: Tensor,
    top_k: Tensor,
    top_p: Tensor,
) -> Tensor:
    """Returns the scores to take the softmax of; what is not considered is minus infinity.

    Args:
        logits: shape (rows, codes), float32.
        seen: shape (rows, codes), bool: codes that were there before.
        repetition_penalty, temperature, top_p: shape (rows,), float64, and rounded where Hugging
            Face rounds them.
        top_k: shape (rows,), int64, 1 to the number of codes.
    """
    scores = _penalise(logits, seen, repetition_penalty) / temperature[:, None].float()
    ranked = scores.sort(dim=1, descending=True).values
    scores = scores.masked_fill(scores < ranked.gather(1, top_k[:, None] - 1), -math.inf)
    ascending, order = scores.sort(dim=1)
    unlikely = ascending.softmax(dim=1).cumsum(dim=1) <= (1.0 - top_p)[:, None].float()
    unlikely[:, -1] = False
    return scores.masked_fill(unlikely.scatter(1, order, unlikely), -math.inf)


def _penalise(logits: Tensor, seen: Tensor, penalty: Tensor) -> Tensor:
    factor = penalty[:, None].float()
    return torch.where(seen, torch.where(logits < 0, logits * factor, logits / factor), logits)


class Sampler:
    """The rules, generators and histories of all slots.

    Everything that `sample` reads lies in tensors of fixed places, so that a CUDA graph may
    hold it.

    Args:
        codes: size of the vocabulary, `start_code` and `stop_code` among it.
    """

    def __init__(
        self, slots: int, codes: int, start_code: int, stop_code: int, device: torch.device
    ) -> None:
        self._codes = codes
        self._start_code = start_code
        self._stop_code = stop_code
        self._generators = [torch.Generator() for _ in range(slots)]
        self._host_noise = torch.ones(slots, codes, pin_memory=device.type == "cuda")
        self._noise = torch.ones(slots, codes, device=device)
        self._seen = torch.zeros(slots, codes, dtype=torch.bool, device=device)
        # temperature, top_p, repetition penalty; one row a slot; as exact as Python's own
        self._factors = torch.ones(slots, 3, dtype=torch.float64, device=device)
        # top_k, the first code that may be the stop, whether greedy; one row a slot
        self._counts = torch.ones(slots, 3, dtype=torch.int64, device=device)

    def begin(self, slot: int, rules: SampleRules) -> None:
        """Gives a slot its rules, a fresh generator, and the history that upstream begins with.

        Upstream stands for the prompt in its history with code 1, and its last with the start
        code; so these two are penalised from the first step on.
        """
        self._generators[slot].manual_seed(rules.seed)
        top_k = min(rules.top_k, self._codes) or self._codes
        self._factors[slot] = torch.tensor(
            [1.0 if rules.is_greedy else rules.temperature, rules.top_p, rules.repetition_penalty],
            dtype=torch.float64,
        )
        self._counts[slot] = torch.tensor([top_k, rules.min_codes, int(rules.is_greedy)])
        self._seen[slot] = False
        self._seen[slot, [1, self._start_code]] = True

    def draw(self, slots: list[int]) -> None:
        """Draws the noise of the next code of these slots. One per slot and code."""
        for slot in slots:
            self._host_noise[slot].exponential_(generator=self._generators[slot])
        first, end = min(slots), max(slots) + 1
        self._noise[first:end].copy_(self._host_noise[first:end], non_blocking=True)

    def sample(self, logits: Tensor, first: int, positions: Tensor, advance: Tensor) -> Tensor:
        """Chooses the next codes of the slots from `first` on. Never waits for the device.

        Args:
            logits: shape (rows, codes), float32.
            positions: shape (rows,), int64: codes that each slot has so far.
            advance: shape (rows,), bool: slots whose history grows by the choice.

        Returns:
            Shape (rows,), int64.
        """
        rows = slice(first, first + logits.shape[0])
        temperature, top_p, penalty = self._factors[rows].unbind(1)
        top_k, min_codes, greedy = self._counts[rows].unbind(1)
        seen = self._seen[rows]
        stop = torch.arange(self._codes, device=logits.device) == self._stop_code
        logits = logits.masked_fill(stop & (positions < min_codes)[:, None], -math.inf)
        probabilities = process_logits(
            logits,
            seen=seen,
            repetition_penalty=penalty,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        ).softmax(dim=1)
        likeliest = _penalise(logits, seen, penalty).argmax(dim=1)
        drawn = (probabilities / self._noise[rows]).argmax(dim=1)
        chosen = torch.where(greedy.bool(), likeliest, drawn)
        seen.scatter_(1, chosen[:, None], seen.gather(1, chosen[:, None]) | advance[:, None])
        return chosen
