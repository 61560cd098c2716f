"""How widely the slowest tests search: a little in each run, and all of it by `make test-wide`."""

import os
from typing import TypeVar

__all__ = ["wide"]

_Value = TypeVar("_Value")


def wide(all_of_it: _Value, *, else_: _Value) -> _Value:
    """What a test is to do: all of it if TEST_WIDTH is "wide"."""
    return all_of_it if os.environ.get("TEST_WIDTH") == "wide" else else_
