"""Who goes next. Knows nothing of models, threads or tensors.

Of the requests that wait for a slot, those whose listener hears nothing yet go before look-ahead
segments, unless these were passed by often, and each kind in the order of arrival. Of those that
wait for the vocoder, a first chunk goes before a later one, and of the later ones the one whose
listener runs out of sound soonest.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

__all__ = ["Scheduler", "Ticket", "next_chunk_codes"]

# 8 codes are 370 ms. Half of them are the vocoder's context, so 190 ms are heard at once.
_FIRST_CHUNK_CODES = 8
_LAST_CHUNK_CODES = 60

# So often a look-ahead segment is passed by. Then it isn't look-ahead any more: its listener may
# have run out of the segment before.
_PATIENCE = 8


def next_chunk_codes(previous: int, batch: int) -> int:
    """Returns after how many more codes the vocoder should run again.

    Small chunks are heard sooner, large ones waste less on context. So the first is small and
    they grow; where many streams share the model each has longer until its next turn, and they
    grow faster.

    Args:
        previous: size of the chunk before; 0 for the first.
        batch: slots that a step is made for.
    """
    if previous == 0:
        return _FIRST_CHUNK_CODES
    grown = previous * 2 if batch > 4 else previous * 3 // 2
    return min(_LAST_CHUNK_CODES, grown)


@dataclass(slots=True, eq=False)
class Ticket:
    """A request, as far as its turn depends on it.

    Attributes:
        look_ahead: its listener still hears something earlier.
        heard: its first chunk is out.
        due_s: when its listener will have heard all of it, by the monotonic clock.
        lead_s: audio that was made and not yet taken by the listener.
        due: a chunk of it waits for the vocoder.
        slot: where it decodes; None while it waits and after its last code.
        number: its place in the order of arrival.
        passed: how often somebody who came later got a slot before it.
    """

    look_ahead: bool = False
    heard: bool = False
    due_s: float = 0.0
    lead_s: float = 0.0
    due: bool = False
    slot: int | None = None
    number: int = field(default=-1, init=False)
    passed: int = field(default=0, init=False)


class Scheduler:
    """Slots and the requests that want them.

    Args:
        run_ahead_s: a request whose lead is longer takes no step until its listener caught up, or
            somebody wants its slot.
        chunks_per_turn: later chunks that the vocoder takes at a time; 0 for all. First chunks
            are always taken all.
    """

    def __init__(self, slots: int, *, run_ahead_s: float, chunks_per_turn: int) -> None:
        self._free = list(range(slots))
        heapify(self._free)
        self._run_ahead_s = run_ahead_s
        self._chunks_per_turn = chunks_per_turn
        self._waiting: list[Ticket] = []
        self._arrivals = 0

    @property
    def free_slots(self) -> int:
        """Slots that nobody holds."""
        return len(self._free)

    @property
    def waiting(self) -> int:
        """Requests without a slot."""
        return len(self._waiting)

    def submit(self, ticket: Ticket) -> None:
        """Lets a request wait for a slot."""
        ticket.number = self._arrivals
        self._arrivals += 1
        self._waiting.append(ticket)

    @property
    def can_admit(self) -> bool:
        """Whether somebody waits who could have a slot."""
        return bool(self._free and self._waiting)

    def admit(self) -> Ticket | None:
        """Gives the lowest free slot to whose turn it is; None if nobody can have one."""
        if not self.can_admit:
            return None
        ticket = min(
            self._waiting,
            key=lambda one: (one.look_ahead and one.passed < _PATIENCE, one.number),
        )
        self._waiting.remove(ticket)
        for other in self._waiting:
            other.passed += other.number < ticket.number
        ticket.slot = heappop(self._free)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Takes a request's slot, or its place in the queue, back. May be called twice."""
        if ticket.slot is not None:
            heappush(self._free, ticket.slot)
            ticket.slot = None
        elif ticket in self._waiting:
            self._waiting.remove(ticket)

    def steppable(self, tickets: Iterable[Ticket]) -> list[Ticket]:
        """Returns those that take the next step, by slot."""
        # A slot is free again only at the end of what is decoded in it.
        is_wanted = bool(self._waiting) and not self._free
        stepping = [
            ticket
            for ticket in tickets
            if ticket.slot is not None and (is_wanted or ticket.lead_s < self._run_ahead_s)
        ]
        return sorted(stepping, key=lambda ticket: -1 if ticket.slot is None else ticket.slot)

    def speakable(self, tickets: Iterable[Ticket]) -> list[Ticket]:
        """Returns those whose chunk the vocoder takes now, the most urgent first."""
        due = sorted(
            (ticket for ticket in tickets if ticket.due),
            key=lambda ticket: (ticket.due_s, ticket.look_ahead, ticket.number),
        )
        first = [ticket for ticket in due if not ticket.heard]
        later = [ticket for ticket in due if ticket.heard]
        return first + (later[: self._chunks_per_turn] if self._chunks_per_turn else later)
