"""All engines of this server."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from protos.engine.v1 import engine_pb2

from .catalog import Catalog, Voice
from .connection import Connection
from .supervisor import EngineState, Supervisor
from .worker_process import WorkerCommand

__all__ = ["Fleet"]


class Fleet:
    """Owns a supervisor for each engine, and knows the voices of all.

    Args:
        commands: how to start each worker, in order of preference: if two engines bring a
            voice of the same id, the first has it.
        start_timeout_s: how long a worker may take to be warm.
        on_change: awaited after an engine's state changed.
    """

    def __init__(
        self,
        commands: Sequence[WorkerCommand],
        *,
        start_timeout_s: float,
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        self.catalog = Catalog(())
        self._notify = on_change
        self._supervisors = {
            command.engine: Supervisor(
                command, start_timeout_s=start_timeout_s, on_change=self._on_change
            )
            for command in commands
        }

    @property
    def engines(self) -> tuple[Supervisor, ...]:
        """All engines, the preferred first."""
        return tuple(self._supervisors.values())

    @property
    def ready(self) -> bool:
        """Whether every engine is ready."""
        return all(engine.state is EngineState.READY for engine in self.engines)

    @property
    def speaking(self) -> bool:
        """Whether any engine is ready."""
        return any(engine.state is EngineState.READY for engine in self.engines)

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
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def connection(
        self, engine: str, timeout_s: float, *, successor_of: Connection | None = None
    ) -> Connection:
        """Returns a connection to the engine's worker; see `Supervisor.connection`."""
        return await self._supervisors[engine].connection(timeout_s, successor_of=successor_of)

    async def wait_for_voices(self, timeout_s: float) -> None:
        """Waits until every engine has said once which voices it has.

        Raises:
            EngineUnavailable: one has not after `timeout_s`.
        """
        for engine in self.engines:
            if engine.description is None:
                await engine.connection(timeout_s)

    async def _on_change(self) -> None:
        # A worker that is starting again keeps its voices: calls for them wait for it.
        voices = [
            voice
            for engine in self.engines
            if engine.description is not None
            for voice in _voices(engine.engine, engine.description)
        ]
        self.catalog = Catalog(voices)
        if len(self.catalog) < len(voices):
            structlog.get_logger().warning("several engines have voices of the same id")
        await self._notify()


def _voices(engine: str, description: engine_pb2.DescribeResponse) -> list[Voice]:
    return [
        Voice(
            id=voice.id,
            display_name=voice.display_name,
            engine=engine,
            languages=tuple(voice.languages),
            sample_rate_hz=voice.sample_rate_hz,
            model_fingerprint=voice.model_fingerprint,
            max_segment_characters=description.max_segment_characters,
            can_change_speed=engine_pb2.ABILITY_SPEED in description.abilities,
        )
        for voice in description.voices
    ]
