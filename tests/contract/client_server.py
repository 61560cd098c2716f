"""A real gRPC server of `tts.v1` on a free loopback port that does what a test tells it to.

It stands in for a server that misbehaves, which the real one cannot be asked to do.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import google_crc32c
import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from protos.tts.v1 import tts_pb2 as pb
from protos.tts.v1 import tts_pb2_grpc

SERVICE = "tts.v1.TextToSpeech"


@dataclass
class ReceivedCall:
    """One attempt of a synthesis as the server saw it."""

    request: pb.SynthesizeRequest
    metadata: dict[str, Any]
    ended: threading.Event = field(default_factory=threading.Event)
    cancelled: bool = False


Script = Callable[[ReceivedCall, grpc.ServicerContext], Iterable[pb.SynthesizeResponse]]


@dataclass
class ReceivedUpload:
    """One attempt of an upload as the server saw it. `read()` takes the next part in."""

    parts: Iterator[pb.UploadVoiceRequest]
    headers: dict[str, Any]
    order: list[str] = field(default_factory=list)
    metadata: pb.VoiceMetadata = field(default_factory=pb.VoiceMetadata)
    recordings: list[tuple[str, bytes]] = field(default_factory=list)
    piece_sizes: list[int] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def read(self) -> bool:
        """False at the end of the upload."""
        part = next(self.parts, None)
        if part is None:
            return False
        kind = part.WhichOneof("part")
        self.order.append(kind)
        if kind == "metadata":
            self.metadata = part.metadata
        elif kind == "recording":
            self.recordings.append((part.recording.style, b""))
        else:
            style, data = self.recordings[-1]
            self.recordings[-1] = (style, data + part.data)
            self.piece_sizes.append(len(part.data))
        return True

    def read_all(self) -> "ReceivedUpload":
        while self.read():
            pass
        return self


UploadScript = Callable[[ReceivedUpload, grpc.ServicerContext], pb.UploadVoiceResponse]


def stored_voice(upload: ReceivedUpload, _context: grpc.ServicerContext) -> pb.UploadVoiceResponse:
    """Takes everything and answers with a voice in the styles that came."""
    metadata = upload.read_all().metadata
    styles = sorted({style or "neutral" for style, _data in upload.recordings})
    voice = pb.Voice(
        id=metadata.voice_id or "made-by-server",
        display_name=metadata.display_name,
        engine="tone",
        languages=[metadata.language],
        sample_rate_hz=24_000,
        origin=pb.VOICE_ORIGIN_UPLOADED,
        model_fingerprint="f1",
        styles=styles,
        quality=[quality_report(style) for style in styles],
        content_fingerprint="ab" * 32,
    )
    voice.create_time.FromJsonString("2026-01-02T03:04:05Z")
    return pb.UploadVoiceResponse(voice=voice)


def quality_report(style: str) -> pb.QualityReport:
    """A good recording, but for a noise; none to tell by in the style `sung`."""
    return pb.QualityReport(
        style=style,
        recording_count=2,
        duration_ms=15_200,
        speech_ms=12_100,
        kept_ms=13_000,
        loudness_before_lufs=-31.24,
        loudness_after_lufs=-20.04,
        true_peak_dbtp=-3.5,
        clipped_share=0.00012,
        signal_to_noise_db=None if style == "sung" else 28.4,
        bandwidth_hz=11_250,
        warnings=[
            pb.QualityWarning(
                code="BACKGROUND_NOISE",
                message="background noise: -28 dB; record in a quieter room",
            )
        ],
    )


def header_event(request_id: str = "from-server", encoding: int = pb.ENCODING_MP3) -> Any:
    """The first event of a stream."""
    return pb.SynthesizeResponse(
        header=pb.SynthesisHeader(
            request_id=request_id,
            voice="ada",
            engine="tone",
            model_fingerprint="f1",
            language="en-US",
            format=pb.AudioFormat(encoding=encoding, sample_rate_hz=22_050, frame_ms=40),
            content_type="audio/mpeg",
        )
    )


def audio_event(sequence: int, data: bytes, end_character: int = 0) -> Any:
    """A frame of 40 ms."""
    return pb.SynthesizeResponse(
        audio=pb.AudioFrame(
            data=data,
            sequence=sequence,
            start_ms=sequence * 40,
            duration_ms=40,
            span=pb.TextSpan(start_character=0, end_character=end_character),
        )
    )


def summary_event(chunks: list[bytes], **overrides: Any) -> Any:
    """The summary that is true for `chunks`, unless it is overridden."""
    data = b"".join(chunks)
    values: dict[str, Any] = {
        "completion": pb.COMPLETION_SPOKEN if chunks else pb.COMPLETION_NO_SPEAKABLE_TEXT,
        "audio_ms": 40 * len(chunks),
        "sample_count": 882 * len(chunks),
        "byte_count": len(data),
        "crc32c": google_crc32c.value(data),
        "character_count": 5,
    }
    return pb.SynthesizeResponse(summary=pb.SynthesisSummary(**{**values, **overrides}))


def whole_stream(chunks: list[bytes], **header: Any) -> list[pb.SynthesizeResponse]:
    """A stream without a fault."""
    frames = [audio_event(i, chunk, end_character=i + 1) for i, chunk in enumerate(chunks)]
    return [header_event(**header), *frames, summary_event(chunks)]


def fail(
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    message: str,
    *details: Message,
    pushback_ms: int | None = None,
) -> None:
    """Ends the call with a rich status, as the service does."""
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    trailers: list[tuple[str, Any]] = [("grpc-status-details-bin", status.SerializeToString())]
    if pushback_ms is not None:
        trailers.append(("grpc-retry-pushback-ms", str(pushback_ms)))
    context.set_trailing_metadata(tuple(trailers))
    context.abort(code, message)


class ScriptedServer(tts_pb2_grpc.TextToSpeechServicer):
    """Serves `script` for each Synthesize, and fixed voices in pages of two.

    An upload is served by `upload_script`, and the voice joins the others.
    """

    def __init__(self) -> None:
        self.calls: list[ReceivedCall] = []
        self.list_requests: list[pb.ListVoicesRequest] = []
        self.script: Script = lambda _call, _context: whole_stream([b"one", b"two"])
        self.uploads: list[ReceivedUpload] = []
        self.upload_script: UploadScript = stored_voice
        self.deleted: list[str] = []
        self.voices = [
            pb.Voice(
                id=name,
                display_name=name.title(),
                engine="tone",
                languages=["en-US", "en-GB"],
                sample_rate_hz=22_050,
                origin=pb.VOICE_ORIGIN_ENGINE,
                model_fingerprint="f1",
            )
            for name in ("ada", "bob", "cleo", "dora", "emil")
        ]
        self._server = grpc.server(ThreadPoolExecutor(max_workers=8))
        tts_pb2_grpc.add_TextToSpeechServicer_to_server(self, self._server)
        checks = health.HealthServicer()
        checks.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(checks, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=0).wait()

    def Synthesize(
        self, request: pb.SynthesizeRequest, context: Any
    ) -> Iterator[pb.SynthesizeResponse]:
        call = ReceivedCall(request, dict(context.invocation_metadata()))
        self.calls.append(call)

        def ended() -> None:
            call.cancelled = context.code() is None and not call.ended.is_set()
            call.ended.set()

        if not context.add_callback(ended):  # the caller has left already
            ended()
        yield from self.script(call, context)
        call.ended.set()

    def ListVoices(self, request: pb.ListVoicesRequest, context: Any) -> pb.ListVoicesResponse:
        self.list_requests.append(pb.ListVoicesRequest.FromString(request.SerializeToString()))
        start = int(request.page_token or 0)
        spoken = [v for v in self.voices if v.languages[0].startswith(request.language)]
        more = start + 2 < len(spoken)
        return pb.ListVoicesResponse(
            voices=spoken[start : start + 2], next_page_token=str(start + 2) if more else ""
        )

    def GetVoice(self, request: pb.GetVoiceRequest, context: Any) -> pb.GetVoiceResponse:
        for voice in self.voices:
            if voice.id == request.voice:
                return pb.GetVoiceResponse(voice=voice)
        fail(context, grpc.StatusCode.NOT_FOUND, f"no voice {request.voice!r}")
        raise AssertionError("abort raises")

    def UploadVoice(
        self, request_iterator: Iterator[pb.UploadVoiceRequest], context: Any
    ) -> pb.UploadVoiceResponse:
        upload = ReceivedUpload(request_iterator, dict(context.invocation_metadata()))
        self.uploads.append(upload)
        if not context.add_callback(upload.ended.set):  # the caller has left already
            upload.ended.set()
        response = self.upload_script(upload, context)
        self.voices.append(response.voice)
        return response

    def DeleteVoice(self, request: pb.DeleteVoiceRequest, context: Any) -> pb.DeleteVoiceResponse:
        voice = self.GetVoice(pb.GetVoiceRequest(voice=request.voice), context).voice
        if voice.origin != pb.VOICE_ORIGIN_UPLOADED:
            fail(context, grpc.StatusCode.FAILED_PRECONDITION, f"{voice.id} is the engine's")
        self.voices.remove(voice)
        self.deleted.append(voice.id)
        return pb.DeleteVoiceResponse()

    def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: Any
    ) -> pb.GetServerInfoResponse:
        return pb.GetServerInfoResponse(
            version="9.8.7",
            default_voice="ada",
            engines=[
                pb.EngineInfo(
                    name="tone",
                    state=pb.ENGINE_STATE_READY,
                    languages=["en-US"],
                    voice_count=len(self.voices),
                    model_fingerprint="f1",
                ),
                pb.EngineInfo(name="piper", state=pb.EngineState.ValueType(77)),
            ],
            formats=[
                pb.FormatInfo(
                    encoding=pb.ENCODING_MP3,
                    content_type="audio/mpeg",
                    file_suffixes=["mp3"],
                    sample_rates_hz=[22_050, 24_000],
                    min_sample_rate_hz=22_050,
                    max_sample_rate_hz=24_000,
                    default_bitrate_bps=64_000,
                    min_bitrate_bps=32_000,
                    max_bitrate_bps=128_000,
                ),
                pb.FormatInfo(
                    encoding=pb.ENCODING_WAV,
                    content_type="audio/wav",
                    file_suffixes=["wav"],
                    min_sample_rate_hz=8_000,
                    max_sample_rate_hz=48_000,
                ),
            ],
            limits=pb.Limits(
                max_text_characters=20_000,
                min_speed=0.5,
                max_speed=2.0,
                max_upload_bytes=50_000_000,
                consent_required=True,
            ),
        )
