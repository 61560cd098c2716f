"""Keeps one worker alive: start, wait until it is warm, watch, start again."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum

import structlog

from protos.engine.v1 import engine_pb2

from ..errors import EngineUnavailable
from .connection import Connection
from .worker_process import WorkerCommand, WorkerProcess

__all__ = ["EngineState", "Supervisor", "WorkerMisconfiguredError"]

_FIRST_BACKOFF_S = 0.2
# A worker that came up before will likely come up again, and callers are waiting for it.
_LAST_BACKOFF_S = 3.0
_LAST_BACKOFF_NEVER_READY_S = 30.0
# A worker that served for so long starts the count of failures anew.
_STABLE_AFTER_S = 60.0
_STOP_GRACE_S = 3.0
# So many health checks in a row that a worker leaves without an answer, and it counts as hung.
_HEALTH_MISSES = 3
_EXIT_USAGE = 2


class WorkerMisconfiguredError(Exception):
    """The worker refused its options; starting it again would not help."""


class EngineState(StrEnum):
    """Whether an engine can be used."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"


class Supervisor:
    """Owns the worker of one engine.

    Args:
        command: how to start it.
        start_timeout_s: a worker that isn't warm by then is ended and started again.
        health_interval_s: time between health checks, and for the answer to each.
        on_change: awaited after each change of `state`.

    Attributes:
        description: what the engine said of itself last; None before it was ready once.
        pid: of the worker's process; None while there is none.
    """

    def __init__(
        self,
        command: WorkerCommand,
        *,
        start_timeout_s: float,
        health_interval_s: float,
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        self.engine = command.engine
        self.state = EngineState.STARTING
        self.description: engine_pb2.DescribeResponse | None = None
        self.pid: int | None = None
        self._command = command
        self._start_timeout_s = start_timeout_s
        self._health_interval_s = health_interval_s
        self._on_change = on_change
        self._connection: Connection | None = None
        self._changed = asyncio.Condition()
        self._log = structlog.get_logger().bind(engine=self.engine)

    async def run(self) -> None:
        """Keeps the worker running until this is cancelled, and ends it then.

        Raises:
            WorkerMisconfiguredError: the worker refused its options at its first start.
        """
        failures = 0
        while True:
            try:
                served_s = await self._run_worker()
            except WorkerMisconfiguredError:
                raise
            except Exception:  # no room, no processes left: the other engines go on
                self._log.exception("worker could not be started")
                served_s = 0.0
            failures = 1 if served_s > _STABLE_AFTER_S else failures + 1
            # Spread, so that many engines that died together don't start together.
            longest_s = _LAST_BACKOFF_S if served_s > 0 else _LAST_BACKOFF_NEVER_READY_S
            backoff_s = min(longest_s, _FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 16))
            backoff_s *= random.uniform(0.8, 1.2)
            self._log.warning("worker starts again", failures=failures, in_s=round(backoff_s, 2))
            await asyncio.sleep(backoff_s)

    async def connection(
        self, timeout_s: float, *, successor_of: Connection | None = None
    ) -> Connection:
        """Returns the connection to the worker, waiting for it to be warm if need be.

        Args:
            successor_of: a connection whose worker was lost; the next worker's is wanted.

        Raises:
            EngineUnavailable: it isn't warm after `timeout_s`.
        """
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                while self._connection is None or self._connection is successor_of:
                    await self._changed.wait()
                return self._connection
        except TimeoutError:
            raise EngineUnavailable(
                self.engine, "is starting", reason="ENGINE_STARTING", retry_after_ms=1000
            ) from None

    async def _run_worker(self) -> float:
        """One life of a worker. Returns for how many seconds it served."""
        process = await WorkerProcess.start(self._command)
        self.pid = process.pid
        try:
            connection = Connection(self.engine, process.address)
            try:
                return await self._use(process, connection)
            finally:
                await self._change(EngineState.RESTARTING, None)
                await connection.close()
        finally:
            self.pid = None
            await process.stop(_STOP_GRACE_S)

    async def _use(self, process: WorkerProcess, connection: Connection) -> float:
        began_s = time.monotonic()
        ended = asyncio.create_task(process.wait())
        warm = asyncio.create_task(self._warm_up(connection))
        tasks = {ended, warm}
        try:
            await asyncio.wait(
                tasks, timeout=self._start_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if ended.done():
                self._log.error("worker ended while it started", exit_status=ended.result())
                if ended.result() == _EXIT_USAGE and self.description is None:
                    raise WorkerMisconfiguredError(self.engine)
                return 0.0
            if not warm.done():
                self._log.error("worker isn't warm in time", after_s=self._start_timeout_s)
                return 0.0
            self.description = warm.result()
            ready_s = time.monotonic()
            self._log.info("engine ready", pid=process.pid, start_s=round(ready_s - began_s, 2))
            await self._change(EngineState.READY, connection)

            silent = asyncio.create_task(self._watch(connection))
            tasks.add(silent)
            await asyncio.wait({ended, silent}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                self._log.error("worker ended", pid=process.pid, exit_status=ended.result())
            else:
                self._log.error("worker hangs and is ended", pid=process.pid)
            return time.monotonic() - ready_s
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    async def _warm_up(connection: Connection) -> engine_pb2.DescribeResponse:
        await connection.wait_until_warm()
        return await connection.describe()

    async def _watch(self, connection: Connection) -> None:
        """Returns when the worker has not answered for a while."""
        misses = 0
        while misses < _HEALTH_MISSES:
            await asyncio.sleep(self._health_interval_s)
            misses = 0 if await connection.answers(self._health_interval_s) else misses + 1

    async def _change(self, state: EngineState, connection: Connection | None) -> None:
        async with self._changed:
            self.state = state
            self._connection = connection
            self._changed.notify_all()
        await self._on_change()
