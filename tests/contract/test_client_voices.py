"""Both clients uploading and deleting voices, with servers that take them, refuse, or fail."""

import asyncio
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, ResourceInfo, RetryInfo

from protos.tts.v1 import tts_pb2 as pb
from tests.contract.client_command import wait_for
from tests.contract.client_faces import FACES, Face
from tests.contract.client_server import ReceivedUpload, ScriptedServer, fail, stored_voice
from tts_client import (
    AlreadyExists,
    AsyncClient,
    Cancelled,
    Client,
    Consent,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Overloaded,
    RetryPolicy,
    TtsError,
    Unavailable,
    VoiceOrigin,
)

QUICK = RetryPolicy(initial_backoff_ms=10, max_backoff_ms=20)
MIB = 1024 * 1024
ZOE = {"name": "Zoe", "language": "en-GB"}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest, server: ScriptedServer) -> Face:
    return FACES[request.param](server.address, retry=QUICK)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """3 MiB: more than gRPC's own retries can hold."""
    path = tmp_path / "zoe.wav"
    path.write_bytes(os.urandom(3 * MIB))
    return path


def test_the_recordings_arrive_and_the_voice_comes_back(
    server: ScriptedServer, face: Face, recording: Path, tmp_path: Path
) -> None:
    (tmp_path / "glad.mp3").write_bytes(b"glad")
    consent = Consent("Zoe Lee", "May speak.", "Ann Ray", datetime(2026, 1, 2, tzinfo=UTC))

    uploaded = face.upload_voice(
        {"": recording, "cheerful": [tmp_path / "glad.mp3"]},
        **ZOE,
        voice_id="zoe",
        consent=consent,
        request_id="order-66",
    )

    (upload,) = server.uploads
    assert upload.headers["x-request-id"] == upload.metadata.request_id == "order-66"
    assert (upload.metadata.display_name, upload.metadata.language) == ("Zoe", "en-GB")
    assert (upload.metadata.voice_id, upload.metadata.consent.person) == ("zoe", "Zoe Lee")
    assert upload.metadata.consent.consent_time.ToJsonString() == "2026-01-02T00:00:00Z"
    assert upload.recordings == [("", recording.read_bytes()), ("cheerful", b"glad")]
    assert max(upload.piece_sizes) <= MIB
    voice = uploaded.voice
    assert not uploaded.already_stored
    assert (voice.id, voice.styles, voice.origin) == (
        "zoe",
        ("cheerful", "neutral"),
        VoiceOrigin.UPLOADED,
    )
    assert voice.create_time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert [report.style for report in voice.quality] == ["cheerful", "neutral"]
    assert voice.quality[0].signal_to_noise_db == pytest.approx(28.4)
    assert voice.quality[0].warnings[0].code == "BACKGROUND_NOISE"
    assert face.voice("zoe") == voice


def test_progress_goes_from_nothing_to_all(face: Face, recording: Path) -> None:
    seen: list[tuple[int, int]] = []

    face.upload_voice(recording, **ZOE, on_progress=lambda *now: seen.append(now))

    assert seen[0] == (0, 3 * MIB)
    assert seen[-1] == (3 * MIB, 3 * MIB)
    assert seen == sorted(seen)
    assert len(seen) > 10


def test_unavailable_twice_and_then_a_voice(
    server: ScriptedServer, face: Face, recording: Path
) -> None:
    def script(upload: ReceivedUpload, context: Any) -> Any:
        upload.read_all()
        if len(server.uploads) <= 2:
            fail(context, grpc.StatusCode.UNAVAILABLE, "not yet")
        return stored_voice(upload, context)

    server.upload_script = script
    seen: list[int] = []

    face.upload_voice(recording, **ZOE, on_progress=lambda sent, _total: seen.append(sent))

    assert len(server.uploads) == 3
    assert len({upload.metadata.request_id for upload in server.uploads}) == 1
    assert server.uploads[0].metadata.request_id
    assert all(u.recordings == server.uploads[0].recordings for u in server.uploads)
    assert sum(now < before for before, now in itertools.pairwise(seen)) == 2


def test_each_upload_has_a_request_id_of_its_own(
    server: ScriptedServer, face: Face, recording: Path
) -> None:
    face.upload_voice(recording, **ZOE)
    face.upload_voice(recording, **ZOE)

    first, second = (upload.metadata.request_id for upload in server.uploads)
    assert first != second


