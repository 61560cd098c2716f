"""What stands around every call: its id, its caller, its log line, and the border for errors.

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
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog
from grpc_status import rpc_status

from ..errors import (
    EngineUnavailable,
    InvalidRequest,
    Overloaded,
    ReadTooSlowly,
    ServiceError,
    Unauthenticated,
    Violation,
)
from ..identity import Access, Gate, Presented, rule_for
from .presented import presented_by
from .status import to_status
from .wire import MalformedMessage, explaining_decoder

__all__ = ["CallBoundary", "CallInfo", "current_call"]

_REQUEST_ID_KEY = "x-request-id"
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_LAST_WORD_S = 1.0


@dataclass(frozen=True, slots=True)
class CallInfo:
    """The call that is being handled.

    Attributes:
        request_id: the caller's, or a new one.
        arrived_s: when it arrived, on `time.monotonic`'s clock.
        identity: who calls; "" where nobody is asked.
    """

    request_id: str
    arrived_s: float
    identity: str = ""


_CURRENT_CALL: ContextVar[CallInfo] = ContextVar("current_call")


def current_call() -> CallInfo:
    """Returns the call that is being handled."""
    return _CURRENT_CALL.get()


class CallBoundary(grpc.aio.ServerInterceptor):
    """Wraps the handlers of all methods but those that anybody may call, which pass as they are.

    gRPC is told that all of them take streams of bytes: so nothing of a request is read, and
    nothing decoded, before it is known who calls.

    Args:
        gate: says who calls, and who may call what.
        stall_limit_s: how long a caller may take nothing of a stream before it is cut off.
    """

    def __init__(self, gate: Gate, *, stall_limit_s: float) -> None:
        self._gate = gate
        self._stall_limit_s = stall_limit_s

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
        border = _Border(method, self._gate, explaining_decoder(handler.request_deserializer))
        match handler.request_streaming, handler.response_streaming:
            case False, False:
                call = _unary(border, handler.unary_unary)
            case True, False:
                call = _uploading(border, handler.stream_unary)
            case False, True:
                call = _streaming(border, handler.unary_stream, self._stall_limit_s)
            case _:
                call = _conversing(border, handler.stream_stream, self._stall_limit_s)
        return (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )(call, response_serializer=handler.response_serializer)


@dataclass(frozen=True, slots=True)
class _Border:
    """What the calls of a method pass."""

    method: str
    gate: Gate
    decode: Callable[[bytes], Any]

    async def request(self, context: Any) -> Any:
        """The one request of a call."""
        data = await context.read()
        if data is grpc.aio.EOF:
            raise InvalidRequest(Violation("", "is missing: the call ended without a request"))
        return self._whole(data)

    async def requests(self, context: Any) -> AsyncIterator[Any]:
        """All requests of a call."""
        while (data := await context.read()) is not grpc.aio.EOF:
            yield self._whole(data)

    def _whole(self, data: bytes) -> Any:
        request = self.decode(data)
        if isinstance(request, MalformedMessage):
            raise InvalidRequest(request.violation)
        return request


def _unary(border: _Border, handle: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def call(_: object, context: Any) -> Any:
        with _Call(border.method, context) as running:
            try:
                running.admit(border.gate)
                return await handle(await border.request(context), context)
            except Exception as error:
                await running.refuse(error)

    return call


def _uploading(
    border: _Border, handle: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    async def call(_: object, context: Any) -> Any:
        with _Call(border.method, context) as running:
            try:
                running.admit(border.gate)
                return await handle(border.requests(context), context)
            except Exception as error:
                await running.refuse(error)

    return call


def _streaming(
    border: _Border, handle: Callable[..., AsyncIterator[Any]], stall_limit_s: float
) -> Callable[..., Awaitable[None]]:
    async def call(_: object, context: Any) -> None:
        with _Call(border.method, context) as running:
            try:
                running.admit(border.gate)
                request = await border.request(context)
                await _write_all(handle(request, context), context, stall_limit_s)
            except Exception as error:
                await running.refuse(error)

    return call


def _conversing(
    border: _Border, handle: Callable[..., AsyncIterator[Any]], stall_limit_s: float
) -> Callable[..., Awaitable[None]]:
    async def call(_: object, context: Any) -> None:
        with _Call(border.method, context) as running:
            try:
                running.admit(border.gate)
                requests = border.requests(context)
                await _write_all(handle(requests, context), context, stall_limit_s)
            except Exception as error:
                await running.refuse(error)

    return call


async def _write_all(responses: AsyncIterator[Any], context: Any, stall_limit_s: float) -> None:
    async with aclosing(responses):  # type: ignore[type-var]
        async for response in responses:
            try:
                async with asyncio.timeout(stall_limit_s):
                    await context.write(response)
            except TimeoutError:
                problem = f"nothing of it was taken for {stall_limit_s:g} s"
                raise ReadTooSlowly(problem) from None


class _Call:
    """One call, from its arrival to its log line."""

    def __init__(self, method: str, context: Any) -> None:
        self._full_method = method
        self._method = method.rpartition("/")[2]
        self._context = context
        self._info = CallInfo(_request_id(context), time.monotonic())
        self._code = "OK"
        self._refusal: dict[str, str] = {}

    def __enter__(self) -> "_Call":
        _CURRENT_CALL.set(self._info)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=self._info.request_id)
        return self

    def admit(self, gate: Gate) -> None:
        """Lets the caller go on, and notes who it is. Raises what `Gate` does."""
        presented = Presented() if gate.is_open else presented_by(self._context)
        caller = gate.identify(presented)
        self._info = replace(self._info, identity=caller.name)
        _CURRENT_CALL.set(self._info)
        if caller.name:
            structlog.contextvars.bind_contextvars(identity=caller.name)
        gate.check(caller, self._full_method)

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        # The caller left: a waiting handler gets CancelledError, one that was sending
        # GeneratorExit or an error of the transport.
        if exception_type is not None and self._code == "OK":
            self._code = "CANCELLED"
        elapsed_ms = round((time.monotonic() - self._info.arrived_s) * 1000, 1)
        structlog.get_logger().info(
            "call",
            method=self._method,
            code=self._code,
            elapsed_ms=elapsed_ms,
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
        self._refusal = {"reason": str(getattr(error, "reason", type(error).__name__))}
        if isinstance(error, InvalidRequest):
            self._refusal["fields"] = ", ".join(v.field for v in error.violations)
        elif isinstance(error, Unauthenticated):
            self._refusal["cause"] = error.cause
            if error.holder:
                self._refusal["holder"] = error.holder
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
