"""Traces as a collector sees them: from the caller over the front to the worker."""

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from protos.tts.v1 import tts_pb2
from tests.audio_files import AudioFileKind, audio_file
from tests.collector import Collector, SeenSpan, running_collector
from tests.human_speech import SAMPLE_RATE_HZ, SENTENCES, speech
from tests.identity import log_line, log_lines
from tests.server_process import ServerProcess, running_server
from tests.speech import speak

_METHOD = "tts.v1.TextToSpeech/Synthesize"
_RENDER = "engine.v1.Engine/Render"
_LONG = "Nobody has to listen to all of this, " * 20
_SECRETS = ("swordfish", "Zanzibar", "s3cr3t-t0ken")


class Caller:
    """Somebody with a trace of its own."""

    def __init__(self, *, flags: str = "01") -> None:
        self.trace_id = secrets.token_hex(16)
        self.span_id = secrets.token_hex(8)
        self.metadata = [
            ("traceparent", f"00-{self.trace_id}-{self.span_id}-{flags}"),
            ("authorization", f"Bearer {_SECRETS[2]}"),
        ]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def server(
    collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """Speaks in real time, and sends its spans soon."""
    environment = {
        "TTS_TRACING__ENDPOINT": collector.endpoint,
        "TTS_TONE__REAL_TIME_FACTOR": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    folder = tmp_path_factory.mktemp("traced-server")
    with running_server(folder, "--engine", "tone", environment=environment) as server:
        yield server


def _one(spans: list[SeenSpan], name: str, kind: str = "") -> SeenSpan:
    (found,) = (span for span in spans if span.name == name and kind in ("", span.kind))
    return found


def test_a_trace_goes_from_the_caller_to_the_worker(
    server: ServerProcess, collector: Collector
) -> None:
    caller = Caller()
    text = "The swordfish swims. It lives near Zanzibar."
    with server.stub() as stub:
        metadata = [*caller.metadata, ("x-request-id", "follow-me")]
        events = list(stub.Synthesize(tts_pb2.SynthesizeRequest(text=text), metadata=metadata))
    spans = collector.wait(
        caller.trace_id, lambda spans: sum(span.name == _RENDER for span in spans) == 4
    )
    spans = collector.wait(
        caller.trace_id, lambda spans: any(span.name == _METHOD for span in spans)
    )

    front = _one(spans, _METHOD)
    assert (front.process, front.kind, front.parent_id) == ("front", "server", caller.span_id)
    assert (
        front.attributes.items()
        >= {
            "rpc.system": "grpc",
            "rpc.service": "tts.v1.TextToSpeech",
            "rpc.method": "Synthesize",
            "rpc.grpc.status_code": 0,
            "tts.request_id": "follow-me",
            "tts.characters": len(text),
            "tts.audio_ms": events[-1].summary.audio_ms,
        }.items()
    )
    assert front.events == ("first audio",)
    for name in ("plan", "look-up"):
        assert _one(spans, name).parent_id == front.span_id

    asked = [span for span in spans if span.name == _RENDER and span.kind == "client"]
    done = [span for span in spans if span.name == _RENDER and span.kind == "server"]
    assert [len(asked), len(done)] == [2, 2]
    assert {span.parent_id for span in asked} == {front.span_id}
    assert {span.parent_id for span in done} == {span.span_id for span in asked}
    for span in asked:
        assert span.process == "front"
        assert span.events == ("first audio",)
    for span in done:
        assert span.process == "worker:tone"
        assert span.attributes["tts.engine"] == "tone"
        assert span.attributes["tts.samples"] == span.attributes["tts.characters"] * 1440
        assert span.attributes["rpc.grpc.status_code"] == 0
    assert not any(span.is_error for span in spans)

    log_line(server, "follow-me")  # waits for it
    (line,) = (line for line in log_lines(server) if "follow-me" in line.values())
    assert (line["trace_id"], line["span_id"]) == (caller.trace_id, front.span_id)


def test_a_caller_who_leaves_ends_all_spans_as_errors(
    server: ServerProcess, collector: Collector
) -> None:
    caller = Caller()
    with server.stub() as stub:
        call = stub.Synthesize(tts_pb2.SynthesizeRequest(text=_LONG), metadata=caller.metadata)
        assert next(call).HasField("header")
        call.cancel()
    spans = collector.wait(
        caller.trace_id,
        lambda spans: (
            {_METHOD, _RENDER} <= {s.name for s in spans}
            and sum(s.name == _RENDER for s in spans) == 2
        ),
    )
    for span in (_one(spans, _METHOD), *(s for s in spans if s.name == _RENDER)):
        assert (span.is_error, span.message) == (True, "CANCELLED"), span
        assert span.attributes["rpc.grpc.status_code"] == 1


def test_a_deadline_that_passes_is_told(server: ServerProcess, collector: Collector) -> None:
    caller = Caller()
    with server.stub() as stub, pytest.raises(grpc.RpcError):
        list(
            stub.Synthesize(
                tts_pb2.SynthesizeRequest(text=_LONG), metadata=caller.metadata, timeout=0.5
            )
        )
    both = {(_METHOD, "server"), (_RENDER, "client")}
    spans = collector.wait(caller.trace_id, lambda spans: both <= {(s.name, s.kind) for s in spans})
    front = _one(spans, _METHOD)
    assert (front.is_error, front.message) == (True, "DEADLINE_EXCEEDED")
    assert _one(spans, _RENDER, "client").is_error


def test_a_worker_that_is_killed_is_told(server: ServerProcess, collector: Collector) -> None:
    caller = Caller()
    (worker,) = server.workers()
    with server.stub() as stub:
        call = stub.Synthesize(tts_pb2.SynthesizeRequest(text=_LONG), metadata=caller.metadata)
        for _ in range(3):
            next(call)
        worker.kill()
        with pytest.raises(grpc.RpcError):
            list(call)
        spans = collector.wait(
            caller.trace_id, lambda spans: {_METHOD, _RENDER} <= {s.name for s in spans}
        )
        speak(stub, text="Back")
    front = _one(spans, _METHOD)
    assert (front.is_error, front.message) == (True, "UNAVAILABLE")
    assert front.attributes["tts.reason"] == "WORKER_LOST"
    assert _one(spans, _RENDER).is_error


def test_what_a_caller_did_wrong_is_no_error_of_the_server(
    server: ServerProcess, collector: Collector
) -> None:
    caller = Caller()
    with server.stub() as stub, pytest.raises(grpc.RpcError):
        list(stub.Synthesize(tts_pb2.SynthesizeRequest(), metadata=caller.metadata))
    front = _one(
        collector.wait(caller.trace_id, lambda spans: any(s.name == _METHOD for s in spans)),
        _METHOD,
    )
    assert not front.is_error
    assert front.attributes["rpc.grpc.status_code"] == 3


def test_who_joins_is_linked_to_who_came_first(server: ServerProcess, collector: Collector) -> None:
    first, second = Caller(), Caller()
    request = tts_pb2.SynthesizeRequest(text="Both of us want to hear this.")
    with server.stub() as stub:
        begun = stub.Synthesize(request, metadata=first.metadata)
        assert next(begun).HasField("header")
        events = list(stub.Synthesize(request, metadata=second.metadata))
        list(begun)
    assert events[0].header.cache_status == tts_pb2.CACHE_STATUS_JOINED
    spans = collector.wait(second.trace_id, lambda spans: any(s.name == _METHOD for s in spans))
    assert _one(spans, _METHOD).linked_traces == (first.trace_id,)
    assert not any(span.name == _RENDER for span in spans)


def test_an_upload_goes_to_the_worker_for_its_embedding(
    server: ServerProcess, collector: Collector
) -> None:
    caller = Caller()
    recording = audio_file(AudioFileKind.WAV, speech(SENTENCES[:1]).samples, SAMPLE_RATE_HZ)
    requests = [
        tts_pb2.UploadVoiceRequest(
            metadata=tts_pb2.VoiceMetadata(display_name="Zanzibar", language="en-US")
        ),
        tts_pb2.UploadVoiceRequest(recording=tts_pb2.Recording()),
        tts_pb2.UploadVoiceRequest(data=recording),
    ]
    with server.stub() as stub:
        stub.UploadVoice(iter(requests), metadata=caller.metadata)
    spans = collector.wait(caller.trace_id, lambda spans: len(spans) == 3)
    front = _one(spans, "tts.v1.TextToSpeech/UploadVoice")
    asked = _one(spans, "engine.v1.Engine/Embed", "client")
    done = _one(spans, "engine.v1.Engine/Embed", "server")
    assert front.parent_id == caller.span_id
    assert asked.parent_id == front.span_id
    assert done.parent_id == asked.span_id
    assert done.attributes["tts.samples"] == asked.attributes["tts.samples"] > 0
    assert not any(span.is_error for span in spans)


def test_a_caller_decides_for_its_trace(server: ServerProcess, collector: Collector) -> None:
    silent, loud = Caller(flags="00"), Caller()
    with server.stub() as stub:
        for caller in (silent, loud):
            list(stub.Synthesize(tts_pb2.SynthesizeRequest(text="Me"), metadata=caller.metadata))
    collector.wait(loud.trace_id, lambda spans: sum(s.name == _RENDER for s in spans) == 2)
    assert collector.spans(silent.trace_id) == []


def test_a_trace_that_is_none_begins_a_new_one(server: ServerProcess, collector: Collector) -> None:
    with server.stub() as stub:
        metadata = [("traceparent", "00-nonsense"), ("x-request-id", "no-trace")]
        list(stub.Synthesize(tts_pb2.SynthesizeRequest(text="Me"), metadata=metadata))
    spans = collector.wait(
        "", lambda spans: any(s.attributes.get("tts.request_id") == "no-trace" for s in spans)
    )
    (front,) = (s for s in spans if s.attributes.get("tts.request_id") == "no-trace")
    assert front.parent_id == ""


def test_nothing_private_is_in_a_span(server: ServerProcess, collector: Collector) -> None:
    """Nor is it in what the other tests of this file caused."""
    caller = Caller()
    with server.stub() as stub:
        request = tts_pb2.SynthesizeRequest(text="The swordfish of Zanzibar.")
        list(stub.Synthesize(request, metadata=caller.metadata))
        with pytest.raises(grpc.RpcError):
            speak(stub, text="swordfish", voice="Zanzibar")
    collector.wait(caller.trace_id, lambda spans: sum(s.name == _RENDER for s in spans) == 2)
    sent = b"".join(request.SerializeToString() for request in collector.requests)
    assert _METHOD.encode() in sent
    for private in (*_SECRETS, "Bearer", "Nobody has to", str(server.data_dir), "/tmp", "unix:"):
        assert private.encode() not in sent


def test_spans_are_sent_before_the_end(tmp_path: Path) -> None:
    """They'd wait for a minute otherwise."""
    caller = Caller()
    with running_collector() as collector:
        environment = {
            "TTS_TRACING__ENDPOINT": collector.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "60000",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=here",
        }
        with running_server(tmp_path, "--engine", "tone", environment=environment) as server:
            with server.stub() as stub:
                request = tts_pb2.SynthesizeRequest(text="Just before the end")
                list(stub.Synthesize(request, metadata=caller.metadata))
            assert collector.requests == []
        assert server.process.returncode == 0
        names = sorted((span.process, span.name) for span in collector.spans(caller.trace_id))
        assert b"deployment.environment" in collector.requests[0].SerializeToString()
    assert names == [
        ("front", _RENDER),
        ("front", "look-up"),
        ("front", "plan"),
        ("front", _METHOD),
        ("worker:tone", _RENDER),
    ]


def test_a_collector_that_is_away_keeps_nobody_waiting(tmp_path: Path) -> None:
    environment = {"TTS_TRACING__ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with running_server(tmp_path, "--engine", "tone", environment=environment) as server:
        with server.stub() as stub:
            began = time.monotonic()
            for number in range(20):
                speak(stub, text=f"Number {number}")
            assert time.monotonic() - began < 10
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(20) == 0
        assert time.monotonic() - began < 10
    for line in server.log.splitlines():
        json.loads(line)
