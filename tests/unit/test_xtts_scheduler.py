"""Who goes next in the decode loop of XTTS."""

from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from tts_service.engines.xtts.scheduler import Scheduler, Ticket, next_chunk_codes


def scheduler_of(slots: int, *, run_ahead_s: float = 20.0, chunks_per_turn: int = 1) -> Scheduler:
    return Scheduler(slots, run_ahead_s=run_ahead_s, chunks_per_turn=chunks_per_turn)


def submitted(scheduler: Scheduler, *tickets: Ticket) -> list[Ticket]:
    for ticket in tickets:
        scheduler.submit(ticket)
    return list(tickets)


def admitted(scheduler: Scheduler) -> list[Ticket]:
    """Admits until nobody can be."""
    found = []
    while (ticket := scheduler.admit()) is not None:
        found.append(ticket)
    return found


def due(*, heard: bool, due_s: float = 0.0, look_ahead: bool = False) -> Ticket:
    return Ticket(heard=heard, due_s=due_s, due=True, look_ahead=look_ahead)


def test_nobody_waits_and_nobody_is_admitted() -> None:
    scheduler = scheduler_of(2)
    assert scheduler.admit() is None
    assert (scheduler.free_slots, scheduler.waiting) == (2, 0)


def test_first_come_first_served() -> None:
    scheduler = scheduler_of(3)
    tickets = submitted(scheduler, *(Ticket() for _ in range(5)))
    assert admitted(scheduler) == tickets[:3]
    assert scheduler.waiting == 2
    scheduler.leave(tickets[1])
    assert admitted(scheduler) == tickets[3:4]


def test_look_ahead_waits_behind_all_who_hear_nothing_yet() -> None:
    scheduler = scheduler_of(4)
    ahead = submitted(scheduler, Ticket(look_ahead=True), Ticket(look_ahead=True))
    firsts = submitted(scheduler, Ticket(), Ticket())
    assert admitted(scheduler) == [*firsts, *ahead]


def test_look_ahead_that_was_passed_by_eight_times_is_not_passed_by_again() -> None:
    scheduler = scheduler_of(1)
    (ahead,) = submitted(scheduler, Ticket(look_ahead=True))
    firsts = submitted(scheduler, *(Ticket() for _ in range(10)))
    order = []
    while (ticket := scheduler.admit()) is not None:
        order.append(ticket)
        scheduler.leave(ticket)
    assert order == [*firsts[:8], ahead, *firsts[8:]]


def test_who_came_earlier_does_not_pass_by() -> None:
    scheduler = scheduler_of(1)
    firsts = submitted(scheduler, *(Ticket() for _ in range(12)))
    (ahead,) = submitted(scheduler, Ticket(look_ahead=True))
    late = submitted(scheduler, Ticket())
    order = []
    while (ticket := scheduler.admit()) is not None:
        order.append(ticket)
        scheduler.leave(ticket)
    assert order == [*firsts, *late, ahead]


def test_the_lowest_free_slot_is_given() -> None:
    scheduler = scheduler_of(4)
    tickets = submitted(scheduler, *(Ticket() for _ in range(4)))
    assert [ticket.slot for ticket in admitted(scheduler)] == [0, 1, 2, 3]
    for number in (3, 0, 2):
        scheduler.leave(tickets[number])
    submitted(scheduler, Ticket(), Ticket(), Ticket())
    assert [ticket.slot for ticket in admitted(scheduler)] == [0, 2, 3]


def test_leaving_twice_gives_one_slot_back() -> None:
    scheduler = scheduler_of(2)
    tickets = submitted(scheduler, Ticket(), Ticket())
    admitted(scheduler)
    scheduler.leave(tickets[0])
    scheduler.leave(tickets[0])
    assert tickets[0].slot is None
    assert scheduler.free_slots == 1


def test_who_leaves_while_waiting_is_forgotten() -> None:
    scheduler = scheduler_of(1)
    tickets = submitted(scheduler, Ticket(), Ticket(), Ticket())
    admitted(scheduler)
    scheduler.leave(tickets[1])
    scheduler.leave(tickets[1])
    assert scheduler.waiting == 1
    scheduler.leave(tickets[0])
    assert admitted(scheduler) == [tickets[2]]
    assert tickets[1].slot is None


def test_who_was_never_submitted_may_leave() -> None:
    scheduler = scheduler_of(1)
    scheduler.leave(Ticket())
    assert (scheduler.free_slots, scheduler.waiting) == (1, 0)


def test_steps_are_for_those_with_a_slot_in_the_order_of_slots() -> None:
    scheduler = scheduler_of(3)
    tickets = submitted(scheduler, *(Ticket() for _ in range(4)))
    admitted(scheduler)
    assert scheduler.steppable(reversed(tickets)) == tickets[:3]


@pytest.mark.parametrize(("lead_s", "steps"), [(1.9, True), (2.0, False), (2.1, False)])
def test_who_is_too_far_ahead_takes_no_step(lead_s: float, steps: bool) -> None:
    scheduler = scheduler_of(1, run_ahead_s=2.0)
    tickets = submitted(scheduler, Ticket())
    admitted(scheduler)
    tickets[0].lead_s = lead_s
    assert scheduler.steppable(tickets) == (tickets if steps else [])


