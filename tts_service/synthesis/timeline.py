"""Which part of the text is heard at which sample."""

from bisect import bisect_right

__all__ = ["Timeline"]


class Timeline:
    """Spans of text in the order in which they are spoken."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._spans: list[tuple[int, int]] = []
        self._end = 0

    def append(self, sample_count: int, span: tuple[int, int]) -> None:
        """Adds `sample_count` samples that speak `span` (first character, one past the last)."""
        if not self._spans or self._spans[-1] != span:
            self._starts.append(self._end)
            self._spans.append(span)
        self._end += sample_count

    def span_at(self, sample: int) -> tuple[int, int]:
        """Returns the span that is spoken at `sample`; past the end, the last one.

        Raises:
            IndexError: nothing was added yet.
        """
        return self._spans[max(0, bisect_right(self._starts, sample) - 1)]
