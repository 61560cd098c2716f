"""gRPC's server for strangers: a path that is no text doesn't end it.

grpc.aio decodes the path of a call in the one loop that takes all calls in (grpcio 1.84 and 1.85,
`AioServer._server_main_loop`). Bytes that aren't UTF-8 raise there, and the server shuts down, with
the calls of everybody else. But methods that are registered, as those of generated code are, have
been told apart as bytes before that. What is left is a method that nobody has, and it is refused
here, without its path being read (docs/decisions/017-paths-that-are-no-text.md).
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it has no types

__all__ = ["make_grpc_server"]


def make_grpc_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor], options: Sequence[tuple[str, Any]]
) -> grpc.aio.Server:
    """Makes a server that takes registered methods alone: generic handlers are never asked.

    Args:
        interceptors, options: see `grpc.aio.server`.
    """
    original = cygrpc.AioServer
    cygrpc.AioServer = _AioServer  # the only way in: `grpc.aio.server` looks it up there
    try:
        return grpc.aio.server(interceptors=interceptors, options=options)
    finally:
        cygrpc.AioServer = original


class _AioServer(cygrpc.AioServer):  # type: ignore[misc]
    """Answers calls of unknown methods itself."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._refusals: set[asyncio.Task[None]] = set()

    async def _request_call(self) -> Any:
        """Waits for a call of a method that isn't registered. It never returns one."""
        while True:
            refusal = asyncio.create_task(_refuse(await super()._request_call()))
            self._refusals.add(refusal)
            refusal.add_done_callback(self._refusals.discard)


async def _refuse(call: Any) -> None:
    context = cygrpc._ServicerContext(call, None, None, asyncio.get_running_loop())
    # It raises once the status is sent, or cannot be since the caller has left.
    with suppress(grpc.aio.AbortError, cygrpc.ExecuteBatchError):
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no such method")
