"""Who was refused, and when they were told to come again."""

__all__ = ["Promises"]

# How long after its time a promise is kept, and how much before it.
_LATE_S = 10.0
_EARLY_S = 0.25
# Of the newest promise in the share of those that were taken up. Not all callers come again; who
# leaves should not make the others wait.
_WEIGHT = 0.03
_LEAST_SHARE = 0.05
# Promised calls get so much of the engine's time, and newcomers the rest. Not all callers come
# again, and those who do come by chance: at four fifths, one in five found no place at its time.
_PROMISED_SHARE = 0.6


class Promises:
    """A line that stands outside: callers who were sent away, each with a time of its own.

    The times are as far apart as the engine needs for a call, so that those who come again don't
    meet.

    Args:
        limit: so many are remembered; who is refused beyond that is told a time, and that is all.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._due_s: dict[str, float] = {}  # in the order of their times
        self._last_s = 0.0
        self._kept_share = 1.0

    def __len__(self) -> int:
        return len(self._due_s)

    def make(self, request_id: str, now_s: float, *, call_s: float) -> float:
        """Returns the time that a refused caller is told. One that came too early keeps its time.

        Args:
            call_s: what a call takes of the engine's time.
        """
        self._forget(now_s)
        if (due_s := self._due_s.get(request_id)) is not None:
            return due_s
        step_s = call_s * self._kept_share / _PROMISED_SHARE
        due_s = max(now_s + call_s, self._last_s + step_s)
        if len(self._due_s) < self._limit:
            self._due_s[request_id] = self._last_s = due_s
        return due_s

    def take_up(self, request_id: str, now_s: float) -> bool:
        """Whether a caller was promised to be let in about now. It can do so once."""
        self._forget(now_s)
        due_s = self._due_s.get(request_id)
        if due_s is None or now_s < due_s - _EARLY_S:
            return False
        del self._due_s[request_id]
        self._learn(1.0)
        return True

    def _forget(self, now_s: float) -> None:
        """Drops those whose time is over."""
        while self._due_s:
            request_id, due_s = next(iter(self._due_s.items()))
            if due_s + _LATE_S > now_s:
                return
            del self._due_s[request_id]
            self._learn(0.0)

    def _learn(self, kept: float) -> None:
        share = self._kept_share + _WEIGHT * (kept - self._kept_share)
        self._kept_share = max(_LEAST_SHARE, share)
