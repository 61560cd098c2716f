"""How a front stops taking calls without cutting those that it has."""

import asyncio

import grpc.aio
import structlog

from .api import Health, OpenCalls

__all__ = ["drain"]

_REPORT_S = 1.0
# For the statuses of the calls that are ended, and for a call that came with the last packet.
_LAST_WORD_S = 1.5
_SETTLE_S = 0.2
# What a server has received and not yet handed over when it is stopped ends as CANCELLED, without
# a word from us (https://github.com/grpc/grpc/issues/41785). In a lull that is hardly ever any.
_LULL_S = 0.05
_LULL_LIMIT_S = 1.0


async def drain(
    server: grpc.aio.Server,
    health: Health,
    calls: OpenCalls,
    *,
    delay_s: float,
    grace_s: float,
) -> None:
    """Stops `server`. Returns when no call is in progress any more.

    Health turns NOT_SERVING first, for those who watch it, too. Until `delay_s` is over new calls
    are still served. From then on there are no new ones, and those in progress may go on for
    `grace_s`; after that they end with UNAVAILABLE, SHUTTING_DOWN.
    """
    log = structlog.get_logger()
    health.turn_down()
    if delay_s:
        log.info("health is down, calls are still taken", for_s=delay_s, calls=calls.count)
        await asyncio.sleep(delay_s)
    await _lull(calls)
    # Clients are told to go elsewhere at once. That the grace is kept is seen to here, since
    # gRPC would also wait for streams that never end by themselves, such as health's.
    refusing = asyncio.create_task(server.stop(grace_s + 2 * _LAST_WORD_S), name="refuse")
    try:
        if not await _finish(refusing, calls, grace_s):
            log.warning("the grace period is over, calls are ended", calls=calls.count)
            calls.end_all()
            await calls.wait_until_none(_LAST_WORD_S)
        await server.stop(None)
    finally:
        await refusing


async def _lull(calls: OpenCalls) -> None:
    """Returns when no call has come for a moment, or none such was found for a while."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + _LULL_LIMIT_S
    arrived_count = -1
    while arrived_count != calls.arrived_count and loop.time() < end_s:
        arrived_count = calls.arrived_count
        await asyncio.sleep(_LULL_S)


async def _finish(refusing: asyncio.Task[None], calls: OpenCalls, grace_s: float) -> bool:
    """Lets calls go on for `grace_s`; returns whether all are over by then."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + grace_s
    while True:
        # One that gRPC has taken, and that we have not heard of yet, counts, too.
        await asyncio.wait({refusing}, timeout=_SETTLE_S)
        left_s = end_s - loop.time()
        if refusing.done() or not calls.count:
            return True
        if left_s <= 0:
            return False
        structlog.get_logger().info("waiting for calls", calls=calls.count, left_s=round(left_s, 1))
        await calls.wait_until_none(min(left_s, _REPORT_S))
