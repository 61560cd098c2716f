"""The one place where errors become gRPC statuses."""

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from ..errors import (
    DeadlinePassed,
    EngineUnavailable,
    InvalidRequest,
    RenderFailed,
    ServiceError,
    VoiceNotFound,
)

__all__ = ["DOMAIN", "to_status"]

DOMAIN = "tts.v1"


def to_status(error: Exception, request_id: str) -> status_pb2.Status:
    """Returns what the caller is told about `error`.

    An error that isn't ours becomes INTERNAL with a fixed text: the caller learns the
    request's id and the log has the rest.
    """
    reason = error.reason if isinstance(error, ServiceError) else ServiceError.reason
    text = str(error) if isinstance(error, ServiceError) else "the server failed on this request"
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN),
        error_details_pb2.RequestInfo(request_id=request_id),
    ]
    match error:
        case InvalidRequest():
            code = code_pb2.INVALID_ARGUMENT
            details.append(
                error_details_pb2.BadRequest(
                    field_violations=[
                        error_details_pb2.BadRequest.FieldViolation(
                            field=violation.field, description=violation.description
                        )
                        for violation in error.violations
                    ]
                )
            )
        case VoiceNotFound():
            code = code_pb2.NOT_FOUND
            details.append(
                error_details_pb2.ResourceInfo(
                    resource_type="tts.v1.Voice", resource_name=error.voice, description=text
                )
            )
        case EngineUnavailable():
            code = code_pb2.UNAVAILABLE
            if error.retry_after_ms is not None:
                delay = duration_pb2.Duration()
                delay.FromMilliseconds(error.retry_after_ms)
                details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        case DeadlinePassed():
            code = code_pb2.DEADLINE_EXCEEDED
        case RenderFailed():
            code = code_pb2.INTERNAL
        case _:
            code = code_pb2.INTERNAL
    status = status_pb2.Status(code=code, message=text)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status
