"""An engine's time, as those who use it share it."""

from collections.abc import Callable

__all__ = ["EngineTime"]

_WEIGHT = 0.1  # of the newest call in the mean
_UNKNOWN_S = 1.0  # before any call is done


class EngineTime:
    """Counts the time of one engine, and how much of it a call takes on average.

    While several calls use the engine, each of them gets an equal share of its time. So what a call
    takes is the integral of one over the number of users, and an engine that has enough to do gets
    one call done in as much time, whether it renders them in turns or in a batch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._users = 0
        self._share_s = 0.0
        self._read_s = clock()
        self._mean_s: float | None = None

    @property
    def users(self) -> int:
        """How many use the engine now."""
        return self._users

    @property
    def call_s(self) -> float:
        """What a call takes, the last ones counting most."""
        return _UNKNOWN_S if self._mean_s is None else self._mean_s

    def begin(self) -> float:
        """One more uses the engine. Returns what `end` wants to know."""
        share_s = self._read()
        self._users += 1
        return share_s

    def end(self, began: float) -> float:
        """One of them uses it no more. Returns how much of its time that was, in seconds."""
        share_s = self._read()
        self._users -= 1
        return share_s - began

    def learn(self, call_s: float) -> None:
        """Takes in what a whole call has taken."""
        mean_s = call_s if self._mean_s is None else self._mean_s
        self._mean_s = mean_s + _WEIGHT * (call_s - mean_s)

    def _read(self) -> float:
        """The time that each user has had so far, if it had been there all along."""
        now_s = self._clock()
        if self._users:
            self._share_s += (now_s - self._read_s) / self._users
        self._read_s = now_s
        return self._share_s
