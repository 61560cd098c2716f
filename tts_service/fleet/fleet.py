"""All engines of this server."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from .connection import Connection
from .supervisor import EngineState, Supervisor
from .worker_limits import WorkerLimits
from .worker_process import WorkerCommand

__all__ = ["Fleet"]

# Calls that may wait for an engine that has not said what it can do.
_CALLS_BEFORE_READY = 8
# Renders that take turns on a thread, each of which stays ahead of its listener.
_TURNS_EACH = 4


class Fleet:
    """Owns a supervisor for each engine.

    Args:
        commands: how to start each worker, in order of preference.
        limits: what the worker of each engine is allowed, by the engine's name.
        on_change: awaited after an engine's state changed.
        on_lost: see `Supervisor`.
    """

    def __init__(
        self,
        commands: Sequence[WorkerCommand],
        limits: Mapping[str, WorkerLimits],
        *,
        on_change: Callable[[], Awaitable[None]],
        on_lost: Callable[[str, str], None] = lambda _engine, _reason: None,
    ) -> None:
        self._supervisors = {
            command.engine: Supervisor(
                command, limits[command.engine], on_change=on_change, on_lost=on_lost
            )
            for command in commands
        }

    @property
    def engines(self) -> tuple[Supervisor, ...]:
        """All engines, the preferred first."""
        return tuple(self._supervisors.values())

    @property
    def is_settled(self) -> bool:
        """Whether some engine is ready, and each of the others has failed to be."""
        return self.speaking and all(
            engine.state is EngineState.READY or engine.has_failed for engine in self.engines
        )

    @property
    def speaking(self) -> bool:
        """Whether any engine is ready."""
        return any(engine.state is EngineState.READY for engine in self.engines)

    @property
    def is_any_described(self) -> bool:
        """Whether any engine has said what it speaks with."""
        return any(engine.description is not None for engine in self.engines)

    async def run(self) -> None:
        """Keeps all workers running until this is cancelled, and ends them then.

        Raises:
            WorkerMisconfiguredError: a worker refused its options.
        """
        tasks = [asyncio.create_task(engine.run()) for engine in self.engines]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                # One that is cancelled again would leave its worker before that has ended.
                if not task.cancelling():
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def connection(
        self, engine: str, timeout_s: float, *, successor_of: Connection | None = None
    ) -> Connection:
        """Returns a connection to the engine's worker; see `Supervisor.connection`."""
        return await self._supervisors[engine].connection(timeout_s, successor_of=successor_of)

    def calls_at_once(self, engine: str) -> int:
        """How many calls an engine has time for at once, by what it said of itself."""
        description = self._supervisors[engine].description
        if description is None:
            return _CALLS_BEFORE_READY
        if description.max_open_renders:  # a batch, which others wait for within the engine
            return description.max_concurrent_renders
        return _TURNS_EACH * description.max_concurrent_renders

    async def wait_until_described(self, timeout_s: float) -> None:
        """Waits until every engine has described itself once.

        Raises:
            EngineUnavailable: one has not after `timeout_s`.
        """
        await asyncio.gather(
            *(e.connection(timeout_s) for e in self.engines if e.description is None)
        )
