"""A call's place at an engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

from .quotas import Share

__all__ = ["Place", "Seats"]


class Seats(Protocol):
    """Where a place belongs to."""

    def sit(self) -> float:
        """One more uses the engine; returns what `rise` wants to know."""

    def rise(self, sat: float) -> float:
        """One of them uses it no more; returns how much of its time that was, in seconds."""

    def leave(self, place: "Place", used_s: float | None) -> None:
        """A place is free again; `used_s` is what a whole call has taken, None if it was cut."""


class Place:
    """Held by a call while it is rendered. Has to be closed, or used in a `with` statement.

    Args:
        seats: whose place it is; None is a place for what needs no engine.
    """

    def __init__(self, seats: Seats | None = None) -> None:
        self._seats = seats
        self._share: Share | None = None
        self._used_s = 0.0
        self._sat: float | None = None
        self._sit()

    @contextmanager
    def idle(self) -> Iterator[None]:
        """While the context is open, the call waits for its listener and leaves the engine alone.

        Somebody else may have its place meanwhile. It gets one back without asking: who is heard
        already goes on.
        """
        self._rise()
        try:
            yield
        finally:
            self._sit()

    def charge(self, share: Share) -> None:
        """Has what the call took of its caller's quotas end with it."""
        self._share = share

    def close(self, *, is_whole: bool = False, is_refused: bool = False) -> None:
        """Frees the place. Does nothing the second time.

        Args:
            is_whole: whether all of the call was rendered, so that it tells what calls take.
            is_refused: whether the engine had no time for any of it, so that it costs nothing.
        """
        self._rise()
        share, self._share = self._share, None
        if share is not None and is_refused:
            share.give_back()
        elif share is not None:
            share.close()
        seats, self._seats = self._seats, None
        if seats is not None:
            seats.leave(self, self._used_s if is_whole else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _sit(self) -> None:
        if self._seats is not None:
            self._sat = self._seats.sit()

    def _rise(self) -> None:
        if self._seats is not None and self._sat is not None:
            sat, self._sat = self._sat, None
            self._used_s += self._seats.rise(sat)
