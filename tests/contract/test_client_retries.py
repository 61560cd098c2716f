"""gRPC's own retries, as the clients set them up: when they happen, and when they must not."""

import time
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

from tests.contract.client_faces import FACES, Face
from tests.contract.client_server import (
    ScriptedServer,
    audio_event,
    fail,
    header_event,
    whole_stream,
)
from tts_client import Overloaded, RetryPolicy, Unavailable

QUICK = RetryPolicy(initial_backoff_ms=10, max_backoff_ms=20)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> Callable[..., Face]:
    return FACES[request.param]


def fails_first(
    server: ScriptedServer,
    times: int,
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
    pushback_ms: int | None = None,
) -> None:
    """Makes the server fail `times` attempts and speak after that."""

    def script(call, context):
        if len(server.calls) <= times:
            info = ErrorInfo(reason="ENGINE_STARTING", domain="tts.v1")
            wait = RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000))
            fail(context, code, "not yet", info, wait, pushback_ms=pushback_ms)
        return whole_stream([b"one"])

    server.script = script


def test_unavailable_twice_and_then_speech(
    server: ScriptedServer, face: Callable[..., Face]
) -> None:
    fails_first(server, 2)

    spoken = face(server.address, retry=QUICK).speak("Hello")

    assert [frame.data for frame in spoken.frames] == [b"one"]
    assert len(server.calls) == 3
    assert len({call.metadata["x-request-id"] for call in server.calls}) == 1


def test_the_attempts_are_bounded(server: ScriptedServer, face: Callable[..., Face]) -> None:
    fails_first(server, 100)

    with pytest.raises(Unavailable) as caught:
        face(server.address, retry=QUICK).speak("Hello")

    assert len(server.calls) == QUICK.max_attempts
    assert caught.value.reason == "ENGINE_STARTING"
    assert caught.value.retry_after_s == 1.5


def test_one_attempt_means_no_retry(server: ScriptedServer, face: Callable[..., Face]) -> None:
    fails_first(server, 1)

    with pytest.raises(Unavailable):
        face(server.address, retry=RetryPolicy(max_attempts=1)).speak("Hello")

    assert len(server.calls) == 1


def test_the_servers_pushback_sets_the_wait(
    server: ScriptedServer, face: Callable[..., Face]
) -> None:
    fails_first(server, 1, pushback_ms=400)
    begun = time.monotonic()

    face(server.address, retry=QUICK).speak("Hello")

    assert len(server.calls) == 2
    assert time.monotonic() - begun >= 0.4


def test_a_negative_pushback_forbids_the_retry(
    server: ScriptedServer, face: Callable[..., Face]
) -> None:
    fails_first(server, 1, pushback_ms=-1)

    with pytest.raises(Unavailable):
        face(server.address, retry=QUICK).speak("Hello")

    assert len(server.calls) == 1


def test_overload_is_retried_when_the_server_says_so(
    server: ScriptedServer, face: Callable[..., Face]
) -> None:
    fails_first(server, 1, grpc.StatusCode.RESOURCE_EXHAUSTED, pushback_ms=400)
    begun = time.monotonic()

    face(server.address, retry=QUICK).speak("Hello")

    assert len(server.calls) == 2
    assert time.monotonic() - begun >= 0.4


@pytest.mark.parametrize(("pushback_ms", "attempts"), [(10, QUICK.max_attempts), (-1, 1)])
def test_overload_that_lasts_is_told(
    server: ScriptedServer, face: Callable[..., Face], pushback_ms: int, attempts: int
) -> None:
    fails_first(server, 100, grpc.StatusCode.RESOURCE_EXHAUSTED, pushback_ms=pushback_ms)

    with pytest.raises(Overloaded) as caught:
        face(server.address, retry=QUICK).speak("Hello")

    assert len(server.calls) == attempts
    assert caught.value.retry_after_s == 1.5


@pytest.mark.parametrize("events", [[header_event()], [header_event(), audio_event(0, b"x")]])
def test_nothing_is_spoken_twice_once_a_header_has_come(
    server: ScriptedServer, face: Callable[..., Face], events: list[object]
) -> None:
    def script(call, context):
        yield from events
        fail(context, grpc.StatusCode.UNAVAILABLE, "the worker ended", pushback_ms=10)

    server.script = script
    with pytest.raises(Unavailable):
        face(server.address, retry=QUICK).speak("Hello")

    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": 6},
        {"initial_backoff_ms": 0},
        {"initial_backoff_ms": 6_000},
        {"backoff_multiplier": 0.5},
        {"backoff_multiplier": float("nan")},
    ],
)
def test_a_policy_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetryPolicy(**wrong)