def test_who_is_too_far_ahead_finishes_for_who_waits_for_a_slot() -> None:
    scheduler = scheduler_of(2, run_ahead_s=2.0)
    tickets = submitted(scheduler, *(Ticket(lead_s=9.0) for _ in range(2)))
    admitted(scheduler)
    assert scheduler.steppable(tickets) == []
    (newcomer,) = submitted(scheduler, Ticket())
    assert scheduler.steppable(tickets) == tickets
    scheduler.leave(tickets[0])
    assert scheduler.steppable(tickets) == []
    assert admitted(scheduler) == [newcomer]


def test_first_chunks_go_before_later_ones_and_all_of_them() -> None:
    scheduler = scheduler_of(4, chunks_per_turn=1)
    later = submitted(scheduler, due(heard=True, due_s=0.0), due(heard=True, due_s=0.5))
    firsts = submitted(scheduler, due(heard=False, due_s=9.0), due(heard=False, due_s=3.0))
    assert scheduler.speakable([*later, *firsts]) == [firsts[1], firsts[0], later[0]]


@pytest.mark.parametrize(("chunks_per_turn", "taken"), [(1, 1), (2, 2), (9, 3), (0, 3)])
def test_who_runs_out_of_sound_soonest_goes_first(chunks_per_turn: int, taken: int) -> None:
    scheduler = scheduler_of(4, chunks_per_turn=chunks_per_turn)
    tickets = submitted(scheduler, *(due(heard=True, due_s=at_s) for at_s in (0.7, 0.1, 0.4)))
    order = [tickets[1], tickets[2], tickets[0]]
    assert scheduler.speakable(tickets) == order[:taken]


def test_of_those_who_run_out_together_the_first_to_come_goes_first() -> None:
    scheduler = scheduler_of(4, chunks_per_turn=0)
    tickets = submitted(scheduler, *(due(heard=True) for _ in range(3)))
    assert scheduler.speakable(reversed(tickets)) == tickets


def test_of_those_who_run_out_together_look_ahead_goes_last() -> None:
    scheduler = scheduler_of(4, chunks_per_turn=0)
    (ahead,) = submitted(scheduler, due(heard=True, look_ahead=True))
    (other,) = submitted(scheduler, due(heard=True))
    assert scheduler.speakable([ahead, other]) == [other, ahead]
    other.due_s = 0.1
    assert scheduler.speakable([ahead, other]) == [ahead, other]


def test_who_is_not_due_is_not_spoken() -> None:
    scheduler = scheduler_of(2)
    tickets = submitted(scheduler, Ticket(), Ticket(heard=True))
    assert scheduler.speakable(tickets) == []


def chunk_sizes(batch: int) -> list[int]:
    sizes = [next_chunk_codes(0, batch)]
    while len(sizes) < 12:
        sizes.append(next_chunk_codes(sizes[-1], batch))
    return sizes


def test_chunks_begin_small_and_grow_to_a_limit() -> None:
    for batch in (1, 4, 16, 256):
        sizes = chunk_sizes(batch)
        assert sizes[0] == 8
        assert sizes[-1] == 60
        assert all(before < after for before, after in pairwise(sizes) if before < 60)


def test_chunks_grow_faster_where_many_share_the_model() -> None:
    alone, among_many = chunk_sizes(1), chunk_sizes(16)
    assert alone != among_many
    assert all(small <= large for small, large in zip(alone, among_many, strict=True))


class Traffic(RuleBasedStateMachine):
    """Requests that come, are admitted and leave in any order."""

    tickets: Bundle[Ticket] = Bundle("tickets")

    @initialize(slots=st.integers(1, 5))
    def begin(self, slots: int) -> None:
        self.slots = slots
        self.scheduler = scheduler_of(slots)
        # In the order of arrival, with how often each was passed by.
        self.waiting: dict[Ticket, int] = {}
        self.holding: dict[int, Ticket] = {}

    @rule(target=tickets, look_ahead=st.booleans())
    def submit(self, look_ahead: bool) -> Ticket:
        ticket = Ticket(look_ahead=look_ahead)
        self.scheduler.submit(ticket)
        self.waiting[ticket] = 0
        return ticket

    @rule()
    def admit(self) -> None:
        can_admit = self.scheduler.can_admit
        ticket = self.scheduler.admit()
        assert can_admit == (ticket is not None)
        if ticket is None:
            assert not self.waiting or len(self.holding) == self.slots
            return
        urgent = [one for one, passed in self.waiting.items() if not one.look_ahead or passed >= 8]
        assert ticket is (urgent or list(self.waiting))[0]
        for other in list(self.waiting):
            if other is ticket:
                break
            self.waiting[other] += 1
        del self.waiting[ticket]
        assert ticket.slot == min(set(range(self.slots)) - self.holding.keys())
        self.holding[ticket.slot] = ticket

    @rule(ticket=consumes(tickets))
    def leave(self, ticket: Ticket) -> None:
        self.waiting.pop(ticket, None)
        self.holding = {slot: one for slot, one in self.holding.items() if one is not ticket}
        self.scheduler.leave(ticket)
        assert ticket.slot is None

    @rule(ticket=tickets)
    def leave_but_stay_around(self, ticket: Ticket) -> None:
        self.leave(ticket)

    @invariant()
    def every_slot_is_free_or_held_once(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        assert self.scheduler.free_slots + len(self.holding) == self.slots
        assert self.scheduler.waiting == len(self.waiting)
        assert all(ticket.slot == slot for slot, ticket in self.holding.items())
        everyone = [*self.waiting, *self.holding.values()]
        stepping = self.scheduler.steppable(everyone)
        assert stepping == [self.holding[slot] for slot in sorted(self.holding)]


Traffic.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True
)
TestTraffic = Traffic.TestCase