@pytest.mark.parametrize("size", [10, 3 * MIB], ids=["small", "large"])
def test_the_attempts_are_those_of_the_policy_and_no_more(
    server: ScriptedServer, face: Face, recording: Path, size: int
) -> None:
    # A small upload is one that gRPC itself could send again, on top of ours.
    recording.write_bytes(b"x" * size)

    def script(upload: ReceivedUpload, context: Any) -> Any:
        fail(context, grpc.StatusCode.UNAVAILABLE, "not yet", ErrorInfo(reason="ENGINE_STARTING"))

    server.upload_script = script
    with pytest.raises(Unavailable, match="not yet") as caught:
        face.upload_voice(recording, **ZOE)

    assert len(server.uploads) == QUICK.max_attempts
    assert caught.value.reason == "ENGINE_STARTING"


@pytest.mark.parametrize("how", ["RetryInfo", "pushback"])
def test_the_server_sets_the_wait(
    server: ScriptedServer, face: Face, recording: Path, how: str
) -> None:
    delay = RetryInfo(retry_delay=Duration(nanos=400_000_000))
    at: list[float] = []

    def script(upload: ReceivedUpload, context: Any) -> Any:
        at.append(time.monotonic())
        if len(at) == 1:
            said = (delay,) if how == "RetryInfo" else ()
            pushback = 400 if how == "pushback" else None
            fail(context, grpc.StatusCode.UNAVAILABLE, "later", *said, pushback_ms=pushback)
        return stored_voice(upload, context)

    server.upload_script = script
    face.upload_voice(recording, **ZOE)

    assert at[1] - at[0] >= 0.4


def test_a_negative_pushback_forbids_the_retry(
    server: ScriptedServer, face: Face, recording: Path
) -> None:
    server.upload_script = lambda _upload, context: fail(
        context, grpc.StatusCode.UNAVAILABLE, "never", pushback_ms=-1
    )
    with pytest.raises(Unavailable, match="never"):
        face.upload_voice(recording, **ZOE)

    assert len(server.uploads) == 1


def test_a_wait_beyond_the_deadline_is_not_begun(
    server: ScriptedServer, face: Face, recording: Path
) -> None:
    delay = RetryInfo(retry_delay=Duration(seconds=60))
    server.upload_script = lambda _upload, context: fail(
        context, grpc.StatusCode.UNAVAILABLE, "in a minute", delay
    )
    begun = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        face.upload_voice(recording, **ZOE, timeout_s=10)

    assert caught.value.retry_after_s == 60
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("code", "details", "error", "attributes"),
    [
        (
            grpc.StatusCode.ALREADY_EXISTS,
            [ResourceInfo(resource_type="tts.v1.Voice", resource_name="zoe")],
            AlreadyExists,
            {"resource_type": "tts.v1.Voice", "resource_name": "zoe"},
        ),
        (
            grpc.StatusCode.INVALID_ARGUMENT,
            [ErrorInfo(reason="TOO_SHORT")],
            InvalidArgument,
            {"reason": "TOO_SHORT", "violations": ()},
        ),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            [ErrorInfo(reason="STORAGE_FULL")],
            Overloaded,
            {"reason": "STORAGE_FULL", "retry_after_s": None},
        ),
    ],
    ids=["taken", "too short", "disk full"],
)
def test_refusals_keep_what_the_server_says_and_are_not_repeated(
    server: ScriptedServer,
    face: Face,
    recording: Path,
    code: grpc.StatusCode,
    details: list[Any],
    error: type[TtsError],
    attributes: dict[str, object],
) -> None:
    def script(upload: ReceivedUpload, context: Any) -> Any:
        upload.read_all()
        fail(context, code, "as told", *details)

    server.upload_script = script
    with pytest.raises(error, match="as told") as caught:
        face.upload_voice(recording, **ZOE, request_id="r1")

    assert len(server.uploads) == 1
    assert caught.value.request_id == "r1"
    assert {name: getattr(caught.value, name) for name in attributes} == attributes


def test_a_server_that_has_the_voice_already_may_answer_before_the_end(
    server: ScriptedServer, face: Face, tmp_path: Path
) -> None:
    path = tmp_path / "huge.wav"
    with path.open("wb") as file:
        file.truncate(2_000 * MIB)

    def script(upload: ReceivedUpload, context: Any) -> Any:
        upload.read()
        return pb.UploadVoiceResponse(voice=pb.Voice(id="zoe"), already_stored=True)

    server.upload_script = script
    for _ in range(10):
        uploaded = face.upload_voice(path, **ZOE, request_id="r1")
        assert (uploaded.voice.id, uploaded.already_stored) == ("zoe", True)


