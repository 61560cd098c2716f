"""An OpenTelemetry collector that keeps what it is sent."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import (
    trace_service_pb2,
    trace_service_pb2_grpc,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanProto
from opentelemetry.proto.trace.v1.trace_pb2 import Status

__all__ = ["Collector", "SeenSpan", "running_collector"]


@dataclass(frozen=True)
class SeenSpan:
    """A span as the collector has it. Ids are in hexadecimal."""

    process: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    is_error: bool
    message: str
    events: tuple[str, ...]
    linked_traces: tuple[str, ...]

    @classmethod
    def of(cls, span: SpanProto, process: str) -> "SeenSpan":
        return cls(
            process=process,
            name=span.name,
            kind=SpanProto.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            attributes=_values(span.attributes),
            is_error=span.status.code == Status.STATUS_CODE_ERROR,
            message=span.status.message,
            events=tuple(event.name for event in span.events),
            linked_traces=tuple(link.trace_id.hex() for link in span.links),
        )


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Answers `opentelemetry.proto.collector.trace.v1.TraceService`.

    Attributes:
        endpoint: where it listens.
        requests: all that it was sent.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.requests: list[trace_service_pb2.ExportTraceServiceRequest] = []

    def Export(self, request: Any, context: Any) -> Any:
        """See the contract."""
        self.requests.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self, trace_id: str = "") -> list[SeenSpan]:
        """All spans, or those of one trace."""
        return [
            seen
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            for seen in [
                SeenSpan.of(span, str(_values(resource.resource.attributes)["tts.process"]))
            ]
            if trace_id in ("", seen.trace_id)
        ]

    def wait(
        self, trace_id: str, is_enough: Callable[[list[SeenSpan]], bool], seconds: float = 10.0
    ) -> list[SeenSpan]:
        """Waits until the spans of a trace are enough."""
        end = time.monotonic() + seconds
        while not is_enough(self.spans(trace_id)) and time.monotonic() < end:
            time.sleep(0.05)
        spans = self.spans(trace_id)
        assert is_enough(spans), spans
        return spans


def _values(attributes: Any) -> dict[str, Any]:
    def value(attribute: KeyValue) -> Any:
        return getattr(attribute.value, attribute.value.WhichOneof("value") or "string_value")

    return {attribute.key: value(attribute) for attribute in attributes}


@contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector on a free port."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()
