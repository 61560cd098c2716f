"""What stands around every call: its id, its log line, and the border for errors.

Handlers raise `ServiceError`s. Nothing else of an exception passes this border: neither its
text nor its trace reaches a caller.
"""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog
from grpc_status import rpc_status

from ..errors import EngineUnavailable, InvalidRequest, Overloaded, ReadTooSlowly, ServiceError
from ..ops.metrics import CallMetrics
from .status import reason_of, to_status
from .wire import MalformedMessage, explaining_decoder

__all__ = ["CallBoundary", "CallInfo", "current_call"]

_REQUEST_ID_KEY = "x-request-id"
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_SERVICE_PREFIX = "/tts.v1."
_LAST_WORD_S = 1.0


@dataclass(frozen=True, slots=True)
class CallInfo:
    """The call that is being handled.

    Attributes:
        request_id: the caller's, or a new one.
        arrived_s: when it arrived, on `time.monotonic`'s clock.
    """

    request_id: str
    arrived_s: float


_CURRENT_CALL: ContextVar[CallInfo] = ContextVar("current_call")


def current_call() -> CallInfo:
    """Returns the call that is being handled."""
    return _CURRENT_CALL.get()


class CallBoundary(grpc.aio.ServerInterceptor):
    """Wraps the handlers of tts.v1; health and reflection pass as they are.

    Args:
        stall_limit_s: how long a caller may take nothing of a stream before it is cut off.
        metrics: counts the calls.
    """

    def __init__(self, *, stall_limit_s: float, metrics: CallMetrics) -> None:
        self._stall_limit_s = stall_limit_s
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """See `grpc.aio.ServerInterceptor`."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(_SERVICE_PREFIX):
            return handler
        decoder = explaining_decoder(handler.request_deserializer)
        metrics = self._metrics
        match handler.request_streaming, handler.response_streaming:
            case False, False:
                return grpc.unary_unary_rpc_method_handler(
                    _unary(method, handler.unary_unary, metrics),
                    decoder,
                    handler.response_serializer,
                )
            case False, True:
                return grpc.unary_stream_rpc_method_handler(
                    _streaming(method, handler.unary_stream, metrics, self._stall_limit_s),
                    decoder,
                    handler.response_serializer,
                )
            case True, False:
                return grpc.stream_unary_rpc_method_handler(
                    _uploading(method, handler.stream_unary, metrics),
                    decoder,
                    handler.response_serializer,
                )
            case _:
                raise TypeError(f"{method} is of a kind that has no boundary yet")


def _unary(
    method: str, handle: Callable[..., Awaitable[Any]], metrics: CallMetrics
) -> Callable[..., Awaitable[Any]]:
    async def call(request: Any, context: Any) -> Any:
        with _Call(method, context, metrics) as running:
            try:
                return await handle(_whole(request), context)
            except Exception as error:
                await running.refuse(error)

    return call


def _uploading(
    method: str, handle: Callable[..., Awaitable[Any]], metrics: CallMetrics
) -> Callable[..., Awaitable[Any]]:
    async def whole_requests(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            yield _whole(request)

    async def call(requests: AsyncIterator[Any], context: Any) -> Any:
        with _Call(method, context, metrics) as running:
            try:
                return await handle(whole_requests(requests), context)
            except Exception as error:
                await running.refuse(error)

    return call


def _streaming(
    method: str,
    handle: Callable[..., AsyncIterator[Any]],
    metrics: CallMetrics,
    stall_limit_s: float,
) -> Callable[..., Awaitable[None]]:
    async def write(response: Any, context: Any) -> None:
        try:
            async with asyncio.timeout(stall_limit_s):
                await context.write(response)
        except TimeoutError:
            raise ReadTooSlowly(f"nothing of it was taken for {stall_limit_s:g} s") from None

    async def call(request: Any, context: Any) -> None:
        with _Call(method, context, metrics) as running:
            try:
                async with aclosing(handle(_whole(request), context)) as responses:  # type: ignore[type-var]
                    async for response in responses:
                        await write(response, context)
            except Exception as error:
                await running.refuse(error)

    return call


def _whole(request: Any) -> Any:
    if isinstance(request, MalformedMessage):
        raise InvalidRequest(request.violation)
    return request


class _Call:
    """One call, from its arrival to its log line."""

    def __init__(self, method: str, context: Any, metrics: CallMetrics) -> None:
        self._method = method.rpartition("/")[2]
        self._metrics = metrics
        self._context = context
        self._info = CallInfo(_request_id(context), time.monotonic())
        self._code = "OK"
        self._refusal: dict[str, str] = {}

    def __enter__(self) -> "_Call":
        _CURRENT_CALL.set(self._info)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=self._info.request_id)
        self._metrics.began(self._method)
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        # The caller left: a waiting handler gets CancelledError, one that was sending
        # GeneratorExit or an error of the transport.
        if exception_type is not None and self._code == "OK":
            self._code = "CANCELLED"
        elapsed_s = time.monotonic() - self._info.arrived_s
        self._metrics.ended(self._method, self._code, elapsed_s)
        structlog.get_logger().info(
            "call",
            method=self._method,
            code=self._code,
            elapsed_ms=round(elapsed_s * 1000, 1),
            **self._refusal,
        )

    async def refuse(self, error: Exception) -> NoReturn:
        """Ends the call with the status that belongs to `error`."""
        if self._context.cancelled() or isinstance(error, grpc.aio.BaseError):
            raise error
        status = rpc_status.to_status(to_status(error, self._info.request_id))
        if status.code is grpc.StatusCode.INTERNAL and not isinstance(error, ServiceError):
            structlog.get_logger().exception("handler failed", method=self._method)
        self._code = status.code.name
        self._metrics.refused(self._method, reason_of(error))
        self._refusal = {"reason": str(getattr(error, "reason", type(error).__name__))}
        if isinstance(error, InvalidRequest):
            self._refusal["fields"] = ", ".join(v.field for v in error.violations)
        trailers = (*status.trailing_metadata, *_pushback(error))
        # grpc.aio has no abort_with_status.
        # Who takes no audio takes no status either; leaving without one resets the stream.
        patience_s = _LAST_WORD_S if isinstance(error, ReadTooSlowly) else None
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._context.abort(status.code, status.details, trailers)
        raise asyncio.CancelledError


def _pushback(error: Exception) -> tuple[tuple[str, str], ...]:
    """Tells gRPC's own retries (gRFC A6) when to come back, or not to."""
    if not isinstance(error, (EngineUnavailable, Overloaded)):
        return ()
    return (("grpc-retry-pushback-ms", str(error.retry_after_ms or -1)),)


def _request_id(context: Any) -> str:
    """The caller's `x-request-id` if it is printable ASCII, else a new one."""
    for key, value in context.invocation_metadata() or ():
        if key == _REQUEST_ID_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex
