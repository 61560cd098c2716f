"""The one place where a gRPC status becomes an error of this package."""

from collections.abc import Callable
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2
from grpc_status import rpc_status

from tts_client.errors import (
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotCached,
    NotFound,
    Overloaded,
    PermissionDenied,
    ServerError,
    TtsError,
    Unauthenticated,
    Unavailable,
)

M = TypeVar("M", bound=Message)

# The reason that tells speech that isn't kept from a thing that doesn't exist.
_NOT_CACHED = "NOT_CACHED"

_PLAIN: dict[grpc.StatusCode, Callable[..., TtsError]] = {
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
}


def to_tts_error(error: grpc.RpcError, request_id: str = "") -> TtsError:
    """Translates what a call of grpc or grpc.aio raised.

    `google.rpc` details fill the fields of the error. Details that are absent, or that contradict
    the status that carries them, leave the fields at their defaults. `request_id` is used unless
    the server names another in `google.rpc.RequestInfo`.
    """
    code = error.code()
    details = _Details(_rich_status(error))
    message = error.details() or code.name
    info = details.find(details_pb.ErrorInfo())
    named = details.find(details_pb.RequestInfo()).request_id
    common = {"reason": info.reason, "request_id": named or request_id}

    if code is grpc.StatusCode.INVALID_ARGUMENT:
        bad = details.find(details_pb.BadRequest())
        violations = tuple(FieldViolation(v.field, v.description) for v in bad.field_violations)
        return InvalidArgument(message, violations=violations, **common)
    if code is grpc.StatusCode.NOT_FOUND and info.reason == _NOT_CACHED:
        return NotCached(message, **common)
    if code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS):
        kind = NotFound if code is grpc.StatusCode.NOT_FOUND else AlreadyExists
        resource = details.find(details_pb.ResourceInfo())
        return kind(
            message,
            resource_type=resource.resource_type,
            resource_name=resource.resource_name,
            **common,
        )
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        later = Unavailable if code is grpc.StatusCode.UNAVAILABLE else Overloaded
        return later(message, retry_after_s=details.retry_after_s(), **common)
    if code in _PLAIN:
        return _PLAIN[code](message, **common)
    return ServerError(f"{code.name}: {message}", **common)


class _Details:
    """The details of a rich status, looked up by their type."""

    def __init__(self, status: status_pb2.Status | None) -> None:
        self._packed = list(status.details) if status is not None else []

    def find(self, empty: M) -> M:
        """Fills `empty` from the first detail of its type, or hands it back as it is."""
        for packed in self._packed:
            if packed.Is(empty.DESCRIPTOR):
                try:
                    packed.Unpack(empty)
                except DecodeError:
                    continue
                break
        return empty

    def retry_after_s(self) -> float | None:
        """The delay of `RetryInfo` in seconds."""
        retry = self.find(details_pb.RetryInfo())
        if not retry.HasField("retry_delay"):
            return None
        return float(retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9)


def _rich_status(error: grpc.RpcError) -> status_pb2.Status | None:
    try:
        # An error of grpc.aio answers code(), details() and trailing_metadata() at once, as a
        # synchronous call does, so both go this way.
        status: status_pb2.Status | None = rpc_status.from_call(error)  # type: ignore[arg-type]
    except (ValueError, DecodeError):
        return None
    return status
