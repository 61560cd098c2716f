"""The end of all workers."""

import asyncio
from typing import Any

import pytest

from tts_service.fleet import Fleet


class _Supervisor:
    """Ends its worker in so many turns of the loop."""

    def __init__(self, turns: int) -> None:
        self._turns = turns
        self.has_ended = False

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(self._turns):
                await asyncio.sleep(0)
            self.has_ended = True


async def test_a_worker_that_ends_slowly_is_waited_for() -> None:
    async def nothing() -> None: ...

    fleet = Fleet((), {}, on_change=nothing)
    quick, slow = _Supervisor(0), _Supervisor(20)
    supervisors: Any = {"quick": quick, "slow": slow}
    fleet._supervisors = supervisors
    running = asyncio.create_task(fleet.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert quick.has_ended
    assert slow.has_ended
