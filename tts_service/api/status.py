"""The one place where errors become gRPC statuses."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from voice_store import (
    RecordingRejectedError,
    StorageFullError,
    UnknownVoiceError,
    VoiceExistsError,
)

from ..errors import (
    CallTooLong,
    DeadlinePassed,
    EngineUnavailable,
    InvalidRequest,
    NotCached,
    NotPossible,
    Overloaded,
    PermissionDenied,
    RenderFailed,
    ServiceError,
    ShuttingDown,
    Unauthenticated,
    UploadStalled,
    VoiceNotFound,
)

__all__ = ["DOMAIN", "reason_of", "to_status"]

DOMAIN = "tts.v1"

# Of errors that say no more than their reason and their text.
_PLAIN_CODES: Mapping[type[ServiceError], int] = MappingProxyType(
    {
        CallTooLong: code_pb2.DEADLINE_EXCEEDED,
        DeadlinePassed: code_pb2.DEADLINE_EXCEEDED,
        NotCached: code_pb2.NOT_FOUND,
        NotPossible: code_pb2.FAILED_PRECONDITION,
        PermissionDenied: code_pb2.PERMISSION_DENIED,
        RenderFailed: code_pb2.INTERNAL,
        Unauthenticated: code_pb2.UNAUTHENTICATED,
        UploadStalled: code_pb2.DEADLINE_EXCEEDED,
    }
)


def to_status(error: Exception, request_id: str) -> status_pb2.Status:
    """Returns what the caller is told about `error`.

    An error that isn't ours becomes INTERNAL with a fixed text: the caller learns the
    request's id and the log has the rest.
    """
    code, reason, text, details = _explain(error)
    status = status_pb2.Status(code=code, message=text)
    for detail in (
        error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN),
        error_details_pb2.RequestInfo(request_id=request_id),
        *details,
    ):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def reason_of(error: Exception) -> str:
    """Returns the reason that the caller is told, one of a few."""
    _, reason, _, _ = _explain(error)
    return reason


def _explain(error: Exception) -> tuple[int, str, str, list[Message]]:
    """Returns code, reason, text and the details beside the two that every error has."""
    text = str(error)
    match error:
        case InvalidRequest():
            violations = [(v.field, v.description) for v in error.violations]
            return code_pb2.INVALID_ARGUMENT, error.reason, text, [_bad_request(violations)]
        case RecordingRejectedError():
            detail = _bad_request([("recording", error.message)])
            return code_pb2.INVALID_ARGUMENT, error.reason, error.message, [detail]
        case VoiceNotFound():
            return code_pb2.NOT_FOUND, error.reason, text, [_voice_info(error.voice)]
        case UnknownVoiceError():
            detail = _voice_info(error.voice_id)
            return code_pb2.NOT_FOUND, VoiceNotFound.reason, text, [detail]
        case VoiceExistsError():
            detail = _voice_info(error.voice_id)
            return code_pb2.ALREADY_EXISTS, "VOICE_EXISTS", text, [detail]
        case StorageFullError():
            return code_pb2.RESOURCE_EXHAUSTED, "STORAGE_FULL", text, []
        case Overloaded():
            detail = _retry_info(error.retry_after_ms)
            return code_pb2.RESOURCE_EXHAUSTED, error.reason, text, [detail]
        case EngineUnavailable():
            hints = [] if error.retry_after_ms is None else [_retry_info(error.retry_after_ms)]
            return code_pb2.UNAVAILABLE, error.reason, text, hints
        case ShuttingDown():
            detail = _retry_info(error.retry_after_ms)
            return code_pb2.UNAVAILABLE, error.reason, text, [detail]
        case ServiceError() if type(error) in _PLAIN_CODES:
            return _PLAIN_CODES[type(error)], error.reason, text, []
        case _:
            text = "the server failed on this request"
            return code_pb2.INTERNAL, ServiceError.reason, text, []


def _bad_request(violations: Iterable[tuple[str, str]]) -> Message:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
            for field, description in violations
        ]
    )


def _voice_info(voice: str) -> Message:
    return error_details_pb2.ResourceInfo(resource_type="tts.v1.Voice", resource_name=voice)


def _retry_info(retry_after_ms: int) -> Message:
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(retry_after_ms)
    return error_details_pb2.RetryInfo(retry_delay=delay)
