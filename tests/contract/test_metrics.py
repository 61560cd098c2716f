"""What Prometheus reads of a server that has been at work."""

import http.client
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.audio_files import AudioFileKind, audio_file
from tests.contract.test_voices import upload_parts
from tests.human_speech import SAMPLE_RATE_HZ, speech
from tests.server_process import ServerProcess, running_server
from tests.speech import speak
from tests.waiting import wait_until
from tts_service.fleet import LostReason

_GUIDE = Path(__file__).parents[2] / "docs" / "metrics.md"
_ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?:counter|gauge|histogram) \| (?P<labels>.*?) \|", re.M)

_METHODS = tuple(
    method.name for method in tts_pb2.DESCRIPTOR.services_by_name["TextToSpeech"].methods
)
# Words that must not be found among the metrics.
_TEXT = "The zephyr is a wind. It blows from the west."
_VOICE = "secret-voice"
_REQUEST_ID = "req-8731-abc"


def scrape(server: ServerProcess) -> str:
    with urllib.request.urlopen(server.metrics_url, timeout=10) as response:
        return str(response.read().decode())


class Samples:
    """What a server says of itself at a moment."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """The value of one series; 0 if nothing was counted yet."""
        return self._values.get((name, frozenset(labels.items())), 0.0)


def speak_twice(stub: tts_pb2_grpc.TextToSpeechStub, voice: str) -> None:
    """Has something new spoken, and again, and without the cache."""
    for _ in range(2):  # the second is a hit
        speak(stub, text=_TEXT, voice=voice, encoding="WAV")
    speak(stub, text=_TEXT, voice="tone-low", cache=tts_pb2.CACHE_MODE_BYPASS)


def use(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    """Calls every method, well and badly."""
    metadata = (("x-request-id", _REQUEST_ID),)
    stub.GetServerInfo(tts_pb2.GetServerInfoRequest(), metadata=metadata)
    stub.ListVoices(tts_pb2.ListVoicesRequest(), metadata=metadata)
    recording = audio_file(AudioFileKind.WAV, speech().samples, SAMPLE_RATE_HZ)
    for _ in range(2):  # the second is the same request again
        stub.UploadVoice(
            upload_parts(recording, voice_id=_VOICE, request_id="upload-1"), metadata=metadata
        )
    stub.GetVoice(tts_pb2.GetVoiceRequest(voice=_VOICE), metadata=metadata)
    speak_twice(stub, _VOICE)
    for call, request in (
        (stub.UploadVoice, upload_parts(b"no audio", voice_id="another")),
        (stub.DeleteVoice, tts_pb2.DeleteVoiceRequest(voice="tone-low")),
        (stub.GetVoice, tts_pb2.GetVoiceRequest(voice="secret-nobody")),
    ):
        with pytest.raises(grpc.RpcError):
            call(request, metadata=metadata)
    with pytest.raises(grpc.RpcError):
        speak(stub, text="")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that has spoken, with nobody else's calls."""
    with (
        running_server(
            tmp_path_factory.mktemp("server"),
            *("--engine", "tone"),
            environment={"TTS_METRICS_LISTEN": "127.0.0.1:0"},
            keeps_speech=True,
        ) as server,
        server.stub() as stub,
    ):
        use(stub)
        yield server


@pytest.fixture(scope="module")
def used(server: ServerProcess) -> Samples:
    """What it says of itself after that. A caller has its answer just before it is counted."""

    def is_at_rest() -> bool:
        samples = Samples(scrape(server))
        return all(samples("tts_calls_in_progress", method=method) == 0 for method in _METHODS)

    assert wait_until(is_at_rest, 10)
    return Samples(scrape(server))


def test_every_call_is_counted_once(used: Samples) -> None:
    def calls(method: str, code: str) -> float:
        return used("tts_calls_total", method=method, code=code)

    assert calls("Synthesize", "OK") == 3
    assert calls("Synthesize", "INVALID_ARGUMENT") == 1
    assert calls("UploadVoice", "OK") == 2
    assert calls("UploadVoice", "INVALID_ARGUMENT") == 1
    assert calls("GetVoice", "OK") == 1
    assert calls("GetVoice", "NOT_FOUND") == 1
    assert calls("DeleteVoice", "FAILED_PRECONDITION") == 1
    assert calls("ListVoices", "OK") == calls("GetServerInfo", "OK") == 1
    for method, count in (("Synthesize", 4), ("UploadVoice", 3), ("GetVoice", 2)):
        assert used("tts_call_duration_seconds_count", method=method) == count
        assert used("tts_calls_in_progress", method=method) == 0


