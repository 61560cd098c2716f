"""What is said to measure the first audio."""

__all__ = ["CLAUSES", "SENTENCE"]

SENTENCE = (
    "The train to the coast leaves from platform seven at a quarter past nine, and those who "
    "want a seat by the window should be there a little earlier."
)

# Six hundred characters without a full stop: whoever speaks whole sentences speaks all of it first.
CLAUSES = (
    "When the rain had stopped at last, and the streets below the old station were shining in the "
    "light of the lamps, the people who had waited under the roof of the market began to walk "
    "home in small groups, some of them talking about the flood of the year before, others "
    "silent and tired, carrying their baskets, their bicycles and their sleeping children, past "
    "the closed bakery, over the narrow bridge, along the wall of the garden where the dogs were "
    "barking as they always do, and up the long hill to the houses, in which one window after "
    "another grew bright, until the whole valley seemed full of stars"
)
