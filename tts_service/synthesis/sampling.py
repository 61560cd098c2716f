"""The ranges of a `Sampling`, and the seed of one that names none."""

import secrets
from collections.abc import Iterator
from dataclasses import replace

from ..errors import Violation
from ..sampling import Sampling

__all__ = ["check_sampling", "with_seed"]

_SEED_BITS = 63


def check_sampling(sampling: Sampling) -> Iterator[Violation]:
    """Finds the values that are out of range."""
    # Written so that NaN, which compares false with everything, is refused.
    value: float | None
    if (value := sampling.temperature) is not None and not 0.0 <= value <= 2.0:
        yield Violation("sampling.temperature", f"is {value:g}; it must be 0 to 2")
    if (value := sampling.top_k) is not None and not 1 <= value <= 1000:
        yield Violation("sampling.top_k", f"is {value}; it must be 1 to 1000")
    if (value := sampling.top_p) is not None and not 0.0 < value <= 1.0:
        yield Violation("sampling.top_p", f"is {value:g}; it must be above 0 and at most 1")
    if (value := sampling.repetition_penalty) is not None and not 1.0 <= value <= 50.0:
        yield Violation("sampling.repetition_penalty", f"is {value:g}; it must be 1 to 50")
    if (value := sampling.seed) is not None and not 0 <= value < 1 << _SEED_BITS:
        yield Violation("sampling.seed", f"is {value}; it must be 0 to 2^63-1")


def with_seed(sampling: Sampling) -> Sampling:
    """The same with a seed: its own, or a new one that nobody can guess."""
    if sampling.seed is not None:
        return sampling
    return replace(sampling, seed=secrets.randbits(_SEED_BITS))
