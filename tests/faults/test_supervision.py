"""What callers, other engines and the health service see of a worker that fails."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.server_process import ServerProcess, running_server
from tests.speech import details_of, speak
from tests.waiting import wait_until

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_TTS = "tts.v1.TextToSpeech"
_PIPER_VOICE = "en_US-joe-medium"
_PCM = tts_pb2.AudioFormat(encoding=tts_pb2.ENCODING_PCM_S16LE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Two engines, of which one does what a text says."""
    folder = tmp_path_factory.mktemp("supervised")
    _temporary(folder).mkdir()
    environment = {
        "TMPDIR": str(_temporary(folder)),
        "TTS_ENGINE_WAIT_S": "60",
        "TTS_TONE__MISBEHAVES": "true",
        "TTS_WORKER_PROGRESS_TIMEOUT_S": "2",
        "TTS_WORKER_RETRY_S": "2",
    }
    flags = ("--engine", "tone", "--engine", "piper")
    with running_server(folder, *flags, environment=environment, keeps_speech=True) as server:
        yield server


def _temporary(folder: Path) -> Path:
    """Where its workers' sockets lie. Without it none can be started."""
    return folder / "tmp"


@pytest.fixture
def stub(server: ServerProcess) -> Iterator[tts_pb2_grpc.TextToSpeechStub]:
    with server.stub() as stub:
        yield stub


def _tone(stub: tts_pb2_grpc.TextToSpeechStub, text: str) -> bytes:
    """Has the tones of a text made anew."""
    return speak(
        stub, text=text, voice="tone-low", format=_PCM, cache=tts_pb2.CACHE_MODE_BYPASS
    ).data


def _refusal(
    stub: tts_pb2_grpc.TextToSpeechStub, text: str, voice: str = "tone-low", timeout_s: float = 60
) -> tuple[grpc.StatusCode, str, int]:
    """Code, reason, and when to come back in milliseconds, 0 for not at all."""
    request = tts_pb2.SynthesizeRequest(text=text, voice=voice, format=_PCM)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Synthesize(request, timeout=timeout_s))
    details: dict[str, Any] = {**details_of(caught.value)}
    retry = details.get("RetryInfo")
    delay_ms = retry.retry_delay.ToMilliseconds() if retry else 0
    return caught.value.code(), details["ErrorInfo"].reason, delay_ms


def _health(server: ServerProcess) -> dict[str, int]:
    with grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return {
            service: stub.Check(health_pb2.HealthCheckRequest(service=service)).status
            for service in ("", _TTS, f"{_TTS}/tone", f"{_TTS}/piper")
        }


def _states(stub: tts_pb2_grpc.TextToSpeechStub) -> dict[str, str]:
    info = stub.GetServerInfo(tts_pb2.GetServerInfoRequest())
    return {
        engine.name: tts_pb2.EngineState.Name(engine.state).removeprefix("ENGINE_STATE_")
        for engine in info.engines
    }


def test_no_sound_is_no_answer_and_is_not_kept(
    server: ServerProcess, stub: tts_pb2_grpc.TextToSpeechStub
) -> None:
    before, worker = _tone(stub, "As ever"), server.worker("tone")
    for bad in "∅∞∅":
        text = f"This is {bad} not kept"
        code, reason, _ = _refusal(stub, text)
        assert (code, reason) == (grpc.StatusCode.INTERNAL, "RENDER_FAILED")
        with pytest.raises(grpc.RpcError) as caught:
            speak(stub, text=text, voice="tone-low", format=_PCM, cache=tts_pb2.CACHE_MODE_ONLY)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert wait_until(lambda: not worker.is_running(), 30)
    assert _tone(stub, "As ever") == before


def test_a_hung_call_ends_and_the_next_one_is_served(
    server: ServerProcess, stub: tts_pb2_grpc.TextToSpeechStub
) -> None:
    before, worker = _tone(stub, "As ever"), server.worker("tone")
    piper = server.worker("piper")
    code, reason, retry_ms = _refusal(stub, "Hang on ⏸ and on")
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "WORKER_LOST")
    assert retry_ms > 0
    assert _tone(stub, "As ever") == before
    assert not worker.is_running()
    speak(stub, text="I never noticed.", voice=_PIPER_VOICE)
    assert server.worker("piper") == piper


def test_a_text_that_ends_workers_is_refused_and_no_other_is(
    server: ServerProcess, stub: tts_pb2_grpc.TextToSpeechStub
) -> None:
    before = _tone(stub, "As ever")
    losses = server.log.count("worker starts again")
    code, reason, retry_ms = _refusal(stub, "☠ bang")
    assert (code, reason, retry_ms) == (grpc.StatusCode.UNAVAILABLE, "WORKERS_LOST", 0)
    refusals = [_refusal(stub, "☠ bang")[:2] for _ in range(10)]
    # The next may find the second worker dead and not replaced yet, which isn't the text's doing.
    assert refusals[0][1] in {"WORKERS_LOST", "TEXT_ENDS_WORKERS"}
    assert set(refusals[1:]) == {(grpc.StatusCode.FAILED_PRECONDITION, "TEXT_ENDS_WORKERS")}
    assert wait_until(lambda: server.log.count("worker starts again") - losses == 3, 10)
    assert _tone(stub, "As ever") == before
    assert _states(stub) == {"tone": "READY", "piper": "READY"}


def test_an_engine_that_fails_again_and_again_is_not_waited_for(
    server: ServerProcess, stub: tts_pb2_grpc.TextToSpeechStub
) -> None:
    before = _tone(stub, "As ever")
    assert set(_health(server).values()) == {_SERVING}
    temporary = _temporary(server.data_dir.parent)
    temporary.rename(temporary.with_name("gone"))
    server.worker("piper").kill()
    assert wait_until(lambda: _states(stub)["piper"] == "BROKEN", 30)
    assert _health(server) == {
        "": _SERVING,
        _TTS: _SERVING,
        f"{_TTS}/tone": _SERVING,
        f"{_TTS}/piper": _NOT_SERVING,
    }
    for _ in range(3):
        code, reason, retry_ms = _refusal(stub, "Anybody?", voice=_PIPER_VOICE, timeout_s=20)
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "ENGINE_BROKEN")
        assert retry_ms >= 1000
    assert _tone(stub, "As ever") == before

    server.worker("tone").kill()
    assert wait_until(lambda: _states(stub)["tone"] == "BROKEN", 30)
    assert set(_health(server).values()) == {_NOT_SERVING}

    temporary.mkdir()
    assert wait_until(lambda: _states(stub) == {"tone": "READY", "piper": "READY"}, 30)
    assert set(_health(server).values()) == {_SERVING}
    assert _tone(stub, "As ever") == before
    speak(stub, text="I am back.", voice=_PIPER_VOICE)
