"""Workers that die, fronts that die, callers that leave."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psutil
import pytest

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.audio_files import AudioFileKind, audio_file
from tests.contract.test_voices import upload_parts
from tests.faults.at_rest import QUIET_METRICS, holdings
from tests.human_speech import SAMPLE_RATE_HZ, speech
from tests.server_process import ServerProcess, running_server
from tests.speech import details_of, speak
from tests.waiting import rests, wait_until

_LONG = "This goes on for a good while, and nobody has to listen to all of it, " * 100


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A tone server that speaks in real time."""
    environment = {**QUIET_METRICS, "TTS_TONE__REAL_TIME_FACTOR": "1"}
    with running_server(tmp_path, "--engine", "tone", environment=environment) as server:
        yield server


def test_a_cancelled_call_stops_the_models_run(speech_server: ServerProcess) -> None:
    """One ONNX run of 500 characters takes over a second; it must not be run to its end."""
    sentence = "and on it goes " * 33
    (worker,) = speech_server.workers()

    def busy_s() -> float:
        times = worker.cpu_times()
        return float(times.user + times.system)

    with speech_server.stub() as stub:
        whole = busy_s()
        speak(stub, text=sentence)
        whole = busy_s() - whole
        assert whole > 0.5, "the sentence is too short to tell"

        before = busy_s()
        call = stub.Synthesize(tts_pb2.SynthesizeRequest(text=sentence * 20))
        assert wait_until(lambda: busy_s() > before + 0.1, 20)
        before = busy_s()
        call.cancel()
        assert wait_until(lambda: rests(worker))
        assert busy_s() - before < whole / 2


def test_cancelled_calls_give_their_places_back(slow_server: ServerProcess) -> None:
    """32 of them, as many as the engine renders at once."""
    with slow_server.stub() as stub:
        texts = [f"{number}. {_LONG}"[:5000] for number in range(32)]
        calls = [stub.Synthesize(tts_pb2.SynthesizeRequest(text=text)) for text in texts]
        with ThreadPoolExecutor(32) as pool:
            begun = list(pool.map(lambda call: [next(call) for _ in range(3)], calls))
        # Each has a place of its own; nobody has joined another one.
        assert {events[0].header.cache_status for events in begun} == {tts_pb2.CACHE_STATUS_MISS}
        assert holdings(slow_server).renders == 32
        for call in calls:
            call.cancel()

        def is_free() -> bool:
            held = holdings(slow_server)
            return held.calls == held.renders == held.places == 0

        assert wait_until(is_free)


def test_a_deadline_reaches_the_worker(slow_server: ServerProcess) -> None:
    with slow_server.stub() as stub, pytest.raises(grpc.RpcError) as caught:
        list(stub.Synthesize(tts_pb2.SynthesizeRequest(text=_LONG), timeout=0.5))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    (worker,) = slow_server.workers()
    assert wait_until(lambda: rests(worker))


def test_a_killed_worker_ends_its_calls_and_serves_the_next(slow_server: ServerProcess) -> None:
    for _ in range(3):
        (worker,) = slow_server.workers()
        with slow_server.stub() as stub:
            call = stub.Synthesize(tts_pb2.SynthesizeRequest(text=_LONG))
            events = [next(call) for _ in range(5)]
            worker.kill()
            with pytest.raises(grpc.RpcError) as caught:
                events.extend(call)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            details = details_of(caught.value)
            assert details["ErrorInfo"].reason == "WORKER_LOST"  # type: ignore[attr-defined]
            assert details["RetryInfo"].retry_delay.ToMilliseconds() > 0  # type: ignore[attr-defined]
            assert all(event.WhichOneof("event") != "summary" for event in events)

            began = time.monotonic()
            speak(stub, text="Back")
            assert time.monotonic() - began < 15


def test_a_worker_killed_at_rest_is_replaced(slow_server: ServerProcess) -> None:
    (worker,) = slow_server.workers()
    worker.kill()
    with slow_server.stub() as stub:
        speak(stub, text="Still here")
    assert [process.pid for process in slow_server.workers()] != [worker.pid]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_front(slow_server: ServerProcess, number: signal.Signals) -> None:
    workers = slow_server.workers()
    assert workers
    with slow_server.stub() as stub:
        call = stub.Synthesize(tts_pb2.SynthesizeRequest(text=_LONG))
        next(call)
        folders = set(Path(tempfile.gettempdir()).glob("tts-worker-*"))
        os.kill(slow_server.process.pid, number)
        if number is not signal.SIGKILL:
            call.cancel()
        assert slow_server.process.wait(15) == (-9 if number is signal.SIGKILL else 0)
        gone, alive = psutil.wait_procs(workers, timeout=5)
    assert gone
    assert not alive
    own = [folder for folder in folders if not folder.exists()]
    assert own, "the socket's folder is left behind"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_lets_a_call_finish(
    slow_server: ServerProcess, number: signal.Signals
) -> None:
    """As a terminal's Ctrl-C sends it, and a supervisor that knows all processes of a service."""
    with slow_server.stub() as stub:
        call = stub.Synthesize(tts_pb2.SynthesizeRequest(text="About two seconds of tones."))
        next(call)
        for pid in (*(worker.pid for worker in slow_server.workers()), slow_server.process.pid):
            os.kill(pid, number)
        assert [event.WhichOneof("event") for event in call][-1] == "summary"
    assert slow_server.process.wait(10) == 0


