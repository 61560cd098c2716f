"""One call of the public contract, from its arrival to its log line."""

import asyncio
import math
import re
import time
import uuid
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, NoReturn, Self

import grpc
import grpc.aio
import structlog
from grpc_status import rpc_status

from voice_store import StorageFullError

from ..errors import (
    CallTooLong,
    EngineUnavailable,
    InvalidRequest,
    Overloaded,
    ReadTooSlowly,
    ServiceError,
    ShuttingDown,
    Unauthenticated,
)
from ..identity import Gate, Presented
from ..ops.metrics import CallMetrics
from ..ops.tracing import Tracer
from .presented import presented_by
from .status import reason_of, to_status

__all__ = ["Call", "CallInfo", "current_call"]

_REQUEST_ID_KEY = "x-request-id"
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_LAST_WORD_S = 1.0
# gRPC's clock and ours may differ by so much about when a deadline has passed.
_DEADLINE_SLACK_S = 0.05


@dataclass(frozen=True, slots=True)
class CallInfo:
    """The call that is being handled.

    Attributes:
        request_id: the caller's, or a new one.
        arrived_s: when it arrived, on `time.monotonic`'s clock.
        deadline_s: until when the caller waits, on the same clock; infinite if it didn't say.
        identity: who calls; "" for everybody who isn't known.
    """

    request_id: str
    arrived_s: float
    deadline_s: float = math.inf
    identity: str = ""


_CURRENT_CALL: ContextVar[CallInfo] = ContextVar("current_call")


def current_call() -> CallInfo:
    """Returns the call that is being handled."""
    return _CURRENT_CALL.get()


class Call:
    """A call while its handler runs. Used in a `with` statement, which writes its log line.

    Args:
        method: its full name, such as `/tts.v1.TextToSpeech/Synthesize`.
        tracer: begins its span.
        metrics: counts it.
        context: gRPC's.
    """

    def __init__(self, method: str, tracer: Tracer, metrics: CallMetrics, context: Any) -> None:
        # Once: gRPC makes all of it anew each time, and a stranger may send thousands of entries.
        self._metadata = context.invocation_metadata() or ()
        self._span = tracer.arrived(method, self._metadata)
        self._metrics = metrics
        self._full_method = method
        self._method = method.rpartition("/")[2]
        self._context = context
        now_s, left_s = time.monotonic(), context.time_remaining()
        deadline_s = math.inf if left_s is None else now_s + left_s
        self._info = CallInfo(_request_id(self._metadata), now_s, deadline_s)
        self._code = "OK"
        self._refusal: dict[str, str] = {}

    def __enter__(self) -> Self:
        _CURRENT_CALL.set(self._info)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=self._info.request_id)
        self._metrics.began(self._method)
        self._span.__enter__()
        self._span.note(request_id=self._info.request_id)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The caller left, or its deadline passed: a waiting handler gets CancelledError, one that
        # was sending GeneratorExit or an error of the transport.
        if kind is not None and self._code == "OK":
            is_late = self._info.deadline_s - time.monotonic() < _DEADLINE_SLACK_S
            self._code = "DEADLINE_EXCEEDED" if is_late else "CANCELLED"
        elapsed_s = time.monotonic() - self._info.arrived_s
        self._metrics.ended(self._method, self._code, elapsed_s)
        structlog.get_logger().info(
            "call",
            method=self._method,
            code=self._code,
            elapsed_ms=round(elapsed_s * 1000, 1),
            **self._refusal,
        )
        self._span.note(**self._refusal)
        self._span.finish(grpc.StatusCode[self._code])
        self._span.__exit__(None, None, None)

    def admit(self, gate: Gate) -> None:
        """Lets the caller go on, and notes who it is. Raises what `Gate` does."""
        presented = (
            Presented()
            if gate.is_open
            else presented_by(self._metadata, self._context.auth_context())
        )
        caller = gate.identify(presented)
        self._info = replace(self._info, identity=caller.name)
        _CURRENT_CALL.set(self._info)
        if caller.name:
            structlog.contextvars.bind_contextvars(identity=caller.name)
        gate.check(caller, self._full_method)

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
        elif isinstance(error, Unauthenticated):
            self._refusal["cause"] = error.cause
            if error.holder:
                self._refusal["holder"] = error.holder
        trailers = (*status.trailing_metadata, *self._pushback(error))
        # grpc.aio has no abort_with_status.
        # Who takes no audio takes no status either; leaving without one resets the stream.
        is_cut_off = isinstance(error, (CallTooLong, ReadTooSlowly, ShuttingDown))
        patience_s = _LAST_WORD_S if is_cut_off else None
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._context.abort(status.code, status.details, trailers)
        raise asyncio.CancelledError

    def _pushback(self, error: Exception) -> tuple[tuple[str, str], ...]:
        """Tells gRPC's own retries (gRFC A6) when to come back, or not to."""
        if isinstance(error, StorageFullError):
            after_ms = None  # room is made by somebody, not by waiting
        elif isinstance(error, (EngineUnavailable, Overloaded, ShuttingDown)):
            after_ms = error.retry_after_ms
        else:
            return ()
        # Who has no time for another try shall know at once, not wait for its deadline.
        in_time = after_ms and time.monotonic() + after_ms / 1000 < self._info.deadline_s
        return (("grpc-retry-pushback-ms", str(after_ms if in_time else -1)),)


def _request_id(metadata: Any) -> str:
    """The caller's `x-request-id` if it is one, else a new one."""
    for key, value in metadata:
        if key == _REQUEST_ID_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex
