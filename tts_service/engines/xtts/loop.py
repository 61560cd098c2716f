"""The decode loop: one thread that owns the model and serves all requests from it.

A turn admits one newcomer and reads its prompt, takes one step for everybody, and runs the
vocoder on the chunks that are due. Requests join and leave between turns.
"""

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import torch

from ..base import EngineBusyError
from .decoder import Decoder
from .scheduler import Scheduler
from .utterance import Utterance
from .vocoder import Vocoder

__all__ = ["DecodeLoop"]


class DecodeLoop:
    """Runs from its making until `close`.

    Args:
        max_open: requests that may be here at once, those that wait for a slot among them.
    """

    def __init__(
        self, decoder: Decoder, vocoder: Vocoder, scheduler: Scheduler, *, max_open: int
    ) -> None:
        self._decoder = decoder
        self._vocoder = vocoder
        self._scheduler = scheduler
        self._max_open = max_open
        self._changed = threading.Condition()
        self._has_news = False
        self._is_closing = False
        self._arrived: deque[Utterance] = deque()
        self._open = 0
        # The loop's own; in the order of arrival.
        self._utterances: list[Utterance] = []
        self._thread = threading.Thread(target=self._run, name="xtts-decode", daemon=True)
        self._thread.start()

    def submit(self, utterance: Utterance) -> None:
        """Begins to serve a request.

        Raises:
            EngineBusyError: as many are open as may be, or the loop has ended.
        """
        with self._changed:
            if self._is_closing:
                raise EngineBusyError("the engine is closing")
            if self._open >= self._max_open:
                raise EngineBusyError(f"{self._open} renders are open, and no more may be")
            self._open += 1
            self._arrived.append(utterance)
        self.wake()

    def wake(self) -> None:
        """Makes the loop look again: a reader took something, or is gone."""
        with self._changed:
            self._has_news = True
            self._changed.notify()

    @property
    def open_count(self) -> int:
        """Requests that are here."""
        with self._changed:
            return self._open

    @property
    def free_slots(self) -> int:
        """Slots that no request holds."""
        return self._scheduler.free_slots

    def close(self) -> None:
        """Ends the thread. Requests that are here are cancelled."""
        with self._changed:
            self._is_closing = True
        self.wake()
        self._thread.join()

    @torch.inference_mode()
    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._take_turn_or_fail()
        except BaseException:
            # Its device is lost to this process, or so it seems. A new one can have it, while this
            # one would refuse all calls from now on.
            structlog.get_logger().exception("decode loop ended")
            os._exit(os.EX_SOFTWARE)
        with self._changed:
            left = [*self._utterances, *self._arrived]
        for utterance in left:
            utterance.stream.cancel()

    def _take_turn_or_fail(self) -> None:
        try:
            self._take_turn()
        except torch.AcceleratorError:
            raise
        except Exception as error:
            # Whom it hit can't be told: a step is everybody's. Those who wait are not in it. If it
            # was the device, which cuDNN and cuBLAS don't say, to free a slot fails as well.
            structlog.get_logger().exception("decode loop failed", open=len(self._utterances))
            for utterance in list(self._utterances):
                if utterance.has_begun:
                    utterance.stream.fail(error)
                    self._drop(utterance)

    def _wait_for_work(self) -> bool:
        """Sleeps while there is nothing to do. False if the loop is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_news or self._is_closing or self._has_work())
            self._has_news = False
            while self._arrived:
                utterance = self._arrived.popleft()
                self._utterances.append(utterance)
                self._scheduler.submit(utterance.ticket)
            return not self._is_closing

    def _has_work(self) -> bool:
        tickets = [utterance.ticket for utterance in self._utterances]
        return (
            self._scheduler.can_admit
            or any(ticket.due for ticket in tickets)
            or bool(self._scheduler.steppable(tickets))
        )

    def _take_turn(self) -> None:
        for utterance in list(self._utterances):
            if utterance.stream.is_cancelled:
                self._drop(utterance)
            else:
                utterance.note_lead()
        self._admit()
        self._step()
        self._speak()

    def _admit(self) -> None:
        """Lets one newcomer in: more of them would keep the others from their step."""
        ticket = self._scheduler.admit()
        if ticket is not None:
            utterance = next(one for one in self._utterances if one.ticket is ticket)
            with self._fails_alone(utterance):
                utterance.begin(self._decoder)

    def _step(self) -> None:
        by_slot = {utterance.ticket.slot: utterance for utterance in self._utterances}
        tickets = self._scheduler.steppable(utterance.ticket for utterance in self._utterances)
        slots = [ticket.slot for ticket in tickets if ticket.slot is not None]
        if not slots:
            return
        for slot, code in zip(slots, self._decoder.step(slots), strict=True):
            # Who tries again reads its prompt here.
            with self._fails_alone(by_slot[slot]):
                by_slot[slot].take(code, self._decoder)

    def _speak(self) -> None:
        by_ticket = {utterance.ticket.number: utterance for utterance in self._utterances}
        due = self._scheduler.speakable(utterance.ticket for utterance in self._utterances)
        batch = self._decoder.batch_size
        chunks = [by_ticket[ticket.number].next_chunk(self._decoder, batch) for ticket in due]
        windows = [chunk.window for chunk in chunks if chunk.window is not None]
        spoken = iter(self._vocoder.speak(windows))
        for chunk in chunks:
            samples = None if chunk.window is None else next(spoken).numpy()
            chunk.utterance.speak(samples, is_last=chunk.is_last)
            if chunk.is_last:
                self._drop(chunk.utterance)

    @contextmanager
    def _fails_alone(self, utterance: Utterance) -> Iterator[None]:
        """For what is one request's own; it leaves its slot if it is decoded then."""
        try:
            yield
        except torch.AcceleratorError:
            raise
        except Exception as error:
            utterance.log.exception("prompt failed")
            utterance.stream.fail(error)
            self._drop(utterance)
        else:
            if utterance.is_decoded:
                self._scheduler.leave(utterance.ticket)

    def _drop(self, utterance: Utterance) -> None:
        """Forgets a request and takes its slot back."""
        slot = utterance.ticket.slot
        self._scheduler.leave(utterance.ticket)
        self._utterances.remove(utterance)
        with self._changed:
            self._open -= 1
        if slot is not None:
            self._decoder.end(slot)