def test_refusals_have_the_reasons_that_callers_were_told(used: Samples) -> None:
    def refusals(method: str, reason: str) -> float:
        return used("tts_refusals_total", method=method, reason=reason)

    assert refusals("Synthesize", "INVALID_REQUEST") == 1
    assert refusals("UploadVoice", "NOT_AUDIO") == 1
    assert refusals("DeleteVoice", "ENGINE_VOICE") == 1
    assert refusals("GetVoice", "VOICE_NOT_FOUND") == 1


def test_speech_is_measured(used: Samples) -> None:
    for cache, count in (("hit", 1), ("miss", 2)):
        assert used("tts_first_audio_seconds_count", engine="tone", cache=cache) == count
    assert used("tts_characters_total", engine="tone") == 3 * len(_TEXT)
    # Two sentences, spoken twice: what was kept was sent without the engine.
    assert used("tts_render_duration_seconds_count", engine="tone") == 4
    assert used("tts_render_real_time_factor_count", engine="tone") == 4
    rendered_s = used("tts_audio_rendered_seconds_total", engine="tone")
    assert rendered_s > 1
    sent_s = {
        encoding: used("tts_audio_sent_seconds_total", engine="tone", encoding=encoding)
        for encoding in ("wav", "mp3")
    }
    # Once as MP3, twice as WAV; pauses are sent and not rendered.
    assert sent_s["wav"] > rendered_s > sent_s["mp3"]
    assert sum(sent_s.values()) == pytest.approx(1.5 * rendered_s, rel=0.2)
    # 16 bits at the tone's own rate.
    assert (
        used("tts_audio_sent_bytes_total", engine="tone", encoding="wav") > 16_000 * sent_s["wav"]
    )
    assert used("tts_streams_open", engine="tone") == 0
    assert used("tts_renders_in_progress", engine="tone") == 0
    assert used("tts_frame_gap_seconds_count", engine="tone") > 0


def test_uploads_and_voices_are_counted(used: Samples) -> None:
    for result in ("stored", "already_stored", "refused"):
        assert used("tts_upload_duration_seconds_count", result=result) == 1
    assert used("tts_voices", kind="uploaded") == 1
    assert used("tts_voices", kind="engine") >= 2


def test_the_worker_is_watched(used: Samples, server: ServerProcess) -> None:
    (worker,) = server.workers()
    assert used("tts_worker_up", engine="tone") == 1
    states = {
        state: used("tts_worker_state", engine="tone", state=state)
        for state in ("starting", "ready", "restarting")
    }
    assert states == {"starting": 0, "ready": 1, "restarting": 0}
    # From 0, or Prometheus would see no increase in the first of them.
    for reason in LostReason:
        assert used("tts_worker_restarts_total", engine="tone", reason=reason) == 0
    resident_bytes = used("tts_worker_resident_memory_bytes", engine="tone")
    assert resident_bytes == pytest.approx(worker.memory_info().rss, rel=0.5)


def test_the_front_is_watched(used: Samples) -> None:
    assert used("tts_event_loop_lag_seconds_count") > 0
    assert used("tts_event_loop_silence_seconds") < 10
    assert used("process_resident_memory_bytes") > 10e6
    assert used("process_open_fds") > 3
    assert used("tts_data_disk_size_bytes") > used("tts_data_disk_free_bytes") > 0


