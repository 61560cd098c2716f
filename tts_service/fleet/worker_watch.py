"""Watches a worker that serves, and says when it can't be left to."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import structlog

from ..ops.resident_memory import resident_bytes
from .connection import Connection
from .loss import LostReason
from .worker_limits import WorkerLimits
from .worker_process import WorkerProcess

__all__ = ["WorkerWatch"]

# So many health checks in a row that a worker leaves without an answer, and it counts as hung.
_HEALTH_MISSES = 3
# So often within the limit it is looked whether there was progress. What is counted is looks and
# not time, so that a front that was stopped itself doesn't blame its worker.
_PROGRESS_LOOKS = 10
# From this share of the allowed growth on there is no time for good order.
_HARD_GROWTH = 1.25
_MIB = 1 << 20


class WorkerWatch:
    """Judges one worker. Made when it is ready: it is measured against its size then."""

    def __init__(
        self, process: WorkerProcess, connection: Connection, limits: WorkerLimits, log: Any
    ) -> None:
        self._process = process
        self._connection = connection
        self._record = connection.record
        self._limits = limits
        self._log: structlog.typing.FilteringBoundLogger = log.bind(pid=process.pid)
        self._size_bytes = resident_bytes(process.pid)

    async def must_end(self) -> LostReason:
        """Waits until the worker ended, or can't do any good any more."""
        return await _first(
            self._ended(), self._silent(), self._stuck(), self._outgrown(_HARD_GROWTH)
        )

    async def must_go(self) -> LostReason:
        """Waits until the worker is to be replaced, but may finish what it does."""
        return await _first(self._spoiled(), self._outgrown(1.0))

    async def _ended(self) -> LostReason:
        status = await self._process.wait()
        if status >= 0:
            self._log.error("worker ended", exit_status=status)
            return LostReason.EXIT
        log = self._log
        if status == -signal.SIGKILL:
            log = log.bind(hint="if nobody did it, the kernel lacked memory: see its log")
        log.error("worker was killed", exit_status=status)
        return LostReason.KILLED

    async def _silent(self) -> LostReason:
        interval_s = self._limits.health_interval_s
        misses = 0
        while misses < _HEALTH_MISSES:
            await asyncio.sleep(interval_s)
            misses = 0 if await self._connection.answers(interval_s) else misses + 1
        self._log.error("worker answers no health check and is ended")
        return LostReason.SILENT

    async def _stuck(self) -> LostReason:
        """Any message is progress: a render may wait its turn behind others that get on.

        Time in which nobody waits counts neither for nor against it. So callers who give up
        soon, one after another, don't hide a worker that hangs.
        """
        limit_s = self._limits.progress_timeout_s
        seen, looks = self._record.messages, 0
        while looks < _PROGRESS_LOOKS:
            await asyncio.sleep(limit_s / _PROGRESS_LOOKS)
            if self._record.messages != seen:
                seen, looks = self._record.messages, 0
            elif self._record.waiting:
                looks += 1
        self._log.error(
            "worker makes no sound and is ended", after_s=limit_s, waiting=self._record.waiting
        )
        return LostReason.STUCK

    async def _spoiled(self) -> LostReason:
        await self._record.is_spoiled.wait()
        self._log.error("worker answers with bad audio again and again and is replaced")
        return LostReason.BAD_AUDIO

    async def _outgrown(self, share: float) -> LostReason:
        if self._size_bytes is None or not self._limits.memory_growth_bytes:
            await asyncio.Event().wait()
        allowed = (self._size_bytes or 0) + self._limits.memory_growth_bytes * share
        size = 0
        while size <= allowed:
            await asyncio.sleep(self._limits.health_interval_s)
            size = resident_bytes(self._process.pid) or 0
        self._log.error(
            "worker has grown too large", size_mib=size // _MIB, allowed_mib=int(allowed) // _MIB
        )
        return LostReason.MEMORY


async def _first(*coroutines: Coroutine[Any, Any, LostReason]) -> LostReason:
    """Returns what the first of them says, the first named of those that end together."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task.result() for task in tasks if task.done())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
