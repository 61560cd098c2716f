"""What stands around a call of the front: its span, and the request that its log lines name."""

from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
import structlog

from ..ops.tracing import Span, Tracer

__all__ = ["EngineCall"]

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class EngineCall:
    """One call, as long as its `with` block.

    Attributes:
        span: its span, within the trace of the front's caller.
    """

    def __init__(self, tracer: Tracer, method: str, context: Any) -> None:
        self._context = context
        metadata = context.invocation_metadata() or ()
        self._request_id = dict(metadata).get("x-request-id")
        self.span: Span = tracer.arrived(f"/engine.v1.Engine/{method}", metadata)

    def __enter__(self) -> Self:
        structlog.contextvars.clear_contextvars()
        if self._request_id:
            structlog.contextvars.bind_contextvars(request_id=self._request_id)
        self.span.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, grpc.aio.AbortError):
            self.span.finish(_CODES.get(self._context.code(), grpc.StatusCode.UNKNOWN))
        self.span.__exit__(kind, error, traceback)
