"""`grpc.health.v1`: whether calls are worth sending here."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

__all__ = ["Health"]

_Response = health_pb2.HealthCheckResponse
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Health(health_pb2_grpc.HealthServicer):
    """Answers checks, and tells watchers of each change.

    grpcio-health-checking's own forgets all watchers of a service when one of them leaves
    (https://github.com/grpc/grpc/pull/43403), and holds a lock while it writes to one, so that who
    takes nothing keeps the others, and the server, from going on.
    """

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {}
        self._is_final = False
        # Set at the next change, and then replaced.
        self._changed = asyncio.Event()

    def set(self, service: str, *, is_serving: bool) -> None:
        """Says whether a service is served. Nothing happens after `turn_down`."""
        if not self._is_final:
            self._set(service, _Response.SERVING if is_serving else _Response.NOT_SERVING)

    def turn_down(self) -> None:
        """Says that no service is served, for good."""
        self._is_final = True
        for service in self._statuses:
            self._set(service, _Response.NOT_SERVING)

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> health_pb2.HealthCheckResponse:
        """Tells the status now; NOT_FOUND for what was never set."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return _Response(status=status)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse]:
        """Tells the status, and each one that it changes to; what passes quickly is left out."""
        told = None
        while True:
            changed = self._changed
            status = self._statuses.get(request.service, _Response.SERVICE_UNKNOWN)
            if status != told:
                told = status
                yield _Response(status=status)
            await changed.wait()

    def _set(self, service: str, status: int) -> None:
        if self._statuses.get(service) != status:
            self._statuses[service] = status
            self._changed.set()
            self._changed = asyncio.Event()
