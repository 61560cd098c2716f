"""What stands around every call: who may make it, its time, its log line, the border for errors.

Handlers raise `ServiceError`s. Nothing else of an exception passes this border: neither its
text nor its trace reaches a caller.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import grpc.aio

from ..errors import InvalidRequest, ReadTooSlowly, Violation
from ..identity import Access, Gate, rule_for
from ..ops.metrics import CallMetrics
from ..ops.tracing import Tracer
from .call import Call
from .open_calls import OpenCalls
from .wire import MalformedMessage, explaining_decoder

__all__ = ["CallBoundary"]


class CallBoundary(grpc.aio.ServerInterceptor):
    """Wraps the handlers of all methods but those that anybody may call, which pass as they are.

    gRPC is told that all of them take streams of bytes: so nothing of a request is read, and
    nothing decoded, before it is known who calls.

    Args:
        gate: says who calls, and who may call what.
        calls: where each call is entered while it is in progress.
        tracer: begins the span of each call.
        metrics: counts the calls.
        stall_limit_s: how long a caller may take nothing of a stream before it is cut off.
        request_limit_bytes: of a request that is one message.
    """

    def __init__(
        self,
        gate: Gate,
        calls: OpenCalls,
        tracer: Tracer,
        metrics: CallMetrics,
        *,
        stall_limit_s: float,
        request_limit_bytes: int,
    ) -> None:
        self._gate = gate
        self._calls = calls
        self._tracer = tracer
        self._metrics = metrics
        self._stall_limit_s = stall_limit_s
        self._request_limit_bytes = request_limit_bytes

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """See `grpc.aio.ServerInterceptor`."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or rule_for(method) is Access.ANYBODY:
            return handler
        reads_stream = handler.request_streaming
        border = _Border(
            partial(Call, method, self._tracer, self._metrics),
            self._gate,
            self._calls,
            decode=explaining_decoder(
                handler.request_deserializer,
                limit_bytes=None if reads_stream else self._request_limit_bytes,
            ),
            reads_stream=reads_stream,
        )
        if handler.response_streaming:
            handle = handler.stream_stream if reads_stream else handler.unary_stream
            return grpc.stream_stream_rpc_method_handler(
                _answering_at_length(border, handle, self._stall_limit_s),
                response_serializer=handler.response_serializer,
            )
        handle = handler.stream_unary if reads_stream else handler.unary_unary
        return grpc.stream_unary_rpc_method_handler(
            _answering(border, handle), response_serializer=handler.response_serializer
        )


@dataclass(frozen=True, slots=True)
class _Border:
    """What the calls of a method pass."""

    begin: Callable[[Any], Call]
    gate: Gate
    calls: OpenCalls
    decode: Callable[[bytes], Any]
    reads_stream: bool

    @asynccontextmanager
    async def crossed(self, context: Any) -> AsyncIterator[None]:
        """Is open while the handler runs. What it raises becomes the call's status."""
        with self.begin(context) as call:
            try:
                # Each step of an upload has a limit of its own.
                async with self.calls.enter(context, is_limited=not self.reads_stream):
                    call.admit(self.gate)
                    yield
            except Exception as error:
                await call.refuse(error)

    async def request(self, context: Any) -> Any:
        """What the handler takes: the one request of a call, or an iterator over all of them."""
        if self.reads_stream:
            return self._requests(context)
        data = await context.read()
        if data is grpc.aio.EOF:
            raise InvalidRequest(Violation("", "is missing: the call ended without a request"))
        return self._whole(data)

    async def _requests(self, context: Any) -> AsyncIterator[Any]:
        while (data := await context.read()) is not grpc.aio.EOF:
            yield self._whole(data)

    def _whole(self, data: bytes) -> Any:
        request = self.decode(data)
        if isinstance(request, MalformedMessage):
            raise InvalidRequest(request.violation)
        return request


def _answering(
    border: _Border, handle: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    async def call(_: object, context: Any) -> Any:
        async with border.crossed(context):
            return await handle(await border.request(context), context)

    return call


def _answering_at_length(
    border: _Border, handle: Callable[..., AsyncIterator[Any]], stall_limit_s: float
) -> Callable[..., Awaitable[None]]:
    async def write(response: Any, context: Any) -> None:
        try:
            async with asyncio.timeout(stall_limit_s):
                await context.write(response)
        except TimeoutError:
            raise ReadTooSlowly(f"nothing of it was taken for {stall_limit_s:g} s") from None

    async def call(_: object, context: Any) -> None:
        async with border.crossed(context):
            responses = handle(await border.request(context), context)
            async with aclosing(responses):  # type: ignore[type-var]
                async for response in responses:
                    await write(response, context)

    return call
