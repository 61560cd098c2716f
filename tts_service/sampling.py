"""How an engine draws, in the terms of both contracts."""

from dataclasses import dataclass

__all__ = ["Sampling"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an engine that samples draws; None is the engine's own default.

    Attributes:
        temperature: 0 to 2; 0 takes the likeliest always.
        top_k: draws among so many of the likeliest, 1 to 1000.
        top_p: draws among the likeliest that have this share together, above 0 to 1.
        repetition_penalty: makes what was drawn before less likely, 1 (not at all) to 50.
        seed: 0 to 2^63-1; the same seed draws the same again. None: any.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
