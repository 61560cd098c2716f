"""How long calls and connections may last, and how much they may hold."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.audio_files import AudioFileKind, audio_file
from tests.contract.test_voices import upload_parts
from tests.human_speech import SAMPLE_RATE_HZ, speech
from tests.server_process import ServerProcess, running_server
from tests.speech import details_of, reason_of, refused, speak
from tests.waiting import rests, wait_until

_LONG = "This goes on for a good while, and nobody has to listen to all of it, " * 100
_SHORT = "Two seconds or so of a tone."


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A tone server that speaks in real time and gives little of everything."""
    environment = {
        "TTS_TONE__REAL_TIME_FACTOR": "1",
        "TTS_MAX_TEXT_CHARACTERS": str(len(_LONG)),
        "TTS_UPLOADS__STALL_LIMIT_S": "1",
        "TTS_UPLOADS__MAX_CONCURRENT": "1",
        "TTS_CONNECTIONS__CALL_LIMIT_S": "1.5",
        "TTS_CONNECTIONS__STREAMS_LIMIT": "2",
        "TTS_CONNECTIONS__HANDSHAKE_TIMEOUT_S": "1",
        "TTS_CONNECTIONS__MESSAGE_LIMIT_BYTES": str(1 << 20),
        "TTS_CONNECTIONS__METADATA_LIMIT_BYTES": "4096",
    }
    folder = tmp_path_factory.mktemp("limited")
    with running_server(folder, "--engine", "tone", environment=environment) as server:
        yield server


@pytest.fixture
def stub(limited: ServerProcess) -> Iterator[tts_pb2_grpc.TextToSpeechStub]:
    with limited.stub() as stub:
        yield stub


def _server(folder: Path, **connections: float) -> Any:
    environment = {f"TTS_CONNECTIONS__{name.upper()}": str(v) for name, v in connections.items()}
    environment["TTS_TONE__REAL_TIME_FACTOR"] = "1"
    return running_server(folder, "--engine", "tone", environment=environment)


def _peers(server: ServerProcess) -> set[Any]:
    """The other ends of its connections."""
    found = psutil.Process(server.process.pid).net_connections("tcp")
    return {each.raddr for each in found if each.status == psutil.CONN_ESTABLISHED}


@pytest.mark.parametrize("timeout_s", [None, 60])
def test_a_call_ends_at_the_servers_limit(
    limited: ServerProcess, stub: tts_pb2_grpc.TextToSpeechStub, timeout_s: float | None
) -> None:
    events: list[tts_pb2.SynthesizeResponse] = []
    began = time.monotonic()
    call = stub.Synthesize(tts_pb2.SynthesizeRequest(text=_LONG), timeout=timeout_s)
    error = refused(lambda: events.extend(call))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert reason_of(error) == "CALL_TOO_LONG"
    assert "1.5 s" in str(error.details())
    assert 1.4 < time.monotonic() - began < 10
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[:2] == ["header", "audio"]
    assert "summary" not in kinds
    (worker,) = limited.workers()
    assert wait_until(lambda: rests(worker))


def test_a_call_that_nobody_reads_ends_at_the_limit_too(
    limited: ServerProcess, stub: tts_pb2_grpc.TextToSpeechStub
) -> None:
    call = stub.Synthesize(
        tts_pb2.SynthesizeRequest(text=_LONG), metadata=(("x-request-id", "unread"),)
    )
    next(call)
    assert wait_until(lambda: '"request_id": "unread"' in limited.log, 10)
    (line,) = [line for line in limited.log.splitlines() if '"request_id": "unread"' in line]
    assert '"reason": "CALL_TOO_LONG"' in line
    call.cancel()


