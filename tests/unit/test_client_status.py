"""Every gRPC status, with and without `google.rpc` details, as an error of the client."""

from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2

from tts_client import (
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
from tts_client.status import to_tts_error

MAPPED = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
}


def rpc_error(code: grpc.StatusCode, *details: Any, status_code: int | None = None) -> Any:
    """What a call raises that ended with `code` and these details."""
    status = status_pb2.Status(code=status_code or code.value[0], message="it is so")
    for detail in details:
        status.details.add().Pack(detail)
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details="it is so")


@pytest.mark.parametrize(
    "code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK], ids=lambda c: c.name
)
def test_every_status_has_its_error(code: grpc.StatusCode) -> None:
    info = details_pb.ErrorInfo(reason="BECAUSE", domain="tts.v1")

    error = to_tts_error(rpc_error(code, info), "r1")

    assert type(error) is MAPPED.get(code, ServerError)
    assert (error.reason, error.request_id) == ("BECAUSE", "r1")
    assert "it is so" in error.message
    assert str(error) == error.message


@pytest.mark.parametrize("trailers", [None, grpc.aio.Metadata()])
def test_a_status_without_details_is_mapped_too(trailers: grpc.aio.Metadata | None) -> None:
    bare = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), trailers)
    error = to_tts_error(bare, "r1")
    assert isinstance(error, Unavailable)
    assert (error.message, error.reason, error.retry_after_s) == ("UNAVAILABLE", "", None)


def test_bad_request_names_the_fields() -> None:
    bad = details_pb.BadRequest()
    bad.field_violations.add(field="text", description="must not be empty")
    bad.field_violations.add(field="prosody.speed", description="must be 0.5 to 2.0")

    error = to_tts_error(rpc_error(grpc.StatusCode.INVALID_ARGUMENT, bad))

    assert isinstance(error, InvalidArgument)
    assert error.violations == (
        FieldViolation("text", "must not be empty"),
        FieldViolation("prosody.speed", "must be 0.5 to 2.0"),
    )


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS], ids=lambda c: c.name
)
def test_resource_info_names_what_is_not_there_or_already(code: grpc.StatusCode) -> None:
    resource = details_pb.ResourceInfo(resource_type="tts.v1.Voice", resource_name="zoe")
    error = to_tts_error(rpc_error(code, resource))
    assert isinstance(error, NotFound | AlreadyExists)
    assert (error.resource_type, error.resource_name) == ("tts.v1.Voice", "zoe")


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (grpc.StatusCode.NOT_FOUND, "NOT_CACHED", NotCached),
        (grpc.StatusCode.NOT_FOUND, "VOICE_NOT_FOUND", NotFound),
        (grpc.StatusCode.NOT_FOUND, "", NotFound),
        (grpc.StatusCode.INTERNAL, "NOT_CACHED", ServerError),
    ],
)
def test_speech_that_is_not_kept_is_not_taken_for_a_voice_that_does_not_exist(
    code: grpc.StatusCode, reason: str, kind: type[TtsError]
) -> None:
    error = to_tts_error(rpc_error(code, details_pb.ErrorInfo(reason=reason)), "r1")
    assert type(error) is kind
    assert not issubclass(NotCached, NotFound)
    assert (error.reason, error.request_id) == (reason, "r1")


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED], ids=lambda c: c.name
)
def test_retry_info_says_when(code: grpc.StatusCode) -> None:
    retry = details_pb.RetryInfo(retry_delay=Duration(seconds=2, nanos=250_000_000))
    error = to_tts_error(rpc_error(code, retry))
    assert isinstance(error, Unavailable | Overloaded)
    assert error.retry_after_s == 2.25


def test_the_servers_request_id_goes_before_the_clients() -> None:
    info = details_pb.RequestInfo(request_id="theirs")
    error = to_tts_error(rpc_error(grpc.StatusCode.INTERNAL, info), "mine")
    assert error.request_id == "theirs"


def test_details_that_contradict_their_status_are_not_believed() -> None:
    info = details_pb.ErrorInfo(reason="BECAUSE")
    error = to_tts_error(rpc_error(grpc.StatusCode.INTERNAL, info, status_code=5), "r1")
    assert type(error) is ServerError
    assert (error.reason, error.message) == ("", "INTERNAL: it is so")


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x1a\x02\x0a"])
def test_details_that_cannot_be_read_do_no_harm(garbage: bytes) -> None:
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", garbage))
    bare = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), trailers, "broke")
    assert to_tts_error(bare).message == "INTERNAL: broke"


def test_a_detail_with_a_damaged_body_is_passed_over() -> None:
    status = status_pb2.Status(code=5, message="it is so")
    detail = status.details.add()
    detail.Pack(details_pb.ResourceInfo(resource_name="zoe"))
    detail.value = b"\xff\xff"
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    error = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, None, trailers, "it is so")

    mapped = to_tts_error(error)

    assert isinstance(mapped, TtsError)
    assert isinstance(mapped, NotFound)
    assert mapped.resource_name == ""
