"""The server is told to stop while people are listening."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.tts.v1 import tts_pb2
from protos.tts.v1.tts_pb2_grpc import TextToSpeechStub
from tests.audio_files import AudioFileKind, audio_file
from tests.contract.test_voices import upload_parts
from tests.human_speech import SAMPLE_RATE_HZ, speech
from tests.server_process import ServerProcess, running_server
from tests.speech import details_of, speak
from tests.waiting import wait_until
from tts_client import Cancelled, Client, TtsError, Unavailable
from voice_store import check_store

_LONG = "This goes on for a good while, and nobody has to listen to all of it, " * 100
_TEXTS = [f"Caller {number} hears a sentence, and then one more." for number in range(30)]


def _tone(
    folder: Path, real_time_factor: float = 1.0, *, keeps_speech: bool = False, **settings: float
) -> Any:
    environment = {f"TTS_{name}": str(value) for name, value in settings.items()}
    environment["TTS_TONE__REAL_TIME_FACTOR"] = str(real_time_factor)
    return running_server(
        folder, "--engine", "tone", environment=environment, keeps_speech=keeps_speech
    )


def _synthesize(stub: TextToSpeechStub, text: str) -> Any:
    return stub.Synthesize(tts_pb2.SynthesizeRequest(text=text), timeout=60)


class _Caller(threading.Thread):
    """Who speaks one text again and again until it is told to go elsewhere.

    Attributes:
        whole: the audio of each call; the client has checked length and CRC.
        ending: what ended the last call.
        heard_count: frames of that call.
    """

    def __init__(self, server: ServerProcess, text: str) -> None:
        super().__init__()
        self.whole: list[bytes] = []
        self.ending: TtsError | None = None
        self.heard_count = 0
        self._server = server
        self._text = text

    def run(self) -> None:
        with Client(self._server.address) as client:
            while self.ending is None:
                frames: list[bytes] = []
                try:
                    frames.extend(frame.data for frame in client.synthesize(self._text))
                    self.whole.append(b"".join(frames))
                except TtsError as error:
                    self.ending, self.heard_count = error, len(frames)


def _drain_under_load(server: ServerProcess, texts: list[str], rounds: int) -> list[_Caller]:
    """Stops a server amid callers, and checks that each got all of its stream or nothing."""
    callers = [_Caller(server, text) for text in texts]
    for caller in callers:
        caller.start()
    assert wait_until(lambda: all(len(caller.whole) >= rounds for caller in callers), 60)
    before = [len(caller.whole) for caller in callers]
    server.process.terminate()
    for caller in callers:
        caller.join(60)
    assert server.process.wait(20) == 0
    for caller in callers:
        # Cancelled: https://github.com/grpc/grpc/issues/41785
        assert isinstance(caller.ending, (Unavailable, Cancelled)), caller.ending
        assert caller.heard_count == 0, "a stream that had begun was cut"
    # All were in the midst of a call, but for those who were just between two.
    finished = [len(c.whole) > count for c, count in zip(callers, before, strict=True)]
    assert sum(finished) >= len(callers) * 2 // 3
    assert '"waiting for calls"' in server.log
    return callers


def test_nothing_is_cut_under_load(tmp_path: Path) -> None:
    with _tone(tmp_path, 0.3, SHUTDOWN_GRACE_S=60) as server:
        # Of all lengths, or all would be between two calls at once.
        texts = [text * (1 + number % 3) for number, text in enumerate(_TEXTS)]
        for caller in _drain_under_load(server, texts, rounds=2):
            assert len(set(caller.whole)) == 1, "the tone is the same each time"


def test_nothing_is_cut_under_load_of_a_model(tmp_path: Path) -> None:
    with running_server(tmp_path, environment={"TTS_SHUTDOWN_GRACE_S": "60"}) as server:
        _drain_under_load(server, [text * 3 for text in _TEXTS[:4]], rounds=1)


def test_what_was_spoken_last_is_kept(tmp_path: Path) -> None:
    phrases = [f"Phrase {number}" for number in range(20)]
    with _tone(tmp_path, 0, keeps_speech=True) as server, server.stub() as stub:
        spoken = [speak(stub, text=phrase).data for phrase in phrases]
        server.process.terminate()
        assert server.process.wait(10) == 0
    with _tone(tmp_path, 0, keeps_speech=True) as server, server.stub() as stub:
        kept = [speak(stub, text=p, cache=tts_pb2.CACHE_MODE_ONLY).data for p in phrases]
    assert kept == spoken


def test_an_upload_in_progress_is_kept(tmp_path: Path) -> None:
    recording = audio_file(AudioFileKind.FLAC, speech().samples, SAMPLE_RATE_HZ)
    half, stopping = threading.Event(), threading.Event()

    def parts() -> Iterator[tts_pb2.UploadVoiceRequest]:
        for count, part in enumerate(upload_parts(recording, voice_id="anna")):
            if count == 3:
                half.set()
                assert stopping.wait(10)
            yield part

    with _tone(tmp_path) as server, server.stub() as stub:
        call = stub.UploadVoice.future(parts(), timeout=30)
        assert half.wait(10)
        server.process.terminate()
        assert wait_until(lambda: '"waiting for calls"' in server.log, 10)
        stopping.set()
        assert call.result().voice.id == "anna"
        assert server.process.wait(10) == 0
    with _tone(tmp_path) as server, server.stub() as stub:
        assert stub.GetVoice(tts_pb2.GetVoiceRequest(voice="anna")).voice.id == "anna"


def test_who_is_not_done_within_the_grace_is_told(tmp_path: Path) -> None:
    """The streams, the one that isn't read, and the upload that waits; none holds the end up."""
    with _tone(tmp_path, SHUTDOWN_GRACE_S=1) as server, server.stub() as stub:
        unread = _synthesize(stub, _LONG[:7000])
        next(unread)
        heard, goes_on = threading.Event(), threading.Event()

        def silent() -> Iterator[tts_pb2.UploadVoiceRequest]:
            goes_on.wait(30)
            yield from ()

        upload = stub.UploadVoice.future(silent(), timeout=60)

        def listen() -> tuple[grpc.RpcError, list[str]]:
            events: list[str] = []
            try:
                for event in _synthesize(stub, _LONG[:5000]):
                    events.append(event.WhichOneof("event"))
                    heard.set()
            except grpc.RpcError as error:
                return error, events
            raise AssertionError("the stream is whole")

        with ThreadPoolExecutor(1) as pool:
            listening = pool.submit(listen)
            assert heard.wait(10)
            server.process.terminate()
            began = time.monotonic()
            error, events = listening.result(30)
            assert server.process.wait(10) == 0
            assert 0.9 < time.monotonic() - began < 10
        assert "summary" not in events
        for each in (error, upload.exception()):
            assert each.code() is grpc.StatusCode.UNAVAILABLE, each
            details: dict[str, Any] = details_of(each)
            assert details["ErrorInfo"].reason == "SHUTTING_DOWN"
            assert 500 <= details["RetryInfo"].retry_delay.ToMilliseconds() <= 1500
        goes_on.set()
    assert '"waiting for calls"' in server.log
    assert '"the grace period is over, calls are ended"' in server.log
    assert "Traceback" not in server.log


