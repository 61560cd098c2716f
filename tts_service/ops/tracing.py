"""Spans: what a call did, and for how long, for whoever follows it from service to service.

This is the seam. What stands here records nothing, and costs next to nothing; `tracing_otlp` has
what records, and is imported only where traces are wanted. Whoever works for a call finds its span
by `current_span()`, in other tasks too, and hangs its own below it.

Attributes are names, numbers and codes: never what is spoken, a token or a path.
"""

from collections.abc import Iterable
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import grpc

__all__ = [
    "NO_SPAN",
    "NO_TRACER",
    "Metadata",
    "Span",
    "Tracer",
    "TracingUnavailableError",
    "current_span",
    "open_tracer",
]

# Of a call, as gRPC has it.
Metadata = Iterable[tuple[str, str | bytes]]
Attribute = str | int | float | bool


class TracingUnavailableError(Exception):
    """A package that tracing needs is missing; the text names it."""


class Span:
    """One piece of work. It lasts as long as its `with` block. This one records nothing.

    Attributes are kept under `tts.` and their name.
    """

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    @property
    def ids(self) -> tuple[str, str] | None:
        """Of the trace and of the span, in hexadecimal."""
        return None

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Metadata with which another service continues here."""
        return ()

    def child(self, name: str) -> "Span":
        """A part of this work."""
        del name
        return self

    def call(self, method: str) -> "Span":
        """A call that this work makes, of the method `/package.Service/Method`."""
        del method
        return self

    def note(self, **attributes: Attribute) -> None:
        """Sets attributes."""

    def event(self, name: str) -> None:
        """Something happened just now."""

    def link(self, other: "Span") -> None:
        """This waits for work that hangs below another span."""

    def finish(self, code: "grpc.StatusCode") -> None:
        """Sets the status of a call, which is otherwise what the end of the `with` block tells."""


NO_SPAN = Span()
_CURRENT: ContextVar[Span] = ContextVar("current_span", default=NO_SPAN)


def current_span() -> Span:
    """The innermost span that this is a part of."""
    return _CURRENT.get()


def enter_span(span: Span) -> Span:
    """Makes a span the current one; returns the one that was."""
    outer = _CURRENT.get()
    # By `set` at the end, too, and not by a token: a generator that nobody read to its end is
    # closed in another context.
    _CURRENT.set(span)
    return outer


class Tracer:
    """Begins the spans of calls that arrive. This one records nothing."""

    def arrived(self, method: str, metadata: Metadata | None) -> Span:
        """The span of a call of `/package.Service/Method`, within its caller's trace if it has one.

        Args:
            metadata: of the call.
        """
        del method, metadata
        return NO_SPAN

    def close(self, timeout_s: float) -> None:
        """Sends what was not sent yet. Blocks, for as long as this at the most."""


NO_TRACER = Tracer()


def open_tracer(endpoint: str, *, sample_ratio: float, process: str) -> Tracer:
    """Returns a tracer for this process. Close it.

    Args:
        endpoint: where an OTLP collector listens for gRPC, such as `http://127.0.0.1:4317`;
            empty: nothing is recorded. Headers for it are the SDK's `OTEL_EXPORTER_OTLP_HEADERS`.
        sample_ratio: share of the calls that are recorded among those whose caller didn't decide.
        process: who records, such as `front` or `worker:piper`.

    Raises:
        TracingUnavailableError: the packages of the extra `tracing` are missing.
    """
    if not endpoint:
        return NO_TRACER
    try:
        from .tracing_otlp import OtlpTracer
    except ImportError as error:
        raise TracingUnavailableError(
            f"tracing needs a package that is missing ({error.name}); install it with: "
            "pip install 'PATH_OF_THE_CLONE[tracing]'"
        ) from error
    return OtlpTracer(endpoint, sample_ratio=sample_ratio, process=process)
