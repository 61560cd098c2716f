"""Whoever watches the health hears of each change, whatever other watchers do."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tts_service.api import Health

_Response = health_pb2.HealthCheckResponse
_SOON_S = 10.0
# And a connection of its own.
_SMALL_WINDOW = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.lookahead_bytes", 1 << 14),
    ("grpc.http2.bdp_probe", 0),
)


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def address(health: Health) -> AsyncGenerator[str]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def stub(address: str) -> AsyncGenerator[Any]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield health_pb2_grpc.HealthStub(channel)


def _watch(stub: Any, service: str = "speech") -> Any:
    return stub.Watch(health_pb2.HealthCheckRequest(service=service))


async def _next(call: Any) -> int:
    response = await asyncio.wait_for(call.read(), _SOON_S)
    return int(response.status)


async def test_a_check_tells_the_status(health: Health, stub: Any) -> None:
    request = health_pb2.HealthCheckRequest(service="speech")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(request)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    for is_serving, status in ((True, _Response.SERVING), (False, _Response.NOT_SERVING)):
        health.set("speech", is_serving=is_serving)
        assert (await stub.Check(request)).status == status


async def test_one_who_leaves_takes_no_other_watcher_along(health: Health, stub: Any) -> None:
    health.set("speech", is_serving=True)
    stays, leaves = _watch(stub), _watch(stub)
    assert [await _next(stays), await _next(leaves)] == [_Response.SERVING] * 2
    leaves.cancel()
    comes = _watch(stub)
    assert await _next(comes) == _Response.SERVING
    health.set("speech", is_serving=False)
    assert [await _next(stays), await _next(comes)] == [_Response.NOT_SERVING] * 2


async def test_one_who_takes_nothing_keeps_nobody_waiting(health: Health, address: str) -> None:
    health.set("speech", is_serving=True)
    async with (
        grpc.aio.insecure_channel(address, options=_SMALL_WINDOW) as one,
        grpc.aio.insecure_channel(address, options=_SMALL_WINDOW) as other,
    ):
        idle = _watch(health_pb2_grpc.HealthStub(one))
        reads = _watch(health_pb2_grpc.HealthStub(other))
        for call in (idle, reads):
            assert await _next(call) == _Response.SERVING
        # More answers of seven bytes than the window of the one who takes none has room for.
        for is_serving in (False, True) * 2500:
            health.set("speech", is_serving=is_serving)
            expected = _Response.SERVING if is_serving else _Response.NOT_SERVING
            assert await _next(reads) == expected


async def test_a_service_may_come_later(health: Health, stub: Any) -> None:
    call = _watch(stub, "late")
    assert await _next(call) == _Response.SERVICE_UNKNOWN
    health.set("other", is_serving=True)
    health.set("late", is_serving=True)
    assert await _next(call) == _Response.SERVING


async def test_what_is_turned_down_stays_so(health: Health, stub: Any) -> None:
    health.set("speech", is_serving=True)
    call = _watch(stub)
    assert await _next(call) == _Response.SERVING
    health.turn_down()
    health.set("speech", is_serving=True)
    assert await _next(call) == _Response.NOT_SERVING
    request = health_pb2.HealthCheckRequest(service="speech")
    assert (await stub.Check(request)).status == _Response.NOT_SERVING