@pytest.mark.parametrize("taken", [1, 3, 20])
def test_an_early_refusal_stops_the_sending_at_once(
    server: ScriptedServer, face: Face, tmp_path: Path, taken: int
) -> None:
    path = tmp_path / "huge.wav"
    with path.open("wb") as file:
        file.truncate(2_000 * MIB)

    def script(upload: ReceivedUpload, context: Any) -> Any:
        for _ in range(taken):
            upload.read()
        fail(context, grpc.StatusCode.INVALID_ARGUMENT, "too much", ErrorInfo(reason="TOO_LARGE"))

    server.upload_script = script
    for _ in range(10):
        seen: list[int] = []
        with pytest.raises(InvalidArgument, match="too much") as caught:
            face.upload_voice(path, **ZOE, on_progress=lambda sent, _total: seen.append(sent))  # noqa: B023
        assert caught.value.reason == "TOO_LARGE"
        assert seen[-1] < 50 * MIB


def test_no_more_is_read_than_the_server_takes(
    server: ScriptedServer, face: Face, tmp_path: Path
) -> None:
    path = tmp_path / "huge.wav"
    with path.open("wb") as file:
        file.truncate(2_000 * MIB)
    seen: list[int] = []

    def script(upload: ReceivedUpload, context: Any) -> Any:
        upload.read()
        wait_for(lambda: seen)
        before = -1
        while seen[-1] != before:
            before = seen[-1]
            time.sleep(0.3)
        fail(context, grpc.StatusCode.FAILED_PRECONDITION, "stalled")

    server.upload_script = script
    with pytest.raises(FailedPrecondition, match="stalled"):
        face.upload_voice(path, **ZOE, on_progress=lambda sent, _total: seen.append(sent))

    assert seen[-1] < 20 * MIB