def test_a_stream_is_open_until_its_caller_leaves(server: ServerProcess) -> None:
    def wait_for(name: str, value: float, **labels: str) -> None:
        is_there = wait_until(lambda: Samples(scrape(server))(name, **labels) == value)
        assert is_there, f"{name} never was {value}"

    cancelled = {"method": "Synthesize", "code": "CANCELLED"}
    before = Samples(scrape(server))("tts_calls_total", **cancelled)
    with server.stub() as stub:
        text = "This goes on for longer than anybody listens. " * 200
        call = stub.Synthesize(tts_pb2.SynthesizeRequest(text=text, voice="tone-low"))
        next(event for event in call if event.HasField("audio"))
        wait_for("tts_streams_open", 1, engine="tone")
        wait_for("tts_calls_in_progress", 1, method="Synthesize")
        call.cancel()
        wait_for("tts_streams_open", 0, engine="tone")
        wait_for("tts_calls_in_progress", 0, method="Synthesize")
        wait_for("tts_renders_in_progress", 0, engine="tone")
    wait_for("tts_calls_total", before + 1, **cancelled)


def test_a_lost_worker_is_down_until_the_next_is_up(server: ServerProcess) -> None:
    (worker,) = server.workers()
    worker.kill()
    seen = set()
    end_s = time.monotonic() + 30
    while True:
        samples = Samples(scrape(server))
        seen.add(samples("tts_worker_up", engine="tone"))
        if 0 in seen and samples("tts_worker_up", engine="tone") == 1:
            break
        assert time.monotonic() < end_s, f"the worker was seen {seen}"
        time.sleep(0.01)
    assert Samples(scrape(server))("tts_worker_resident_memory_bytes", engine="tone") > 10e6


def test_the_guide_names_the_labels_of_every_series(used: Samples) -> None:
    listed = {
        row["name"]: set(re.findall(r"`(\w+)`", row["labels"]))
        for row in _ROW.finditer(_GUIDE.read_text())
    }
    looked_at = 0
    for family in used.families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == listed[name], sample.name
            looked_at += 1
    assert looked_at > 300


def test_nothing_that_callers_say_is_read(server: ServerProcess) -> None:
    text = scrape(server)
    for said in ("zephyr", "secret", _REQUEST_ID, "upload-1", "Anna"):
        assert said not in text


def _get(url: str, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/", "/metrics/", "/favicon.ico", "/metrics/../etc/passwd", "//"])
def test_there_is_no_other_page(server: ServerProcess, path: str) -> None:
    status, _, body = _get(server.metrics_url, path)
    assert status == 404
    assert "tts_" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "TRACE"])
def test_nothing_but_reading_is_possible(server: ServerProcess, method: str) -> None:
    assert _get(server.metrics_url, "/metrics", method)[0] == 501


def test_the_page_is_what_prometheus_reads_and_tells_no_versions_of_libraries(
    server: ServerProcess,
) -> None:
    status, headers, body = _get(server.metrics_url, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert "Python" not in headers["Server"]
    assert "_created" not in body


def test_readers_who_say_nothing_are_bounded_and_hold_up_nobody_for_long(
    server: ServerProcess,
) -> None:
    address = urlsplit(server.metrics_url)
    with ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection((address.hostname, address.port), 10))
            for _ in range(8)
        ]
        one_more = stack.enter_context(
            socket.create_connection((address.hostname, address.port), timeout=10)
        )
        assert one_more.recv(1) == b"", "the ninth is hung up on"
        for connection in silent:
            connection.close()
        end_s = time.monotonic() + 20
        while True:
            try:
                assert _get(server.metrics_url, "/metrics")[0] == 200
                break
            except (OSError, http.client.HTTPException):
                assert time.monotonic() < end_s, "nobody is served any more"


def test_many_readers_and_callers_at_once_leave_the_counts_right(server: ServerProcess) -> None:
    before = Samples(scrape(server))
    stop = threading.Event()
    failures: list[Exception] = []

    def read() -> None:
        while not stop.is_set():
            try:
                scrape(server)
            except Exception as error:
                failures.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        with server.stub() as stub:
            calls: list[Any] = [
                stub.GetServerInfo.future(tts_pb2.GetServerInfoRequest()) for _ in range(200)
            ]
            for call in calls:
                call.result(timeout=30)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert failures == []
    info = {"method": "GetServerInfo", "code": "OK"}
    all_of_them = before("tts_calls_total", **info) + 200
    # A call is counted just after its caller has the answer.
    assert wait_until(lambda: Samples(scrape(server))("tts_calls_total", **info) == all_of_them)
