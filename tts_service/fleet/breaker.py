"""Whether an engine's next worker is worth waiting for."""

import random

__all__ = ["Breaker"]

_FIRST_BACKOFF_S = 0.2
# A worker that came up before will likely come up again, and callers are waiting for it.
_LAST_BACKOFF_S = 3.0
# A worker that served for so long starts the count of failures anew.
_STABLE_AFTER_S = 60.0


class Breaker:
    """Counts the failures of an engine that follow one another.

    It opens at the limit. From then on there is a try now and then. A worker that such a try
    brings up is used, but only when it has served for a while is the breaker closed: until then
    one more failure is enough.

    Args:
        failure_limit: so many failures open it.
        retry_s: between tries while it is open.

    Attributes:
        failures: since a worker served for a while.
    """

    def __init__(self, *, failure_limit: int, retry_s: float) -> None:
        self.failures = 0
        self._failure_limit = failure_limit
        self._retry_s = retry_s

    @property
    def is_open(self) -> bool:
        """Whether the engine fails again and again."""
        return self.failures >= self._failure_limit

    def served(self, seconds: float) -> None:
        """A worker was ready for so long."""
        if seconds >= _STABLE_AFTER_S:
            self.failures = 0

    def failed(self) -> None:
        """A worker could not be started, or ended when it should not have."""
        self.failures += 1

    def trip(self) -> None:
        """A failure that leaves no hope: whoever waits does so for longer than anybody likes."""
        self.failures = max(self.failures + 1, self._failure_limit)

    def backoff_s(self) -> float:
        """How long to wait before the next worker is started."""
        if self.is_open:
            nominal_s = self._retry_s
        else:
            doublings = max(0, min(self.failures, 16) - 1)
            nominal_s = min(_LAST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0**doublings)
        # Spread, so that many engines that died together don't start together.
        return nominal_s * random.uniform(0.8, 1.2)