@pytest.mark.parametrize("name", ["none.wav", "."])
def test_a_file_that_cannot_be_read_is_told_before_any_call(
    server: ScriptedServer, face: Face, recording: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(OSError, match=r"No such file|Is a directory"):
        face.upload_voice([recording, tmp_path / name], **ZOE)

    assert server.uploads == []


def test_a_file_that_goes_missing_under_way_never_makes_half_a_voice(
    server: ScriptedServer, face: Face, recording: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second.wav"
    second.write_bytes(b"x")
    whole: list[bool] = []

    def script(upload: ReceivedUpload, context: Any) -> Any:
        upload.read()
        second.unlink(missing_ok=True)
        upload.read_all()
        # grpc's threaded server may take a cancellation for the end for a moment.
        if not upload.ended.wait(0.5):
            whole.append(True)
        return stored_voice(upload, context)

    server.upload_script = script
    with pytest.raises(FileNotFoundError):
        face.upload_voice([recording, second], **ZOE)

    assert server.uploads[0].ended.wait(5)
    assert whole == []


def test_what_on_progress_raises_ends_the_synchronous_upload(
    server: ScriptedServer, recording: Path
) -> None:
    whole: list[bool] = []

    def script(upload: ReceivedUpload, context: Any) -> Any:
        upload.read_all()
        # grpc's threaded server may take a cancellation for the end for a moment.
        if not upload.ended.wait(0.5):
            whole.append(True)
        return stored_voice(upload, context)

    def stop(sent_bytes: int, _total_bytes: int) -> None:
        if sent_bytes:
            # A caller that leaves before the server listened leaves no trace there.
            wait_for(lambda: server.uploads)
            raise RuntimeError("enough")

    server.upload_script = script
    with Client(server.address) as client, pytest.raises(RuntimeError, match="enough"):
        client.upload_voice(recording, **ZOE, on_progress=stop)

    assert server.uploads[0].ended.wait(5)
    assert whole == []


def held(upload: ReceivedUpload, context: Any) -> Any:
    """Takes everything and keeps the caller waiting until it leaves."""
    upload.read_all()
    upload.ended.wait(10)
    return stored_voice(upload, context)


def test_the_deadline_covers_the_upload(
    server: ScriptedServer, face: Face, recording: Path
) -> None:
    server.upload_script = held
    with pytest.raises(DeadlineExceeded):
        face.upload_voice(recording, **ZOE, timeout_s=0.5)


@pytest.mark.parametrize("waiting_for", ["the server", "the next attempt"])
def test_closing_the_client_ends_an_upload(
    server: ScriptedServer, recording: Path, waiting_for: str
) -> None:
    scripted(server, waiting_for)
    client = Client(server.address)

    def close() -> None:
        wait_for(lambda: server.uploads)
        time.sleep(0.3)  # into the wait, whichever it is
        client.close()

    closer = threading.Thread(target=close)
    closer.start()
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        client.upload_voice(recording, **ZOE)
    closer.join()

    assert time.monotonic() - begun < 5
    assert len(server.uploads) == 1


@pytest.mark.parametrize("waiting_for", ["the server", "the next attempt"])
def test_closing_the_asynchronous_client_ends_an_upload(
    server: ScriptedServer, recording: Path, waiting_for: str
) -> None:
    scripted(server, waiting_for)

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            upload = asyncio.create_task(client.upload_voice(recording, **ZOE))
            await asyncio.to_thread(wait_for, lambda: server.uploads)
            await asyncio.sleep(0.3)  # into the wait, whichever it is
        with pytest.raises(Cancelled):
            await upload

    begun = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - begun < 5
    assert len(server.uploads) == 1


def scripted(server: ScriptedServer, waiting_for: str) -> None:
    delay = RetryInfo(retry_delay=Duration(seconds=60))
    server.upload_script = (
        held
        if waiting_for == "the server"
        else lambda _upload, context: fail(context, grpc.StatusCode.UNAVAILABLE, "no", delay)
    )


def test_cancelling_the_task_ends_the_upload_and_its_thread(
    server: ScriptedServer, recording: Path
) -> None:
    server.upload_script = held

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            upload = asyncio.create_task(client.upload_voice(recording, **ZOE))
            await asyncio.to_thread(wait_for, lambda: server.uploads)
            upload.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upload
            assert [voice.id async for voice in client.voices()], "the client goes on"

    asyncio.run(main())
    assert server.uploads[0].ended.wait(5)
    wait_for(lambda: not uploading_threads())


def test_the_loop_goes_on_during_an_upload_and_uploads_run_side_by_side(
    server: ScriptedServer, recording: Path
) -> None:
    together = threading.Barrier(4, timeout=10)

    def script(upload: ReceivedUpload, context: Any) -> Any:
        together.wait()
        return stored_voice(upload, context)

    server.upload_script = script

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            uploads = asyncio.gather(*(client.upload_voice(recording, **ZOE) for _ in range(3)))
            # None is answered before all three have come and this loop, too, is there.
            await asyncio.to_thread(wait_for, lambda: together.n_waiting == 3)
            together.wait()
            await uploads

    asyncio.run(main())
    assert len(server.uploads) == 3
    wait_for(lambda: not uploading_threads())


def uploading_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("tts-upload")]


def test_no_server_is_unavailable_after_the_attempts(
    face: Face, recording: Path, request: pytest.FixtureRequest
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        nobody = FACES[request.node.callspec.params["face"]](address, retry=QUICK)
        with pytest.raises(Unavailable) as caught:
            nobody.upload_voice(recording, **ZOE)

    assert caught.value.reason == ""


def test_deleting_a_voice(server: ScriptedServer, face: Face, recording: Path) -> None:
    face.upload_voice(recording, **ZOE, voice_id="zoe")

    face.delete_voice("zoe")

    assert server.deleted == ["zoe"]
    with pytest.raises(NotFound):
        face.delete_voice("zoe")
    with pytest.raises(FailedPrecondition, match="the engine's"):
        face.delete_voice("ada")


def test_the_style_is_asked_for_and_the_limits_are_told(server: ScriptedServer, face: Face) -> None:
    face.speak("Hello", voice="zoe", style="cheerful")

    assert server.calls[0].request.style == "cheerful"
    limits = face.server_info().limits
    assert (limits.max_upload_bytes, limits.consent_required) == (50_000_000, True)


@pytest.mark.parametrize("make", FACES.values(), ids=FACES)
def test_one_attempt_means_no_retry(
    server: ScriptedServer, recording: Path, make: Callable[..., Face]
) -> None:
    server.upload_script = lambda _upload, context: fail(context, grpc.StatusCode.UNAVAILABLE, "no")
    with pytest.raises(Unavailable):
        make(server.address, retry=RetryPolicy(max_attempts=1)).upload_voice(recording, **ZOE)

    assert len(server.uploads) == 1
