"""Which part of the text is heard in which samples."""

from bisect import bisect_left, bisect_right

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

    def span_of(self, start: int, end: int) -> tuple[int, int]:
        """Returns what is spoken from one sample to another, from its first to its last character.

        Where nothing is, in a pause or between no samples at all, it is the span at `start`; past
        the end, the last one.

        Raises:
            IndexError: nothing was added yet.
        """
        first = max(0, bisect_right(self._starts, start) - 1)
        heard = self._spans[first : max(first + 1, bisect_left(self._starts, end))]
        spoken = [span for span in heard if span[0] < span[1]]
        if not spoken:
            return heard[0]
        firsts, lasts = zip(*spoken, strict=True)
        return min(firsts), max(lasts)
