"""Where the frames of a call come from: a response that was kept, or one that is on its way."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from .cache_mode import CacheStatus
from .events import Frame
from .flight import Flight
from .rendition import Rendition, Totals

__all__ = ["FlightSource", "KeptSource", "Source"]


class Source(Protocol):
    """Frames for one call."""

    @property
    def status(self) -> CacheStatus:
        """Where the speech comes from."""

    @property
    def seed(self) -> int | None:
        """What all of it is drawn with; None if there is no single seed."""

    @property
    def totals(self) -> Totals:
        """What the frames add up to, when all were read."""

    def frames(self) -> AsyncGenerator[Frame]:
        """Yields the frames, once.

        Raises:
            ServiceError: what ended the speech early.
        """

    def close(self) -> None:
        """Ends the reading."""


@dataclass(frozen=True, slots=True)
class KeptSource:
    """A response that is complete."""

    rendition: Rendition
    status: CacheStatus = CacheStatus.HIT

    @property
    def seed(self) -> int | None:
        """See `Source`."""
        return self.rendition.seed

    @property
    def totals(self) -> Totals:
        """See `Source`."""
        return self.rendition.totals

    async def frames(self) -> AsyncGenerator[Frame]:
        """See `Source`."""
        for frame in self.rendition.frames:
            yield frame

    def close(self) -> None:
        """See `Source`."""


class FlightSource:
    """A response on its way. Has to be closed."""

    def __init__(self, flight: Flight, status: CacheStatus) -> None:
        self.status = status
        self._flight = flight
        self._reader = flight.join()

    @property
    def seed(self) -> int | None:
        """See `Source`."""
        return self._flight.seed

    @property
    def totals(self) -> Totals:
        """See `Source`."""
        return self._flight.totals

    async def begun(self) -> None:
        """Returns when there is something to hear.

        Raises:
            ServiceError: there will be nothing.
        """
        await self._reader.begun()

    def frames(self) -> AsyncGenerator[Frame]:
        """See `Source`."""
        return self._reader.frames()

    def close(self) -> None:
        """See `Source`."""
        self._reader.leave()
