"""Every error of the tree becomes a status with a reason, and strangers' texts stay inside."""

import inspect

import pytest
from google.rpc import code_pb2, error_details_pb2

import voice_store
from tts_service import errors
from tts_service.api.status import to_status

_SAMPLES: list[tuple[Exception, int, str]] = [
    (errors.ReadTooSlowly("far behind"), code_pb2.RESOURCE_EXHAUSTED, "READ_TOO_SLOWLY"),
    (
        errors.InvalidRequest(errors.Violation("text", "is empty")),
        code_pb2.INVALID_ARGUMENT,
        "INVALID_REQUEST",
    ),
    (errors.Unauthenticated("secret"), code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED"),
    (
        errors.PermissionDenied("needs 'voices'", reason="SCOPE_MISSING"),
        code_pb2.PERMISSION_DENIED,
        "SCOPE_MISSING",
    ),
    (errors.VoiceNotFound("x"), code_pb2.NOT_FOUND, "VOICE_NOT_FOUND"),
    (
        errors.EngineUnavailable("piper", "is starting", reason="ENGINE_STARTING"),
        code_pb2.UNAVAILABLE,
        "ENGINE_STARTING",
    ),
    (
        errors.NotPossible("is no voice of yours", reason="ENGINE_VOICE"),
        code_pb2.FAILED_PRECONDITION,
        "ENGINE_VOICE",
    ),
    (
        errors.Overloaded("too many", reason="TOO_MANY_UPLOADS", retry_after_ms=5),
        code_pb2.RESOURCE_EXHAUSTED,
        "TOO_MANY_UPLOADS",
    ),
    (
        voice_store.RecordingRejectedError(voice_store.RejectionReason.SILENT, "It is silent."),
        code_pb2.INVALID_ARGUMENT,
        "SILENT",
    ),
    (voice_store.VoiceExistsError("x"), code_pb2.ALREADY_EXISTS, "VOICE_EXISTS"),
    (voice_store.UnknownVoiceError("x"), code_pb2.NOT_FOUND, "VOICE_NOT_FOUND"),
    (voice_store.StorageFullError(), code_pb2.RESOURCE_EXHAUSTED, "STORAGE_FULL"),
    (
        voice_store.DamagedVoiceError("x", "secret.flac can't be read"),
        code_pb2.INTERNAL,
        "INTERNAL",
    ),
    (errors.NotCached(), code_pb2.NOT_FOUND, "NOT_CACHED"),
    (errors.DeadlinePassed(), code_pb2.DEADLINE_EXCEEDED, "DEADLINE_PASSED"),
    (errors.CallTooLong(600), code_pb2.DEADLINE_EXCEEDED, "CALL_TOO_LONG"),
    (errors.UploadStalled(30), code_pb2.DEADLINE_EXCEEDED, "UPLOAD_STALLED"),
    (errors.ShuttingDown(), code_pb2.UNAVAILABLE, "SHUTTING_DOWN"),
    (errors.RenderFailed("piper"), code_pb2.INTERNAL, "RENDER_FAILED"),
    (RuntimeError("secret /etc/passwd"), code_pb2.INTERNAL, "INTERNAL"),
]


@pytest.mark.parametrize(("error", "code", "reason"), _SAMPLES)
def test_status(error: Exception, code: int, reason: str) -> None:
    status = to_status(error, "request-1")
    assert status.code == code
    assert "secret" not in str(status)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason, "tts.v1")
    request = error_details_pb2.RequestInfo()
    assert status.details[1].Unpack(request)
    assert request.request_id == "request-1"


def test_no_error_is_forgotten() -> None:
    tree = {
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, errors.ServiceError)
    }
    samples = {type(error) for error, _, _ in _SAMPLES}
    assert tree - {errors.ServiceError} == samples & tree
