"""Spans that are recorded, and sent to an OpenTelemetry collector.

They are sent in batches by a thread of their own. What it can't get rid of waits in a bounded
queue, and is dropped when that is full: no call ever waits for a collector. The variables `OTEL_*`
that the SDK knows (`OTEL_BSP_*`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`, …) hold.

opentelemetry-instrumentation-grpc would make spans of the calls, too. It does not see that a caller
left a stream, and it writes the words of exceptions and refusals into spans.
"""

import asyncio
import threading
from types import TracebackType
from typing import Self

import grpc
import grpc.aio
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .. import __version__
from .tracing import Attribute, Metadata, Span, Tracer, enter_span

__all__ = ["OtlpTracer"]

_PROPAGATOR = TraceContextTextMapPropagator()

# What OpenTelemetry's conventions count as an error of a server. CANCELLED is ours: speech that
# was broken off is what somebody looks for.
_SERVER_ERRORS = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class OtlpTracer(Tracer):
    """Begins spans that are recorded. See `open_tracer`."""

    def __init__(self, endpoint: str, *, sample_ratio: float, process: str) -> None:
        resource = Resource.create(
            {"service.name": "tts-service", "service.version": __version__, "tts.process": process}
        )
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            resource=resource.merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,  # it would take as long as it likes
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("tts_service", __version__)

    def arrived(self, method: str, metadata: Metadata | None) -> Span:
        """See `Tracer.arrived`."""
        carrier = {key: value for key, value in metadata or () if isinstance(value, str)}
        context = _PROPAGATOR.extract(carrier, Context())
        return _Call(self._tracer, method, context, SpanKind.SERVER, _SERVER_ERRORS)

    def close(self, timeout_s: float) -> None:
        """See `Tracer.close`."""
        # The SDK's own limits add up to a minute.
        flush = threading.Thread(target=self._provider.shutdown, name="trace-flush", daemon=True)
        flush.start()
        flush.join(timeout_s)


class _RecordedSpan(Span):
    """A span that is sent when it has ended."""

    __slots__ = ("_outer", "_span", "_tracer")

    def __init__(
        self,
        tracer: trace.Tracer,
        name: str,
        context: Context,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        self._tracer = tracer
        self._span = tracer.start_span(name, context, kind)

    def __enter__(self) -> Self:
        self._outer = enter_span(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(error)
        self._span.end()
        enter_span(self._outer)

    def _end(self, error: BaseException | None) -> None:
        if error is not None:
            self._span.set_status(StatusCode.ERROR, type(error).__name__)

    @property
    def ids(self) -> tuple[str, str]:
        """See `Span.ids`."""
        context = self._span.get_span_context()
        return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """See `Span.headers`."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, self._below())
        return tuple(carrier.items())

    def child(self, name: str) -> Span:
        """See `Span.child`."""
        return _RecordedSpan(self._tracer, name, self._below())

    def call(self, method: str) -> Span:
        """See `Span.call`."""
        return _Call(self._tracer, method, self._below(), SpanKind.CLIENT)

    def note(self, **attributes: Attribute) -> None:
        """See `Span.note`."""
        self._span.set_attributes({f"tts.{name}": value for name, value in attributes.items()})

    def event(self, name: str) -> None:
        """See `Span.event`."""
        self._span.add_event(name)

    def link(self, other: Span) -> None:
        """See `Span.link`."""
        if isinstance(other, _RecordedSpan):
            self._span.add_link(other._span.get_span_context())

    def _below(self) -> Context:
        return trace.set_span_in_context(self._span, Context())


class _Call(_RecordedSpan):
    """A gRPC call, on either side of it, with the attributes of OpenTelemetry's conventions.

    Args:
        errors: the codes that are one; none for all but OK.
    """

    __slots__ = ("_code", "_errors")

    def __init__(
        self,
        tracer: trace.Tracer,
        method: str,
        context: Context,
        kind: SpanKind,
        errors: frozenset[grpc.StatusCode] | None = None,
    ) -> None:
        name = method.strip("/")
        super().__init__(tracer, name, context, kind)
        self._errors = errors
        self._code: grpc.StatusCode | None = None
        service, _, own_name = name.rpartition("/")
        self._span.set_attributes(
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": own_name}
        )

    def finish(self, code: grpc.StatusCode) -> None:
        """See `Span.finish`."""
        self._code = code

    def _end(self, error: BaseException | None) -> None:
        code = self._code or _code(error)
        number, _ = code.value
        self._span.set_attribute("rpc.grpc.status_code", number)
        is_error = code is not grpc.StatusCode.OK if self._errors is None else code in self._errors
        if is_error:
            self._span.set_status(StatusCode.ERROR, code.name)


def _code(error: BaseException | None) -> grpc.StatusCode:
    """The status of a call that ended with this."""
    match error:
        case None:
            return grpc.StatusCode.OK
        case grpc.aio.AioRpcError():
            return error.code()
        case asyncio.CancelledError() | GeneratorExit():
            return grpc.StatusCode.CANCELLED
        case _:
            return grpc.StatusCode.UNKNOWN