def test_health_falls_first_and_new_calls_are_taken_for_a_while(tmp_path: Path) -> None:
    with (
        _tone(tmp_path, CONNECTIONS__DRAIN_DELAY_S=3, SHUTDOWN_GRACE_S=60) as server,
        server.stub() as stub,
        grpc.insecure_channel(server.address) as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        watching = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
        server.process.terminate()
        began = time.monotonic()
        assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING
        late = speak(stub, text="Not everybody has heard of it yet.")
        assert late.summary.audio_ms > 1000
        assert server.process.wait(40) == 0, "it waited for who watches its health"
        assert 3 < time.monotonic() - began < 40
        with pytest.raises(grpc.RpcError) as caught:
            list(_synthesize(stub, "Hm"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(tmp_path: Path, number: signal.Signals) -> None:
    recording = audio_file(AudioFileKind.FLAC, speech().samples, SAMPLE_RATE_HZ)
    with _tone(tmp_path, SHUTDOWN_GRACE_S=60, keeps_speech=True) as server, server.stub() as stub:
        stub.UploadVoice(upload_parts(recording, voice_id="anna"), timeout=30)
        speak(stub, text="Hm")
        workers = server.workers()
        call = _synthesize(stub, _LONG[:5000])
        next(call)
        server.process.send_signal(number)
        assert wait_until(lambda: '"waiting for calls"' in server.log, 10)
        time.sleep(0.6)
        assert server.process.poll() is None
        server.process.send_signal(number)
        assert server.process.wait(5) == 128 + number
        _, alive = psutil.wait_procs(workers, timeout=5)
        assert not alive
        with pytest.raises(grpc.RpcError):
            list(call)
    assert check_store(server.data_dir / "voices", repair=False) == []
    check = [sys.executable, "-m", "tts_service", "cache", "check"]
    subprocess.run([*check, "--data-dir", str(server.data_dir)], check=True, timeout=30)


def test_a_signal_that_is_heard_twice_is_one(tmp_path: Path) -> None:
    """As from those who signal a process and then its group."""
    with _tone(tmp_path) as server, server.stub() as stub:
        call = _synthesize(stub, "About two seconds of tones.")
        next(call)
        for _ in range(3):
            server.process.terminate()
            time.sleep(0.05)
        assert [event.WhichOneof("event") for event in call][-1] == "summary"
        assert server.process.wait(10) == 0


@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.6])
def test_a_signal_while_it_starts(tmp_path: Path, after_s: float) -> None:
    with running_server(tmp_path, "--engine", "tone", wait=False) as server:
        # Python itself knows of no handler before our first line.
        assert wait_until(lambda: _handles_sigterm(server.process.pid), 20)
        time.sleep(after_s)
        children = server.workers()
        server.process.terminate()
        assert server.process.wait(20) == 0
        _, alive = psutil.wait_procs(children, timeout=5)
        assert not alive
    assert "Traceback" not in server.log


def _handles_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_systemd_is_told(tmp_path: Path) -> None:
    path = f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(10)
        environment = {"NOTIFY_SOCKET": path}
        with running_server(tmp_path, "--engine", "tone", environment=environment) as server:
            assert manager.recv(4096) == b"READY=1"
            server.process.terminate()
            assert manager.recv(4096) == b"STOPPING=1"
            assert server.process.wait(10) == 0


def test_a_manager_that_is_gone_is_no_reason_to_fail(tmp_path: Path) -> None:
    environment = {**os.environ, "NOTIFY_SOCKET": f"{tmp_path}/nobody"}
    with running_server(tmp_path, "--engine", "tone", environment=environment) as server:
        assert "systemd was not told" in server.log
