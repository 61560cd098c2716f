"""Has a server speak many phrases, some at a time, and counts what became of them."""

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tts_client import (
    AsyncClient,
    CacheMode,
    CacheStatus,
    FailedPrecondition,
    InvalidArgument,
    NotCached,
    NotFound,
    PermissionDenied,
    RetryPolicy,
    SpeechOptions,
    TtsError,
    Unauthenticated,
    Unavailable,
)

from .phrases import Phrase

__all__ = ["Failure", "Tally", "Warmer"]

# A server that has kept none of so many keeps nothing.
_TRIALS = 3
# What a server has not in memory is on its disk soon.
_PROOF_WAITS_S = (0.0, 0.1, 0.4, 1.0)
_REFUSALS = (InvalidArgument, NotFound, FailedPrecondition, PermissionDenied, Unauthenticated)


@dataclass(frozen=True, slots=True)
class Failure:
    """A phrase that is not kept.

    Attributes:
        line: where it stands in its file.
    """

    line: int
    reason: str


@dataclass(slots=True)
class Tally:
    """What became of the phrases so far.

    Attributes:
        total: how many there are.
        hits: were there already.
        spoken: are there now.
        silent: have nothing to speak.
    """

    total: int
    hits: int = 0
    spoken: int = 0
    silent: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Phrases that were seen to."""
        return self.hits + self.spoken + self.silent + len(self.failures)

    @property
    def outcome(self) -> str:
        """What became of those, in words."""
        words = f"{self.hits} there already, {self.spoken} spoken"
        if self.silent:
            words += f", {self.silent} with nothing to speak"
        return f"{words}, {len(self.failures)} failed" if self.failures else words

    def __str__(self) -> str:
        return f"{self.done} of {self.total}: {self.outcome}"


class Warmer:
    """One run.

    Args:
        connect: makes the client that calls the server.
        options: how to speak.
        tally: is kept up to date.
        moved: called after each phrase.
    """

    def __init__(
        self,
        connect: Callable[..., AsyncClient],
        options: SpeechOptions,
        tally: Tally,
        moved: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._options = options
        self._tally = tally
        self._moved = moved
        self._keeps = False
        self._unkept = 0
        self._stopped_by: TtsError | None = None

    def run(self, phrases: Iterable[Phrase], parallel: int) -> None:
        """Has all of them spoken, `parallel` at a time.

        Raises:
            TtsError: to go on would be in vain: there is no server, or it refuses the options, or
                keeps nothing.
            KeyboardInterrupt: from outside; what was being spoken was given up.
        """
        asyncio.run(self._run(iter(phrases), parallel))
        if self._stopped_by is not None:
            raise self._stopped_by

    async def _run(self, waiting: Iterator[Phrase], parallel: int) -> None:
        async with (
            self._connect(retry=RetryPolicy(max_attempts=5)) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for _ in range(parallel):
                tasks.create_task(self._work(client, waiting))

    async def _work(self, client: AsyncClient, waiting: Iterator[Phrase]) -> None:
        while self._stopped_by is None and (phrase := next(waiting, None)) is not None:
            try:
                await self._see_to(client, phrase)
            except TtsError as error:
                if _is_hopeless(error):
                    self._stopped_by = self._stopped_by or error
                    return
                self._tally.failures.append(Failure(phrase.line, _reason(error)))
            self._moved()

    async def _see_to(self, client: AsyncClient, phrase: Phrase) -> None:
        status, has_audio = await self._hear(client, phrase.text)
        if not has_audio:
            self._tally.silent += 1
        elif status is CacheStatus.HIT:
            self._keeps = True
            self._tally.hits += 1
        elif self._keeps or await self._is_kept(client, phrase.text):
            self._tally.spoken += 1
        else:
            reason = "was spoken, but the server didn't keep it"
            self._tally.failures.append(Failure(phrase.line, reason))

    async def _is_kept(self, client: AsyncClient, text: str) -> bool:
        """Asks for what was just spoken; that a server keeps speech it doesn't say itself."""
        for wait_s in _PROOF_WAITS_S:
            await asyncio.sleep(wait_s)
            try:
                await self._hear(client, text, CacheMode.ONLY)
            except NotCached:
                continue
            self._keeps = True
            return True
        self._unkept += 1
        if self._unkept == _TRIALS:
            self._stopped_by = TtsError("The server keeps nothing: see its settings cache.*")
        return False

    async def _hear(
        self, client: AsyncClient, text: str, mode: CacheMode = CacheMode.DEFAULT
    ) -> tuple[CacheStatus, bool]:
        """Takes a whole response in; returns where it came from and whether there was any."""
        options = SpeechOptions(**self._options, cache=mode)
        async with client.synthesize(text, timeout_s=math.inf, **options) as speech:
            async for _ in speech:
                pass
            return (await speech.header()).cache_status, speech.summary.has_audio


def _is_hopeless(error: TtsError) -> bool:
    """Whether the next phrase would end the same."""
    if isinstance(error, Unavailable):
        return not error.reason  # nobody answered
    if isinstance(error, InvalidArgument) and error.violations:
        return any(violation.field != "text" for violation in error.violations)
    return isinstance(error, _REFUSALS)


def _reason(error: TtsError) -> str:
    if isinstance(error, InvalidArgument) and error.violations:
        return "; ".join(violation.description for violation in error.violations)
    return error.message
