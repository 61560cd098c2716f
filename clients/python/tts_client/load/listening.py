"""What one listener hears of one call."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["NOT_STARTED", "Listener", "Listening"]

# The error of a call that was due and not made, since too many were open.
NOT_STARTED = "NOT_STARTED"


@dataclass(frozen=True, slots=True)
class Listening:
    """What was heard of one call.

    The listener begins to play with the first piece of audio, in real time. An *underrun* is that
    all that has come has been played, and more comes later.

    Attributes:
        text: what was to be spoken.
        began_s: when the call was due, since the measurement began.
        first_audio_ms: from then until the first piece; None if none came.
        whole_ms: from then until the call's end.
        audio_ms: the audio that came.
        longest_gap_ms: the longest time between two arrivals; 0 if fewer than two came.
        underrun_count: how often the listener had to wait for more.
        underrun_ms: how long in all.
        error: what the call failed with: a status's name, such as UNAVAILABLE, `NOT_STARTED`, or
            an exception's name. Empty if it went well.
        message: the error in words.
    """

    text: str
    began_s: float
    first_audio_ms: float | None
    whole_ms: float
    audio_ms: float
    longest_gap_ms: float
    underrun_count: int
    underrun_ms: float
    error: str = ""
    message: str = ""

    @property
    def played_ms(self) -> float:
        """From when the call was due until all of it has been played; 0 if nothing came."""
        if self.first_audio_ms is None:
            return 0.0
        return self.first_audio_ms + self.audio_ms + self.underrun_ms


class Listener:
    """Hears one call, piece by piece.

    Args:
        text: what is to be spoken.
        began_s: when the call was due, by the clock.
        clock: tells the time in seconds.
        origin_s: the moment that `Listening.began_s` counts from, by the clock.
    """

    def __init__(
        self, text: str, began_s: float, clock: Callable[[], float], *, origin_s: float = 0.0
    ) -> None:
        self._text = text
        self._began_s = began_s
        self._clock = clock
        self._origin_s = origin_s
        self._first_s: float | None = None
        self._last_s = 0.0
        self._plays_until_s = 0.0
        self._audio_ms = 0.0
        self._longest_gap_s = 0.0
        self._underrun_count = 0
        self._underrun_s = 0.0

    def hear(self, duration_ms: float) -> None:
        """Takes a piece of audio that has just arrived."""
        if duration_ms <= 0:
            return
        now_s = self._clock()
        if self._first_s is None:
            self._first_s = self._plays_until_s = now_s
        else:
            self._longest_gap_s = max(self._longest_gap_s, now_s - self._last_s)
        if now_s > self._plays_until_s:
            self._underrun_count += 1
            self._underrun_s += now_s - self._plays_until_s
            self._plays_until_s = now_s
        self._last_s = now_s
        self._plays_until_s += duration_ms / 1000
        self._audio_ms += duration_ms

    def end(self, error: str = "", message: str = "") -> Listening:
        """The call is over: what was heard of it."""
        first_s = self._first_s
        return Listening(
            text=self._text,
            began_s=self._began_s - self._origin_s,
            first_audio_ms=None if first_s is None else (first_s - self._began_s) * 1000,
            whole_ms=(self._clock() - self._began_s) * 1000,
            audio_ms=self._audio_ms,
            longest_gap_ms=self._longest_gap_s * 1000,
            underrun_count=self._underrun_count,
            underrun_ms=self._underrun_s * 1000,
            error=error,
            message=message,
        )