def test_a_shorter_deadline_stays_the_callers(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    request = tts_pb2.SynthesizeRequest(text=_LONG)
    error = refused(lambda: list(stub.Synthesize(request, timeout=0.5)))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "server's limit" not in str(error.details())


def test_unary_calls_have_the_limit_too(tmp_path: Path) -> None:
    """ListVoices waits for an engine that is starting, which takes a process."""
    environment = {"TTS_CONNECTIONS__CALL_LIMIT_S": "0.05"}
    with running_server(
        tmp_path, "--engine", "tone", environment=environment, wait=False
    ) as server:
        assert wait_until((tmp_path / "socket").exists, 20)
        with server.stub() as stub:
            request = tts_pb2.ListVoicesRequest()
            error = refused(lambda: stub.ListVoices(request, timeout=20, wait_for_ready=True))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert reason_of(error) == "CALL_TOO_LONG"


def test_further_calls_of_a_connection_wait_in_line(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    request = tts_pb2.SynthesizeRequest(text=_LONG)
    first, second = stub.Synthesize(request), stub.Synthesize(request)
    next(first)
    next(second)
    heard = threading.Event()

    def listen() -> None:
        with suppress(grpc.RpcError):
            next(third)
            heard.set()

    third = stub.Synthesize(request)
    thread = threading.Thread(target=listen)
    thread.start()
    assert not heard.wait(0.5)
    first.cancel()
    assert heard.wait(10)
    third.cancel()
    second.cancel()
    thread.join()


def test_connections_above_the_limit_are_closed(tmp_path: Path) -> None:
    """And none below it: twelve strangers and a caller want to be let in where eight are."""
    with (
        _server(tmp_path, limit=8, handshake_timeout_s=60) as server,
        server.stub() as stub,
        ExitStack() as opened,
    ):
        host, _, port = server.address.rpartition(":")
        speak(stub, text=_SHORT[:3])
        strangers = [
            opened.enter_context(socket.create_connection((host, int(port)))) for _ in range(12)
        ]
        for stranger in strangers:
            stranger.settimeout(0.3)
        assert wait_until(lambda: sum(map(_is_closed, strangers)) == 5)
        assert sum(map(_is_closed, strangers)) == 5
        speak(stub, text=_SHORT[:4])


def test_who_connects_and_says_nothing_is_sent_away(limited: ServerProcess) -> None:
    host, _, port = limited.address.rpartition(":")
    with socket.create_connection((host, int(port))) as stranger:
        stranger.settimeout(0.1)
        assert not _is_closed(stranger)
        assert wait_until(lambda: _is_closed(stranger), 10)


def _is_closed(connection: socket.socket) -> bool:
    """Whether the other end is; what it has sent is thrown away."""
    try:
        return connection.recv(1 << 16) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_a_message_has_a_limit(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    request = tts_pb2.SynthesizeRequest(text="x" * (1 << 21))
    error = refused(lambda: list(stub.Synthesize(request, timeout=20)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    speak(stub, text="Hm")


def test_a_request_that_is_no_upload_has_a_smaller_one(
    stub: tts_pb2_grpc.TextToSpeechStub,
) -> None:
    request = tts_pb2.SynthesizeRequest(text="Hm", voice="x" * (4 * len(_LONG) + (64 << 10)))
    error = refused(lambda: list(stub.Synthesize(request, timeout=20)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"larger than {4 * len(_LONG) + (64 << 10)} bytes" in str(error.details())


def test_metadata_has_a_limit(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    request = tts_pb2.SynthesizeRequest(text="Hm")
    error = refused(
        lambda: list(stub.Synthesize(request, timeout=20, metadata=(("x-much", "x" * 8192),)))
    )
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    speak(stub, text="Hm")


@pytest.mark.parametrize("part_count", [0, 1, 3])
def test_an_upload_that_stops_sending_is_ended(
    stub: tts_pb2_grpc.TextToSpeechStub, part_count: int
) -> None:
    """At whatever part, the first one as well."""
    recording = audio_file(AudioFileKind.WAV, speech().samples, SAMPLE_RATE_HZ)
    goes_on = threading.Event()

    def parts() -> Iterator[tts_pb2.UploadVoiceRequest]:
        for count, part in enumerate(upload_parts(recording, voice_id="stalled")):
            if count == part_count:
                goes_on.wait(20)
                return
            yield part

    error = refused(lambda: stub.UploadVoice(parts(), timeout=20))
    goes_on.set()
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert reason_of(error) == "UPLOAD_STALLED"
    # The place is free again.
    error = refused(lambda: stub.UploadVoice(iter([]), timeout=20))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_further_uploads_are_refused(tmp_path: Path) -> None:
    recording = audio_file(AudioFileKind.WAV, speech().samples, SAMPLE_RATE_HZ)
    goes_on = threading.Event()

    def parts() -> Iterator[tts_pb2.UploadVoiceRequest]:
        metadata, *data = upload_parts(recording, voice_id="first")
        yield metadata
        goes_on.wait(60)
        yield from data

    environment = {"TTS_UPLOADS__MAX_CONCURRENT": "1"}
    with (
        running_server(tmp_path, "--engine", "tone", environment=environment) as server,
        server.stub() as stub,
    ):
        first = stub.UploadVoice.future(parts(), timeout=60)

        def second() -> grpc.RpcError:
            return refused(lambda: stub.UploadVoice(iter([]), timeout=20))

        # Until the first one has arrived, an empty upload is a bad one.
        assert wait_until(lambda: reason_of(second()) == "TOO_MANY_UPLOADS")
        error = second()
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details_of(error)["RetryInfo"].retry_delay.ToMilliseconds() > 0
        goes_on.set()
        assert first.result().voice.id == "first"
        assert second().code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_upload_may_take_longer_than_a_call(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    recording = audio_file(AudioFileKind.WAV, speech().samples, SAMPLE_RATE_HZ)

    def slowly() -> Iterator[tts_pb2.UploadVoiceRequest]:
        for part in upload_parts(recording, voice_id="slow"):
            time.sleep(0.2)
            yield part

    began = time.monotonic()
    assert stub.UploadVoice(slowly(), timeout=30).voice.id == "slow"
    assert time.monotonic() - began > 1.5


def test_an_old_connection_is_left_and_its_calls_finish(tmp_path: Path) -> None:
    with _server(tmp_path, age_s=1, age_grace_s=60) as server, server.stub() as stub:
        whole = speak(stub, text=_SHORT * 2)
        assert whole.summary.audio_ms > 2000
        before = _peers(server)
        assert wait_until(lambda: not _peers(server) & before, 10)
        assert speak(stub, text="On a new one").frames


def test_a_call_beyond_the_grace_of_its_connection_is_cut(tmp_path: Path) -> None:
    with _server(tmp_path, age_s=0.5, age_grace_s=0.5) as server, server.stub() as stub:
        request = tts_pb2.SynthesizeRequest(text=_LONG[:5000])
        error = refused(lambda: list(stub.Synthesize(request, timeout=20)))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert speak(stub, text="Hm").frames


def test_an_idle_connection_is_ended(tmp_path: Path) -> None:
    with _server(tmp_path, idle_s=0.5) as server, server.stub() as stub:
        speak(stub, text=_SHORT)  # takes longer, and is not cut
        assert _peers(server)
        assert wait_until(lambda: not _peers(server), 10)
        speak(stub, text="Hm")


def test_zero_is_never(tmp_path: Path) -> None:
    with _server(tmp_path, age_s=0, idle_s=0) as server, server.stub() as stub:
        speak(stub, text="Hm")
        before = _peers(server)
        time.sleep(1)
        assert _peers(server) == before
