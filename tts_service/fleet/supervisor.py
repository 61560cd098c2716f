"""Keeps one worker alive: start, wait until it is warm, watch, start again."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum

import structlog

from protos.engine.v1 import engine_pb2

from ..errors import EngineUnavailable
from .breaker import Breaker
from .connection import Connection
from .loss import LostReason
from .suspects import Suspects
from .worker_limits import WorkerLimits
from .worker_process import WorkerCommand, WorkerProcess
from .worker_watch import WorkerWatch

__all__ = ["EngineState", "Supervisor", "WorkerMisconfiguredError"]

_STOP_GRACE_S = 3.0
_EXIT_USAGE = 2
_RETRY_MS = 1000


class WorkerMisconfiguredError(Exception):
    """The worker refused its options; starting it again would not help."""


class EngineState(StrEnum):
    """Whether an engine can be used."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    # It failed again and again; there is a try now and then, and nobody waits for it.
    BROKEN = "broken"


class Supervisor:
    """Owns the worker of one engine.

    Args:
        command: how to start it.
        limits: what it is allowed.
        on_change: awaited after each change of `state`.
        on_lost: called with the engine's name and a `LostReason`, once for every end of a
            worker that wasn't asked for.

    Attributes:
        description: what the engine said of itself last; None before it was ready once.
        pid: of the worker that is running or starting; None between two of them.
        ready_since_s: when the worker that serves became ready, in seconds since 1970; None
            while none does.
        restarts: how often a worker was started after the first.
    """

    def __init__(
        self,
        command: WorkerCommand,
        limits: WorkerLimits,
        *,
        on_change: Callable[[], Awaitable[None]],
        on_lost: Callable[[str, str], None],
    ) -> None:
        self.engine = command.engine
        self.state = EngineState.STARTING
        self.description: engine_pb2.DescribeResponse | None = None
        self.pid: int | None = None
        self.ready_since_s: float | None = None
        self.restarts = 0
        self._command = command
        self._limits = limits
        self._on_change = on_change
        self._on_lost = on_lost
        self._breaker = Breaker(failure_limit=limits.failure_limit, retry_s=limits.retry_s)
        self._suspects = Suspects()
        self._next_start_s = 0.0
        self._connection: Connection | None = None
        self._changed = asyncio.Condition()
        self._log = structlog.get_logger().bind(engine=self.engine)

    @property
    def has_failed(self) -> bool:
        """Whether a worker could not be started, or was lost, since one served for a while."""
        return self._breaker.failures > 0

    async def run(self) -> None:
        """Keeps the worker running until this is cancelled, and ends it then.

        Raises:
            WorkerMisconfiguredError: the worker refused its options at its first start.
        """
        while True:
            try:
                reason = await self._run_worker()
            except WorkerMisconfiguredError:
                raise
            except Exception:  # the other engines go on
                self._log.exception("worker was lost for a reason of the front's")
                self._breaker.failed()
                reason = LostReason.START
            self._on_lost(self.engine, reason)
            backoff_s = self._breaker.backoff_s()
            self._next_start_s = time.monotonic() + backoff_s
            self._log.warning(
                "worker starts again",
                reason=reason.value,
                failures=self._breaker.failures,
                in_s=round(backoff_s, 2),
            )
            await asyncio.sleep(backoff_s)
            self.restarts += 1

    async def connection(
        self, timeout_s: float, *, successor_of: Connection | None = None
    ) -> Connection:
        """Returns the connection to the worker, waiting for it to be warm if need be.

        Args:
            successor_of: a connection whose worker was lost; the next worker's is wanted.

        Raises:
            EngineUnavailable: it isn't warm after `timeout_s`, or fails again and again.
        """
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                while self._connection is None or self._connection is successor_of:
                    if self.state is EngineState.BROKEN:
                        raise self._broken()
                    await self._changed.wait()
                return self._connection
        except TimeoutError:
            raise EngineUnavailable(
                self.engine, "is starting", reason="ENGINE_STARTING", retry_after_ms=_RETRY_MS
            ) from None

    def _broken(self) -> EngineUnavailable:
        until_start_s = max(0.0, self._next_start_s - time.monotonic())
        return EngineUnavailable(
            self.engine,
            "fails again and again, and is tried now and then",
            reason="ENGINE_BROKEN",
            retry_after_ms=round(until_start_s * 1000) + _RETRY_MS,
        )

    async def _run_worker(self) -> LostReason:
        """One life of a worker. Returns why it ended."""
        try:
            process = await WorkerProcess.start(self._command)
        except OSError:  # no room, no processes left
            self._log.exception("worker could not be started")
            self._breaker.failed()
            await self._change(self._state_without_worker(), None)
            return LostReason.START
        self.pid = process.pid
        grace_s = _STOP_GRACE_S
        try:
            connection = Connection(self.engine, process.address, self._suspects)
            try:
                if not await self._start(process, connection):
                    return LostReason.START
                reason, is_urgent = await self._serve(process, connection)
                if is_urgent:
                    grace_s = 0.0
                return reason
            finally:
                await self._change(self._state_without_worker(), None)
                await connection.close()
        finally:
            await process.stop(grace_s)
            self.pid = None

    async def _start(self, process: WorkerProcess, connection: Connection) -> bool:
        """Waits until the worker is warm, and says whether it is."""
        began_s = time.monotonic()
        ended = asyncio.create_task(process.wait())
        warm = asyncio.create_task(self._warm_up(connection))
        try:
            await asyncio.wait(
                {ended, warm},
                timeout=self._limits.start_timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if ended.done():
                self._log.error("worker ended while it started", exit_status=ended.result())
                if ended.result() == _EXIT_USAGE and self.description is None:
                    raise WorkerMisconfiguredError(self.engine)
                self._breaker.failed()
                return False
            if not warm.done():
                self._log.error("worker isn't warm in time", after_s=self._limits.start_timeout_s)
                self._breaker.trip()
                return False
            self.description = warm.result()
        finally:
            for task in (ended, warm):
                task.cancel()
            await asyncio.gather(ended, warm, return_exceptions=True)
        start_s = round(time.monotonic() - began_s, 2)
        self._log.info("engine ready", pid=process.pid, start_s=start_s)
        return True

    async def _serve(
        self, process: WorkerProcess, connection: Connection
    ) -> tuple[LostReason, bool]:
        """Lets the worker serve as long as it does.

        Returns:
            Why it doesn't any more, and whether it has ended or is to be ended at once.
        """
        watch = WorkerWatch(process, connection, self._limits, self._log)
        must_end = asyncio.create_task(watch.must_end())
        must_go = asyncio.create_task(watch.must_go())
        ready_s = time.monotonic()
        try:
            await self._change(EngineState.READY, connection)
            await asyncio.wait({must_end, must_go}, return_when=asyncio.FIRST_COMPLETED)
            reason = (must_end if must_end.done() else must_go).result()
            self._breaker.served(time.monotonic() - ready_s)
            if _speaks_against_engine(reason, connection):
                self._breaker.failed()
            connection.lost_reason = reason
            if not must_end.done():
                await self._change(self._state_without_worker(), None)
                await self._drain(connection, must_end)
            return reason, must_end.done()
        finally:
            for task in (must_end, must_go):
                task.cancel()
            await asyncio.gather(must_end, must_go, return_exceptions=True)

    async def _drain(self, connection: Connection, must_end: asyncio.Task[LostReason]) -> None:
        """Lets the worker finish what it does, for a while."""
        idle = asyncio.create_task(connection.record.idle())
        try:
            await asyncio.wait(
                {idle, must_end},
                timeout=self._limits.drain_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            idle.cancel()
            await asyncio.gather(idle, return_exceptions=True)

    @staticmethod
    async def _warm_up(connection: Connection) -> engine_pb2.DescribeResponse:
        await connection.wait_until_warm()
        return await connection.describe()

    def _state_without_worker(self) -> EngineState:
        return EngineState.BROKEN if self._breaker.is_open else EngineState.RESTARTING

    async def _change(self, state: EngineState, connection: Connection | None) -> None:
        if (state, connection) == (self.state, self._connection):
            return
        async with self._changed:
            self.state = state
            self._connection = connection
            self.ready_since_s = None if connection is None else time.time()
            self._changed.notify_all()
        await self._on_change()


def _speaks_against_engine(reason: LostReason, connection: Connection) -> bool:
    """Whether the next worker of the engine is likely to fare no better.

    A worker that has outgrown its bound has served until then, and bad audio may be a matter of
    one text, if others were spoken well.
    """
    if reason is LostReason.BAD_AUDIO:
        return not connection.record.has_spoken_well
    return reason is not LostReason.MEMORY
