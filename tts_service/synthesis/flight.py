"""A response while it is being made: a growing log of frames that many callers read."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from types import TracebackType

from ..errors import ReadTooSlowly
from ..ops.tracing import current_span
from .events import Frame
from .rendition import Totals

__all__ = ["Flight", "Flights", "Reader"]


class Flight:
    """The log of one response. Each reader has all of it, at its own pace.

    Args:
        seed: that it is drawn with; None if there is no single one.
        lead_ms: how much audio it may be ahead of the quickest reader.
        limit_bytes: how much it holds. When it has grown beyond that, nobody can join it any
            more, and a reader who falls back as far is cut off: nobody waits for another.
        is_shared: whether others may join; else what was read is dropped.

    Attributes:
        origin: the span of the call that began it.
    """

    def __init__(
        self, *, seed: int | None, lead_ms: int, limit_bytes: int, is_shared: bool = True
    ) -> None:
        self.seed = seed
        self.origin = current_span()
        self._lead_ms = lead_ms
        self._limit_bytes = limit_bytes
        self._is_shared = is_shared
        self._frames: list[Frame] = []
        self._first = 0  # the number of the first frame that is still here
        self._size_bytes = 0
        self._held_bytes = 0
        self._readers: set[Reader] = set()
        self._totals: Totals | None = None
        self._error: Exception | None = None
        self._trace: TracebackType | None = None
        self._grew = asyncio.Event()
        self._moved = asyncio.Event()
        self._on_deserted: Callable[[], None] = lambda: None

    @property
    def is_whole(self) -> bool:
        """Whether all frames so far are still here."""
        return self._size_bytes <= self._limit_bytes

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The frames that are here."""
        return tuple(self._frames)

    @property
    def totals(self) -> Totals:
        """What it adds up to, once it has ended well."""
        if self._totals is None:
            raise RuntimeError("the flight is in the air")
        return self._totals

    def join(self) -> "Reader":
        """Returns a reader at its start, who has to leave again."""
        if not self.is_whole:
            raise RuntimeError("its start is gone")
        reader = Reader(self)
        self._readers.add(reader)
        return reader

    async def append(self, frames: Sequence[Frame]) -> None:
        """Adds frames, and waits until it isn't too far ahead any more."""
        if not frames:
            return
        self._frames += frames
        size_bytes = sum(len(frame.data) for frame in frames)
        self._size_bytes += size_bytes
        self._held_bytes += size_bytes
        self._trim()
        _pulse(self._grew)
        while self._readers and self._ahead_ms() > self._lead_ms:
            await self._moved.wait()

    def end(self, totals: Totals) -> None:
        """Says that it is complete."""
        self._totals = totals
        _pulse(self._grew)

    def fail(self, error: Exception) -> None:
        """Says that nothing more will come; all readers get the error behind the last frame."""
        self._error, self._trace = error, error.__traceback__
        _pulse(self._grew)

    def _ahead_ms(self) -> int:
        position = max(reader.position for reader in self._readers) - self._first
        if position >= len(self._frames):
            return 0
        last = self._frames[-1]
        return last.start_ms + last.duration_ms - self._frames[position].start_ms

    async def _at(self, position: int) -> Frame | None:
        """Returns a frame as soon as it is there; None behind the last."""
        while True:
            if position < self._first:
                raise ReadTooSlowly("it is far behind others of the same request")
            if position < self._first + len(self._frames):
                return self._frames[position - self._first]
            if self._error is not None:
                # The same one for all; each goes on from where it happened.
                raise self._error.with_traceback(self._trace)
            if self._totals is not None:
                return None
            await self._grew.wait()

    def _advanced(self) -> None:
        self._trim()
        _pulse(self._moved)

    def _trim(self) -> None:
        """Drops what nobody will read, and what a reader is too slow for."""
        if not self._readers or (self._is_shared and self.is_whole):
            return
        positions = [reader.position - self._first for reader in self._readers]
        count = max(0, min(positions))
        held_bytes = self._held_bytes - sum(len(frame.data) for frame in self._frames[:count])
        while not self.is_whole and held_bytes > self._limit_bytes and count < max(positions):
            held_bytes -= len(self._frames[count].data)
            count += 1
        del self._frames[:count]
        self._first += count
        self._held_bytes = held_bytes

    def _left(self, reader: "Reader") -> None:
        if reader not in self._readers:
            return
        self._readers.discard(reader)
        if self._readers:
            self._advanced()
        else:
            self._on_deserted()
            _pulse(self._moved)

    def when_deserted(self, call: Callable[[], None]) -> None:
        """Sets what is called when the last reader has left."""
        self._on_deserted = call


class Reader:
    """One caller's place in a flight."""

    def __init__(self, flight: Flight) -> None:
        self.position = 0
        self._flight = flight

    async def begun(self) -> None:
        """Returns when the first frame is there, or all there is.

        Raises:
            ServiceError: there will be none.
        """
        await self._flight._at(self.position)

    async def frames(self) -> AsyncGenerator[Frame]:
        """Yields all frames, the first ones at once and the others as they come.

        Raises:
            ServiceError: what ended the flight early.
        """
        while (frame := await self._flight._at(self.position)) is not None:
            self.position += 1
            self._flight._advanced()
            yield frame

    def leave(self) -> None:
        """Reads no more."""
        self._flight._left(self)


class Flights:
    """All flights; of those that may be joined one for each key."""

    def __init__(self) -> None:
        self._by_key: dict[str, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def find(self, key: str) -> Flight | None:
        """Returns the flight under a key if it can be joined."""
        flight = self._by_key.get(key)
        return flight if flight is not None and flight.is_whole else None

    def holds(self, key: str, flight: Flight) -> bool:
        """Whether no later flight has taken the place of this one under a key."""
        return self._by_key.get(key) is flight

    def start(
        self,
        flight: Flight,
        make: Callable[[], Awaitable[None]],
        *,
        key: str | None,
        is_nearly_done: Callable[[], bool],
    ) -> None:
        """Has a flight made by `make`, which ends it.

        When its last reader leaves, the work is cancelled, unless it is nearly done.

        Args:
            key: where it is found, in place of an earlier one; None hides it.
        """

        async def fly() -> None:
            try:
                await make()
            except Exception as error:
                flight.fail(error)
            except asyncio.CancelledError:
                # Nobody reads, unless something within was cancelled by itself.
                flight.fail(RuntimeError("the work on a flight was cancelled"))
                raise
            finally:
                self._hide(key, flight)

        def cancel() -> None:
            if not is_nearly_done():
                self._hide(key, flight)
                task.cancel()

        task = asyncio.create_task(fly(), name="flight")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        flight.when_deserted(cancel)
        if key is not None:
            self._by_key[key] = flight

    def _hide(self, key: str | None, flight: Flight) -> None:
        if key is not None and self.holds(key, flight):
            del self._by_key[key]

    async def close(self) -> None:
        """Ends all work. Nobody reads any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _pulse(event: asyncio.Event) -> None:
    """Wakes all who wait now."""
    event.set()
    event.clear()
