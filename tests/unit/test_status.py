"""Every error of the tree becomes a status with a reason, and strangers' texts stay inside."""

import inspect

import pytest
from google.rpc import code_pb2, error_details_pb2

from tts_service import errors
from tts_service.api.status import to_status

_SAMPLES: list[tuple[Exception, int, str]] = [
    (
        errors.InvalidRequest(errors.Violation("text", "is empty")),
        code_pb2.INVALID_ARGUMENT,
        "INVALID_REQUEST",
    ),
    (errors.VoiceNotFound("x"), code_pb2.NOT_FOUND, "VOICE_NOT_FOUND"),
    (
        errors.EngineUnavailable("piper", "is starting", reason="ENGINE_STARTING"),
        code_pb2.UNAVAILABLE,
        "ENGINE_STARTING",
    ),
    (errors.DeadlinePassed(), code_pb2.DEADLINE_EXCEEDED, "DEADLINE_PASSED"),
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
    assert tree - {errors.ServiceError} == {type(error) for error, _, _ in _SAMPLES} - {
        RuntimeError
    }
