"""One request on its way from codes to samples. Used by the decode loop's thread alone."""

from dataclasses import dataclass, replace

import numpy as np
import structlog
from numpy.typing import NDArray
from torch import Tensor

from ..listener import Listener
from .conditioning import Conditioning
from .decoder import Decoder, Prompt
from .guards import HOLD_CODES, TailGate
from .sampling import SampleRules
from .scheduler import Ticket, next_chunk_codes
from .stream import Stream
from .vocoder import Vocoder, Window, WindowStream

__all__ = ["Chunk", "Utterance"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """What the vocoder is to speak next of an utterance.

    Attributes:
        window: None if no frame came to be in the meantime.
        is_last: the utterance is over with it.
    """

    utterance: "Utterance"
    window: Window | None
    is_last: bool


class Utterance:
    """Counts codes, knows when it's over, and cuts what was decoded into chunks.

    Where it cuts depends on nothing but the number of its codes and the batch size, so that the
    same request gives the same samples whoever else is served.

    Args:
        max_codes: its ceiling; decoding is cut there.
        speed: factor on the speaking rate.
        listener: who it is for.
    """

    def __init__(
        self,
        stream: Stream,
        voice: Conditioning,
        text: list[int],
        rules: SampleRules,
        vocoder: Vocoder,
        *,
        max_codes: int,
        speed: float,
        look_ahead: bool,
        listener: Listener,
    ) -> None:
        self.stream = stream
        # Lines about it are written by a thread that works for all requests.
        self.log = structlog.get_logger().bind(**structlog.contextvars.get_contextvars())
        self.ticket = Ticket(look_ahead=look_ahead)
        self._listener = listener
        self._prompt = Prompt(voice.latents, text, rules)
        self._max_codes = max_codes
        self._sample_rate_hz = vocoder.sample_rate_hz
        self._windows = WindowStream(vocoder, voice.speaker, speed)
        self._gate = TailGate(vocoder.sample_rate_hz)
        self._is_held = max_codes <= HOLD_CODES
        # Without chance a second try would be the first again.
        self._may_try_again = self._is_held and not rules.is_greedy
        self._codes = 0
        self._chunk_codes = next_chunk_codes(0, batch=1)
        self._chunk_end = self._chunk_codes
        self._was_cut = False
        # All its latents, from when it is decoded and its slot may be somebody else's.
        self._decoded: Tensor | None = None

    @property
    def is_decoded(self) -> bool:
        """Whether there are no more codes to come."""
        return self._decoded is not None

    @property
    def has_begun(self) -> bool:
        """Whether it has or had a slot."""
        return self.is_decoded or self.ticket.slot is not None

    def begin(self, decoder: Decoder) -> None:
        """Reads the prompt into the ticket's slot."""
        self.take(decoder.begin(self._slot, self._prompt), decoder)

    def take(self, code: int, decoder: Decoder) -> None:
        """Counts a code, and ends the decoding where it's the last or nothing more is heard."""
        self._codes += 1
        has_stopped = code == decoder.stop_code or self._gate.is_over
        if not has_stopped and self._codes < self._max_codes:
            self.ticket.due = not self._is_held and self._codes >= self._chunk_end
        elif not has_stopped and self._may_try_again:
            self._may_try_again = False
            self._codes = 0
            rules = replace(self._prompt.rules, seed=self._prompt.rules.seed + 1)
            self._prompt = replace(self._prompt, rules=rules)
            self.begin(decoder)
        else:
            self._was_cut = not has_stopped
            self._decoded = decoder.latents(self._slot, self._codes).clone()
            decoder.end(self._slot)
            self.ticket.due = True

    def note_lead(self) -> None:
        """Tells the ticket how much waits for the listener, and how long there is to hear."""
        self.ticket.due_s = self._listener.due_s
        self.ticket.lead_s = self.stream.waiting_samples / self._sample_rate_hz

    def next_chunk(self, decoder: Decoder, batch: int) -> Chunk:
        """Cuts the chunk that is due.

        Args:
            batch: slots that a step is made for; see `next_chunk_codes`.
        """
        is_last = self.is_decoded and self._codes <= self._chunk_end
        end = self._codes if is_last else self._chunk_end
        latents = decoder.latents(self._slot, end) if self._decoded is None else self._decoded[:end]
        window = self._windows.next_window(latents, final=is_last)
        self._chunk_codes = next_chunk_codes(self._chunk_codes, batch)
        self._chunk_end = end + self._chunk_codes
        self.ticket.due = not is_last and (self.is_decoded or self._codes >= self._chunk_end)
        return Chunk(self, window, is_last)

    def speak(self, samples: NDArray[np.float32] | None, *, is_last: bool) -> None:
        """Hands the samples of a chunk, of shape (n,), to the listener."""
        passed = self._gate.push(np.zeros(0, np.float32) if samples is None else samples)
        if is_last:
            passed = np.concatenate((passed, self._gate.finish(cut=self._was_cut)))
        self.stream.put(passed, is_last=is_last)
        self.ticket.heard |= samples is not None

    @property
    def _slot(self) -> int:
        if self.ticket.slot is None:
            raise ValueError("the utterance has no slot")
        return self.ticket.slot
