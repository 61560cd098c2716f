"""The way to one engine: places, a short line, and promises to those who are refused."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from ..config import AdmissionSettings
from ..errors import Overloaded
from .caller import Caller
from .engine_time import EngineTime
from .place import Place
from .promises import Promises

__all__ = ["Gate"]

# So long nobody may have been refused before somebody waits again: a line is for a crowd that
# comes at once and passes. One that stays only makes everybody wait.
_CALM_S = 2.0
_LEAST_RETRY_S = 0.1
# So many times the engine's places are there for who comes again. They are told times at which they
# need fewer, but come by chance: with twice the places, at four times capacity, one in nine of them
# found none in one run of two minutes, and one in thirty-five in another.
_ROOM_TO_RETURN = 3


class Gate:
    """Lets calls to an engine, as many as it has time for.

    A call that finds no place waits, if its turn comes soon; else it is refused at once and told
    when to come again. Who waits is never refused: if its turn is late, it is let in beside the
    others. Who comes again when told, with the same request id, goes before all newcomers, and has
    twice as many places more.

    Args:
        engine: its name.
        slots: how many calls it renders well at once; the settings may say otherwise.
        on_refused: is told the reason of each refusal.
        clock: in seconds.
    """

    def __init__(
        self,
        engine: str,
        limits: AdmissionSettings,
        *,
        slots: Callable[[], int],
        on_refused: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._slots = slots
        self._on_refused = on_refused
        self._clock = clock
        self._time = EngineTime(clock)
        self._promises = Promises(limits.promises_limit)
        self._places: set[Place] = set()
        self._newcomers: deque[asyncio.Future[Place]] = deque()
        self._returning: deque[asyncio.Future[Place]] = deque()
        self._refused_s = -_CALM_S

    @property
    def slots(self) -> int:
        """How many calls may be rendered at once."""
        return self._limits.slots or self._slots()

    @property
    def active(self) -> int:
        """Calls that are being rendered."""
        return self._time.users

    @property
    def open(self) -> int:
        """Calls that have a place, those included that wait for their listeners."""
        return len(self._places)

    @property
    def waiting(self) -> int:
        """Calls that wait for a place."""
        return len(self._newcomers) + len(self._returning)

    async def enter(self, caller: Caller) -> Place:
        """Returns a place, at once or after a short wait.

        Raises:
            Overloaded: there is none; it says when there will be.
        """
        now_s = self._clock()
        returns = self._promises.take_up(caller.request_id, now_s)
        if self.open >= self._limits.open_calls_limit:
            raise self._refusal(caller, now_s, "TOO_MANY_CALLS")
        line = self._returning if returns else self._newcomers
        if not line and self._has_room(returns):
            return self._open()
        if not self._may_wait(caller, returns, now_s):
            raise self._refusal(caller, now_s, "OVERLOADED")
        return await self._wait(line)

    # What a place needs of it: see `Seats`.

    def sit(self) -> float:
        """See `Seats`."""
        return self._time.begin()

    def rise(self, sat: float) -> float:
        """See `Seats`."""
        used_s = self._time.end(sat)
        self._hand_on()
        return used_s

    def leave(self, place: Place, used_s: float | None) -> None:
        """See `Seats`."""
        self._places.discard(place)
        if used_s is not None:
            self._time.learn(used_s)

    def _open(self) -> Place:
        place = Place(self)
        self._places.add(place)
        return place

    def _has_room(self, returns: bool) -> bool:
        return self.active < (_ROOM_TO_RETURN * self.slots if returns else self.slots)

    def _may_wait(self, caller: Caller, returns: bool, now_s: float) -> bool:
        wait_s = (self.waiting + 1) * self._time.call_s
        return (
            (returns or now_s - self._refused_s >= _CALM_S)
            and self.waiting < self._limits.queue_limit
            and wait_s <= min(self._limits.wait_limit_s, caller.deadline_s - now_s)
        )

    async def _wait(self, line: deque[asyncio.Future[Place]]) -> Place:
        turn: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            async with asyncio.timeout(self._limits.wait_limit_s):
                return await turn
        except BaseException as error:
            came = turn.result() if turn.done() and not turn.cancelled() else None
            if isinstance(error, TimeoutError):
                # A refusal now would have cost its caller all of the wait.
                return came or self._open()
            if came is not None:  # its turn came as it left
                came.close()
            raise
        finally:
            if turn in line:
                line.remove(turn)

    def _hand_on(self) -> None:
        """Lets in those who wait, as far as there is room."""
        for line, returns in ((self._returning, True), (self._newcomers, False)):
            while line and self._has_room(returns):
                turn = line.popleft()
                if not turn.done():
                    turn.set_result(self._open())

    def _refusal(self, caller: Caller, now_s: float, reason: str) -> Overloaded:
        self._refused_s = now_s
        self._on_refused(reason)
        due_s = self._promises.make(caller.request_id, now_s, call_s=self._time.call_s)
        return Overloaded(
            f"engine {self._engine!r} has more calls than it has time for",
            reason=reason,
            retry_after_ms=round(max(_LEAST_RETRY_S, due_s - now_s) * 1000),
        )
