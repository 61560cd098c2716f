"""What stands before all engines."""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from ..config import AdmissionSettings
from ..errors import Overloaded
from .caller import Caller
from .gate import Gate
from .place import Place
from .quotas import Quotas

__all__ = ["Admission"]


class Admission:
    """A gate for each engine, and everybody's quotas. One for a server.

    What needs no engine is never stopped here: kept speech, and speech that somebody else has
    asked for already.

    Args:
        slots: how many calls an engine renders well at once, by its name.
        on_refused: is told engine ("" for uploads) and reason of each refusal.
        clock: in seconds.
    """

    def __init__(
        self,
        engines: Iterable[str],
        limits: AdmissionSettings,
        quotas: Quotas,
        *,
        slots: Callable[[str], int],
        on_refused: Callable[[str, str], None] = lambda _engine, _reason: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._quotas = quotas
        self._on_refused = on_refused
        self._gates = {
            engine: Gate(
                engine,
                limits,
                slots=partial(slots, engine),
                on_refused=partial(on_refused, engine),
                clock=clock,
            )
            for engine in engines
        }

    @property
    def gates(self) -> Mapping[str, Gate]:
        """By engine."""
        return self._gates

    async def enter(self, engine: str, caller: Caller, characters: int) -> Place:
        """Returns a place at an engine, to be closed.

        Raises:
            Overloaded: the engine has no time for it, or the caller has had its share.
        """
        try:
            share = self._quotas.take_speech(caller.identity, characters)
        except Overloaded as error:
            self._on_refused(engine, error.reason)
            raise
        try:
            place = await self._gates[engine].enter(caller)
        except BaseException:
            share.give_back()
            raise
        place.charge(share)
        return place

    def take_upload(self, caller: Caller) -> None:
        """Counts an upload.

        Raises:
            Overloaded: the caller has had its share.
        """
        try:
            self._quotas.take_upload(caller.identity)
        except Overloaded as error:
            self._on_refused("", error.reason)
            raise
