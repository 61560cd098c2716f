"""A server that has no time for more: who is refused, what they are told, and who never is."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.contract.test_cache import is_kept
from tests.server_process import ServerProcess, running_server
from tests.speech import details_of, refused, speak
from tests.waiting import wait_until
from tts_client import Client, RetryPolicy

# In real time, so that a call holds its place until its reader has gone.
_LONG = "This goes on for a good while, and nobody has to listen to all of it, " * 20
_SLOTS = 2


@contextmanager
def _server(folder: Path, **settings: object) -> Iterator[ServerProcess]:
    environment = {"TTS_ADMISSION__SLOTS": str(_SLOTS), "TTS_ADMISSION__QUEUE_LIMIT": "0"}
    environment |= {f"TTS_{name.upper()}": str(value) for name, value in settings.items()}
    with running_server(
        folder, "--engine", "tone", environment=environment, keeps_speech=True
    ) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """Two places, nobody waits, tones in real time."""
    with _server(tmp_path, tone__real_time_factor=1) as server:
        yield server


@contextmanager
def _callers(stub: tts_pb2_grpc.TextToSpeechStub, count: int) -> Iterator[list[Any]]:
    """So many callers who are heard already, of different texts."""
    calls = [
        stub.Synthesize(tts_pb2.SynthesizeRequest(text=f"{number}. {_LONG}"))
        for number in range(count)
    ]
    try:
        for call in calls:
            assert next(call).WhichOneof("event") == "header"
        yield calls
    finally:
        for call in calls:
            call.cancel()


def _refusal(ask: Callable[[], object]) -> grpc.RpcError:
    error = refused(ask)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return error


def _pushback(error: Any) -> str:
    return str(dict(error.trailing_metadata())["grpc-retry-pushback-ms"])


def test_who_finds_no_place_is_told_when_to_come_again(server: ServerProcess) -> None:
    with server.stub() as stub, _callers(stub, _SLOTS):
        error = _refusal(lambda: speak(stub, text="One more"))
        details = details_of(error)
        assert details["ErrorInfo"].reason == "OVERLOADED"  # type: ignore[attr-defined]
        hint_ms = details["RetryInfo"].retry_delay.ToMilliseconds()  # type: ignore[attr-defined]
        assert hint_ms > 0
        assert _pushback(error) == str(hint_ms)
        assert "tone" in str(error)


def test_who_has_no_time_to_come_again_is_told_not_to(server: ServerProcess) -> None:
    with server.stub() as stub, _callers(stub, _SLOTS):
        request = tts_pb2.SynthesizeRequest(text="One more")
        error = _refusal(lambda: list(stub.Synthesize(request, timeout=0.5)))
        assert _pushback(error) == "-1"
        assert details_of(error)["RetryInfo"].retry_delay.ToMilliseconds() > 0  # type: ignore[attr-defined]


def test_what_needs_no_engine_is_never_refused(server: ServerProcess) -> None:
    with server.stub() as stub:
        kept = speak(stub, text="Known").data
        # Its segment is written behind.
        assert wait_until(lambda: is_kept(stub, text="Known", encoding="PCM_S16LE"))
        with _callers(stub, _SLOTS), grpc.insecure_channel(server.address) as channel:
            _refusal(lambda: speak(stub, text="Unknown"))
            hit = speak(stub, text="Known")
            assert hit.header.cache_status == tts_pb2.CACHE_STATUS_HIT
            assert hit.data == kept
            # Another format of kept speech is encoded anew, and no engine is asked.
            assert speak(stub, text="Known", encoding="PCM_S16LE").data
            joined = stub.Synthesize(tts_pb2.SynthesizeRequest(text=f"0. {_LONG}"))
            assert next(joined).header.cache_status == tts_pb2.CACHE_STATUS_JOINED
            joined.cancel()
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert health.status == health_pb2.HealthCheckResponse.SERVING
            assert stub.GetServerInfo(tts_pb2.GetServerInfoRequest()).engines
            assert stub.ListVoices(tts_pb2.ListVoicesRequest()).voices


def test_who_comes_again_with_its_id_goes_before_newcomers(server: ServerProcess) -> None:
    request = tts_pb2.SynthesizeRequest(text="Told to come again")

    def ask(request_id: str) -> list[tts_pb2.SynthesizeResponse]:
        return list(stub.Synthesize(request, metadata=[("x-request-id", request_id)]))

    with server.stub() as stub, _callers(stub, _SLOTS):
        error = _refusal(lambda: ask("mine"))
        time.sleep(int(_pushback(error)) / 1000)
        _refusal(lambda: ask("newcomer"))
        assert ask("mine")[-1].WhichOneof("event") == "summary"


def test_places_are_free_again_when_callers_leave(server: ServerProcess) -> None:
    with server.stub() as stub:
        for _ in range(5):
            with _callers(stub, _SLOTS):
                _refusal(lambda: speak(stub, text="One more"))
            assert _eventually(lambda: speak(stub, text="Back", cache="CACHE_MODE_BYPASS"))


def _eventually(ask: Callable[[], object]) -> bool:
    """Whether it is let in within a moment: a caller's leaving has to arrive first."""
    end_s = time.monotonic() + 5
    while time.monotonic() < end_s:
        try:
            ask()
            return True
        except grpc.RpcError:
            time.sleep(0.05)
    return False