def test_the_log_names_requests_and_not_texts(slow_server: ServerProcess) -> None:
    secret = "Mellon friend"
    with slow_server.stub() as stub:
        request = tts_pb2.SynthesizeRequest(text=secret)
        list(stub.Synthesize(request, metadata=[("x-request-id", "find-me")]))
    assert wait_until(lambda: '"request_id": "find-me"' in slow_server.log, 2)
    assert "Mellon" not in slow_server.log


def test_a_stopped_worker_is_replaced(tmp_path: Path) -> None:
    environment = {"TTS_WORKER_HEALTH_INTERVAL_S": "0.2"}
    with running_server(tmp_path, "--engine", "tone", environment=environment) as server:
        (worker,) = server.workers()
        worker.suspend()
        with server.stub() as stub:
            request = tts_pb2.SynthesizeRequest(text="Anybody there?")
            events = list(stub.Synthesize(request, timeout=15))
        assert events[-1].WhichOneof("event") == "summary"
        assert not worker.is_running()


def test_a_worker_that_cant_be_started_again_does_not_end_the_front(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {"TMPDIR": str(temporary), "TTS_ENGINE_WAIT_S": "30"}
    with running_server(tmp_path, "--engine", "tone", environment=environment) as server:
        (worker,) = server.workers()
        temporary.rename(tmp_path / "gone")
        worker.kill()
        assert wait_until(lambda: "could not be started" in server.log)
        temporary.mkdir()
        with server.stub() as stub:
            speak(stub, text="Back again")


@pytest.fixture
def stuck(tmp_path: Path) -> dict[str, str]:
    """Settings with which the worker of Piper never starts, and calls for it wait for long."""
    voices = tmp_path / "voices"
    voices.mkdir()
    (voices / "stuck.onnx").touch()
    os.mkfifo(voices / "stuck.onnx.json")  # nobody ever writes into it
    return {"TTS_PIPER__VOICES_DIR": str(voices), "TTS_ENGINE_WAIT_S": "600"}


def test_an_engine_that_never_starts_leaves_the_others_be(
    tmp_path: Path, stuck: dict[str, str]
) -> None:
    flags = ("--engine", "tone", "--engine", "piper")
    with (
        running_server(tmp_path, *flags, environment=stuck, wait=False) as server,
        server.stub() as stub,
    ):
        assert wait_until(lambda: _states(stub)["tone"] == tts_pb2.ENGINE_STATE_READY, 60)
        speak(stub, text="I can speak", voice="tone-high")
        assert _states(stub)["piper"] == tts_pb2.ENGINE_STATE_STARTING


def test_what_needs_no_engine_that_never_starts_goes_on_without_it(
    tmp_path: Path, stuck: dict[str, str]
) -> None:
    """Though it is the first, whose voice is the default."""
    environment = stuck | {"TTS_CONNECTIONS__DRAIN_DELAY_S": "4"}
    flags = ("--engine", "piper", "--engine", "tone")
    with (
        running_server(tmp_path, *flags, environment=environment, wait=False) as server,
        server.stub() as stub,
    ):
        assert wait_until(lambda: _states(stub)["tone"] == tts_pb2.ENGINE_STATE_READY, 60)
        speak(stub, text="I can speak", voice="tone-high")
        voices = stub.ListVoices(tts_pb2.ListVoicesRequest(), timeout=60).voices
        assert "tone-high" in {voice.id for voice in voices}
        recording = audio_file(AudioFileKind.WAV, speech().samples, SAMPLE_RATE_HZ)
        voice = stub.UploadVoice(upload_parts(recording, voice_id="anna")).voice
        assert voice.engine == "tone"
        server.process.terminate()
        time.sleep(1)
        speak(stub, text="It takes calls for a while yet", voice="anna")


def test_who_fails_to_start_is_not_waited_for(tmp_path: Path, stuck: dict[str, str]) -> None:
    environment = stuck | {"TTS_WORKER_START_TIMEOUT_S": "15", "TTS_ENGINE_WAIT_S": "1"}
    flags = ("--engine", "piper", "--engine", "tone")
    with running_server(tmp_path, *flags, environment=environment) as server:
        assert "(piper: not ready, tone: " in server.ready_line
        with server.stub() as stub, pytest.raises(grpc.RpcError) as caught:
            speak(stub, text="I can't", voice="en_US-joe-medium")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def _states(stub: tts_pb2_grpc.TextToSpeechStub) -> dict[str, tts_pb2.EngineState.ValueType]:
    info = stub.GetServerInfo(tts_pb2.GetServerInfoRequest(), wait_for_ready=True, timeout=60)
    return {engine.name: engine.state for engine in info.engines}


def test_a_voice_folder_that_breaks_later_ends_nothing(tmp_path: Path) -> None:
    voices = tmp_path / "voices"
    voices.mkdir()
    environment = {"TTS_PIPER__VOICES_DIR": str(voices), "TTS_ENGINE_WAIT_S": "60"}
    flags = ("--engine", "tone", "--engine", "piper")
    with running_server(tmp_path, *flags, environment=environment) as server:
        (voices / "half.onnx").touch()  # its description is still being copied
        for worker in server.workers():
            if "--engine=piper" in worker.cmdline():
                worker.kill()
        assert wait_until(lambda: "can't use half.onnx.json" in server.log, 60)
        with server.stub() as stub:
            speak(stub, text="Nobody else notices", voice="tone-low")
        (voices / "half.onnx").unlink()
        with server.stub() as stub:
            speak(stub, text="And it is back.", voice="en_US-joe-medium")
