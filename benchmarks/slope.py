"""Whether a figure grows: Theil–Sen's slope with a confidence interval, against a bound.

Neighbouring samples of a process's memory are alike, and an interval that took each of them for
news would be far too narrow. So a series is first cut into blocks, of which only the medians count;
the interval is then Sen's, from the distribution of Kendall's tau, at 99 %.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy import stats

__all__ = ["Series", "Slope"]

_BLOCKS = 30
_CONFIDENCE = 0.99
_FEWEST_BLOCKS = 6

Series = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Slope:
    """How a figure went with time.

    Attributes:
        per_hour: Theil–Sen's estimate.
        low_per_hour, high_per_hour: ends of its 99 % confidence interval.
        span_h: how long it was watched.
        sample_count: how often.
    """

    per_hour: float
    low_per_hour: float
    high_per_hour: float
    span_h: float
    sample_count: int

    @property
    def is_zero(self) -> bool:
        """Whether it can't be told from no slope at all."""
        # Of values that are all the same the interval is not a number.
        return not (self.low_per_hour > 0.0 or self.high_per_hour < 0.0)

    def exceeds(self, *, per_hour: float, at_least: float) -> bool:
        """Whether it grows for certain, and by more than a bound.

        Args:
            per_hour: the bound.
            at_least: what it has to have grown by in the time that it was watched, for short runs.
        """
        grown = self.per_hour * self.span_h
        return self.low_per_hour > 0.0 and grown > max(per_hour * self.span_h, at_least)

    @classmethod
    def of(cls, *series: Series) -> "Slope | None":
        """The slope that several series of (seconds, value) have in common; None for too few.

        Each is centred on its own middle, so that their levels may differ: lives of a process.
        All have blocks of one size, so that a life counts for as much as it is long.
        """
        points: list[tuple[float, float]] = []
        span_s = 0.0
        size = max(1, -(-sum(map(len, series)) // _BLOCKS))
        for one in series:
            blocks = list(_blocks(one, size))
            if len(blocks) < 2:
                continue
            middle_s = statistics.median(seconds for seconds, _ in blocks)
            level = statistics.median(value for _, value in blocks)
            points += [(seconds - middle_s, value - level) for seconds, value in blocks]
            span_s += one[-1][0] - one[0][0]
        if len(points) < _FEWEST_BLOCKS:
            return None
        fitted = stats.theilslopes(
            [value for _, value in points], [seconds for seconds, _ in points], alpha=_CONFIDENCE
        )
        per_hour, low, high = (3600.0 * float(f) for f in (fitted[0], fitted[2], fitted[3]))
        return cls(per_hour, low, high, span_s / 3600.0, sum(map(len, series)))


def _blocks(series: Series, size: int) -> Iterable[tuple[float, float]]:
    """The medians of runs of so many samples; what is left in the end is no block."""
    for start in range(0, len(series) - size + 1, size):
        block = series[start : start + size]
        yield (
            statistics.median(seconds for seconds, _ in block),
            statistics.median(value for _, value in block),
        )
