"""What a load has measured."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tts_client.load.listening import Listening

__all__ = ["LoadReport", "percentile"]


def percentile(values: Iterable[float], percent: float) -> float:
    """The nearest-rank percentile: the least value that so many percent are not above.

    0 gives the least, 100 the greatest, and no values NaN. Raises `ValueError` for other shares.
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"a percentile is 0 to 100, not {percent}")
    ordered = sorted(values)
    if not ordered:
        return math.nan
    # Multiplied first: 55 / 100 * 20 is a little above 11.
    return ordered[max(1, math.ceil(percent * len(ordered) / 100)) - 1]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What the calls of one load have heard.

    Statistics of nothing are NaN.

    Attributes:
        listenings: the calls that began within the measurement, in the order of their ends.
        elapsed_s: the measurement's length, without the warm-up and without what was waited for
            afterwards.
        audio_s: the audio that arrived in that time, whichever call it belongs to.
        callers: how many called in a closed loop; 0 for an open one.
        rate_per_s: calls begun each second in an open loop; 0 for a closed one.
        cores: processor time that this process took, for each second of the load. Near 1 the
            figures are those of the caller's side, not of the server.
        unfinished: calls that the end of an interrupted load has cut off. They are in no figure.
    """

    listenings: tuple[Listening, ...]
    elapsed_s: float
    audio_s: float
    callers: int = 0
    rate_per_s: float = 0.0
    cores: float = 0.0
    unfinished: int = 0

    @property
    def calls(self) -> int:
        """How many calls there are, failed ones included."""
        return len(self.listenings)

    @property
    def errors(self) -> Counter[str]:
        """How often calls failed, by the error's name."""
        return Counter(heard.error for heard in self.listenings if heard.error)

    @property
    def underruns(self) -> int:
        """How many calls had at least one underrun."""
        return sum(heard.underrun_count > 0 for heard in self.listenings)

    @property
    def audio_per_s(self) -> float:
        """Seconds of audio that arrived each second, over all callers."""
        return self.audio_s / self.elapsed_s if self.elapsed_s else math.nan

    def first_audio_ms(self, percent: float) -> float:
        """A percentile of the time to first audio, of the calls that had any."""
        firsts = (heard.first_audio_ms for heard in self.listenings)
        return percentile((first for first in firsts if first is not None), percent)

    def longest_gap_ms(self, percent: float) -> float:
        """A percentile of each call's longest time between arrivals, of those that had audio."""
        heard_any = (heard for heard in self.listenings if heard.first_audio_ms is not None)
        return percentile((heard.longest_gap_ms for heard in heard_any), percent)

    def to_json(self) -> dict[str, Any]:
        """Figures and calls as JSON knows them; what is NaN becomes None."""
        return {
            "callers": self.callers,
            "rate_per_s": self.rate_per_s,
            "elapsed_s": self.elapsed_s,
            "calls": self.calls,
            "errors": dict(self.errors),
            "cores": self.cores,
            "unfinished": self.unfinished,
            "underruns": self.underruns,
            "audio_s": self.audio_s,
            "audio_per_s": _known(self.audio_per_s),
            "first_audio_ms": _spread(self.first_audio_ms),
            "longest_gap_ms": _spread(self.longest_gap_ms),
            "listenings": [dataclasses.asdict(heard) for heard in self.listenings],
        }


def _spread(statistic: Any) -> dict[str, float | None]:
    shares = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    return {name: _known(statistic(percent)) for name, percent in shares.items()}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