def test_who_waits_for_its_listener_holds_no_place(tmp_path: Path) -> None:
    """As many listeners as one likes hear what is ahead of them, and the engine has time."""
    with _server(tmp_path) as server, server.stub() as stub:
        calls = [
            stub.Synthesize(tts_pb2.SynthesizeRequest(text=f"{number}. {_LONG * 7}"))
            for number in range(_SLOTS)
        ]
        for call in calls:
            next(call)  # and no more
        assert _eventually(lambda: speak(stub, text="There is time"))
        for call in calls:
            call.cancel()


def test_what_is_rendered_holds_no_place_however_slowly_it_is_read(tmp_path: Path) -> None:
    # As PCM far more than a caller's window takes, and less than is rendered ahead.
    text = "Four seconds and a half of tones, said to somebody who does not listen yet."
    pcm = tts_pb2.AudioFormat(encoding=tts_pb2.ENCODING_PCM_S16LE)
    options = (("grpc.http2.lookahead_bytes", 1 << 14), ("grpc.http2.bdp_probe", 0))
    calls: list[Any] = []
    with (
        _server(tmp_path) as server,
        server.stub() as stub,
        grpc.insecure_channel(server.address, options=options) as channel,
    ):
        slow = tts_pb2_grpc.TextToSpeechStub(channel)

        def begin() -> None:
            request = tts_pb2.SynthesizeRequest(text=f"{len(calls)}. {text}", format=pcm)
            call = slow.Synthesize(request)
            next(call)
            calls.append(call)

        for _ in range(2 * _SLOTS):
            assert _eventually(begin)
        assert _eventually(lambda: speak(stub, text="There is time"))
        for call in calls:
            assert [event.WhichOneof("event") for event in call][-1] == "summary"


def test_a_crowd_waits_in_line_and_hears_what_it_would_alone(tmp_path: Path) -> None:
    settings = {"admission__queue_limit": 64, "admission__wait_limit_s": 30}
    texts = [f"Caller number {number} of the crowd" for number in range(24)]
    with _server(tmp_path, **settings) as server, server.stub() as stub:
        speak(stub, text="So that it is known how long a call takes")
        with ThreadPoolExecutor(len(texts)) as pool:
            heard = list(pool.map(lambda text: speak(stub, text=text).data, texts))
        assert heard == [speak(stub, text=text, cache="CACHE_MODE_BYPASS").data for text in texts]


def test_the_client_comes_again_by_itself(tmp_path: Path) -> None:
    texts = [f"Caller number {number} comes again" for number in range(12)]
    with (
        _server(tmp_path, tone__real_time_factor=0.2) as server,
        Client(server.address, retry=RetryPolicy(max_attempts=5)) as client,
        server.stub() as stub,
    ):
        speak(stub, text="So that it is known how long a call takes")
        with ThreadPoolExecutor(len(texts)) as pool:
            heard = list(pool.map(lambda text: client.synthesize(text).read(), texts))
        assert server.times_logged("OVERLOADED") > 0
        for text, data in zip(texts, heard, strict=True):
            assert data == speak(stub, text=text).data


def test_characters_have_a_quota(tmp_path: Path) -> None:
    with _server(tmp_path, quotas__characters_per_minute=40) as server, server.stub() as stub:
        speak(stub, text="Thirty characters, near enough")
        error = _refusal(lambda: speak(stub, text="Thirty more, that's too many.."))
        assert details_of(error)["ErrorInfo"].reason == "QUOTA_CHARACTERS"  # type: ignore[attr-defined]
        assert 10_000 < int(_pushback(error)) <= 40_000
        speak(stub, text="Thirty characters, near enough")  # what is kept is free


def test_streams_have_a_quota(tmp_path: Path) -> None:
    settings = {"quotas__concurrent_streams": 1, "tone__real_time_factor": 1}
    with _server(tmp_path, **settings) as server, server.stub() as stub:
        with _callers(stub, 1):
            error = _refusal(lambda: speak(stub, text="A second one"))
            assert details_of(error)["ErrorInfo"].reason == "QUOTA_STREAMS"  # type: ignore[attr-defined]
        assert _eventually(lambda: speak(stub, text="Alone"))


def test_uploads_have_a_quota(tmp_path: Path) -> None:
    """Each attempt counts: it is the work that is bounded."""
    empty = tts_pb2.UploadVoiceRequest(data=b"of no recording")
    with _server(tmp_path, quotas__uploads_per_hour=1) as server, server.stub() as stub:
        with pytest.raises(grpc.RpcError) as caught:
            stub.UploadVoice(iter([empty]))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        error = _refusal(lambda: stub.UploadVoice(iter([empty])))
        assert details_of(error)["ErrorInfo"].reason == "QUOTA_UPLOADS"  # type: ignore[attr-defined]
