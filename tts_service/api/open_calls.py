"""The calls in progress: how long each may take, and how all of them end together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from ..errors import CallTooLong, ShuttingDown

__all__ = ["OpenCalls"]


class OpenCalls:
    """Knows every call of tts.v1 from its arrival until its status was sent.

    Args:
        limit_s: how long a call may take.
    """

    def __init__(self, *, limit_s: float) -> None:
        self._limit_s = limit_s
        self._count = 0
        self._arrived_count = 0
        self._scopes: set[asyncio.Timeout] = set()
        self._is_over = False
        self._none = asyncio.Event()
        self._none.set()

    @property
    def count(self) -> int:
        """How many there are."""
        return self._count

    @property
    def arrived_count(self) -> int:
        """How many there have been."""
        return self._arrived_count

    @asynccontextmanager
    async def enter(self, context: Any, *, is_limited: bool = True) -> AsyncIterator[None]:
        """Holds a call to its time while the context is open.

        Args:
            context: gRPC's, which tells when the call is over. That is later than its handler:
                the status still has to be sent.
            is_limited: whether `limit_s` holds for it.

        Raises:
            CallTooLong: its time is over; what it waited for was cancelled.
            ShuttingDown: `end_all` was called; likewise.
        """
        self._count += 1
        self._arrived_count += 1
        self._none.clear()
        context.add_done_callback(self._left)
        scope = asyncio.timeout(self._limit_s if is_limited else None)
        try:
            async with scope:
                self._scopes.add(scope)
                if self._is_over:
                    scope.reschedule(0)
                yield
        except TimeoutError:
            if not scope.expired():
                raise
            raise (ShuttingDown() if self._is_over else CallTooLong(self._limit_s)) from None
        finally:
            self._scopes.discard(scope)

    def end_all(self) -> None:
        """Ends all calls, and those that still come, with `ShuttingDown`."""
        self._is_over = True
        for scope in self._scopes:
            if not scope.expired():
                scope.reschedule(0)

    async def wait_until_none(self, timeout_s: float) -> None:
        """Returns when there is none, or after `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._none.wait()

    def _left(self, _context: Any) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()
