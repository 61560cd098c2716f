"""The time in which calls count, and what has been heard in it."""

import asyncio
import time
from collections.abc import Callable, Coroutine

from tts_client.load.failure_names import failure_name
from tts_client.load.listening import NOT_STARTED, Listener, Listening
from tts_client.load.report import LoadReport
from tts_client.load.speak import Speak

__all__ = ["Measurement", "OnListening"]

# Called with each call that counts, at its end.
OnListening = Callable[[Listening], None]


class Measurement:
    """One load under way. Made within the event loop, whose clock it takes its times from.

    Calls that begin during the warm-up are made and not counted.

    Args:
        speak: what is called.
        duration_s: how long calls begin that count.
        warm_up_s: how long calls begin before that.
        on_listening: is told of each call that counts.

    Attributes:
        ends_s: from when on no call begins, by the event loop's clock.
    """

    def __init__(
        self, speak: Speak, *, duration_s: float, warm_up_s: float, on_listening: OnListening | None
    ) -> None:
        if not duration_s > 0 or not warm_up_s >= 0:
            raise ValueError("duration_s must be above 0, and warm_up_s not below")
        self._speak = speak
        self._clock = asyncio.get_running_loop().time
        self._begins_s = self._clock() + warm_up_s
        self.ends_s = self._begins_s + duration_s
        self._on_listening = on_listening
        self._listenings: list[Listening] = []
        self._begun_count = 0
        self._audio_ms = 0.0
        self._cores = 0.0

    @property
    def is_over(self) -> bool:
        """Whether no call may begin any more."""
        return self._clock() >= self.ends_s

    async def sleep_until(self, time_s: float) -> None:
        """Waits for a time, or for the end."""
        await asyncio.sleep(min(time_s, self.ends_s) - self._clock())

    async def call(self, text: str, due_s: float | None = None) -> Listening:
        """Makes a call and hears it to its end.

        Args:
            text: what is to be spoken.
            due_s: when it should have begun; now, if left out. A call that begins late has made
                its caller wait: the delay counts.
        """
        due_s = self._clock() if due_s is None else due_s
        listener = self._begin(text, due_s)
        error = message = ""
        try:
            async for duration_ms in self._speak(text):
                listener.hear(duration_ms)
                if self._begins_s <= self._clock() < self.ends_s:
                    self._audio_ms += duration_ms
        except Exception as failure:  # whatever it is, it is counted and shown
            error, message = failure_name(failure), str(failure)
        return self._end(due_s, listener.end(error, message))

    def refuse(self, text: str, due_s: float) -> None:
        """Counts a call that was due and is not made."""
        listening = self._begin(text, due_s).end(NOT_STARTED, "too many calls were open")
        self._end(due_s, listening)

    async def run(self, work: Coroutine[object, object, None], stop: asyncio.Event | None) -> None:
        """Awaits the callers' work, and gives it up when `stop` is set."""
        working = asyncio.create_task(work)
        stopping = asyncio.create_task((stop or asyncio.Event()).wait())
        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        try:
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            for task in (working, stopping):
                task.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)
            elapsed_s = time.perf_counter() - begun_s
            self._cores = (time.process_time() - begun_cpu_s) / elapsed_s
            self.ends_s = min(self.ends_s, self._clock())

    def report(self, *, callers: int = 0, rate_per_s: float = 0.0) -> LoadReport:
        """What has been heard, once `run` is done."""
        return LoadReport(
            listenings=tuple(self._listenings),
            elapsed_s=max(0.0, self.ends_s - self._begins_s),
            audio_s=self._audio_ms / 1000,
            callers=callers,
            rate_per_s=rate_per_s,
            cores=self._cores,
            unfinished=self._begun_count - len(self._listenings),
        )

    def _begin(self, text: str, due_s: float) -> Listener:
        self._begun_count += self._counts(due_s)
        return Listener(text, due_s, self._clock, origin_s=self._begins_s)

    def _end(self, due_s: float, listening: Listening) -> Listening:
        if self._counts(due_s):
            self._listenings.append(listening)
            if self._on_listening is not None:
                self._on_listening(listening)
        return listening

    def _counts(self, due_s: float) -> bool:
        return due_s >= self._begins_s
