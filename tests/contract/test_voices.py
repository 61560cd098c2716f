"""UploadVoice, DeleteVoice, and speaking with what was uploaded, from outside."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.audio_files import AudioFileKind, audio_file, tone
from tests.human_speech import speech
from tests.server_process import ServerProcess, running_server
from tests.speech import details_of, reason_of, refused, speak

_RATE_HZ = 22_050


def _recording(kind: AudioFileKind = AudioFileKind.WAV) -> bytes:
    return audio_file(kind, speech().samples, _RATE_HZ)


def upload_parts(
    recordings: Mapping[str, bytes] | bytes, **metadata: Any
) -> Iterator[tts_pb2.UploadVoiceRequest]:
    metadata = {"display_name": "Anna", "language": "en-US"} | metadata
    yield tts_pb2.UploadVoiceRequest(metadata=tts_pb2.VoiceMetadata(**metadata))
    by_style = {"": recordings} if isinstance(recordings, bytes) else recordings
    for style, data in by_style.items():
        yield tts_pb2.UploadVoiceRequest(recording=tts_pb2.Recording(style=style))
        for start in range(0, len(data), 1 << 16):
            yield tts_pb2.UploadVoiceRequest(data=data[start : start + (1 << 16)])


def _fields(error: grpc.RpcError) -> list[str]:
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error
    bad: Any = details_of(error)["BadRequest"]
    return [violation.field for violation in bad.field_violations]


@pytest.fixture
def stub(tone_server: ServerProcess) -> Iterator[tts_pb2_grpc.TextToSpeechStub]:
    with tone_server.stub() as stub:
        yield stub


def test_a_voice_is_stored_spoken_with_and_deleted(
    stub: tts_pb2_grpc.TextToSpeechStub, tone_server: ServerProcess
) -> None:
    voice = stub.UploadVoice(upload_parts(_recording(), voice_id="anna-one")).voice
    assert voice.id == "anna-one"
    assert voice.display_name == "Anna"
    assert voice.engine == "tone"
    assert list(voice.languages) == ["en", "de"]
    assert voice.origin == tts_pb2.VOICE_ORIGIN_UPLOADED
    assert list(voice.styles) == ["neutral"]
    assert len(voice.content_fingerprint) == 64
    (report,) = voice.quality
    assert report.recording_count == 1
    assert 3_000 <= report.speech_ms <= report.kept_ms <= 30_500
    assert report.loudness_after_lufs == pytest.approx(-20, abs=0.5)
    assert stub.GetVoice(tts_pb2.GetVoiceRequest(voice="anna-one")).voice == voice
    assert voice in stub.ListVoices(tts_pb2.ListVoicesRequest(engine="tone")).voices

    own = speak(stub, text="In my own voice", voice="anna-one", encoding="PCM_S16LE")
    other = speak(stub, text="In my own voice", voice="tone-low", encoding="PCM_S16LE")
    assert own.header.voice == "anna-one"
    assert own.summary.sample_count == other.summary.sample_count
    assert own.data != other.data
    german = speak(stub, text="Auf Deutsch", voice="anna-one", language="de")
    assert german.header.language == "de"

    stub.DeleteVoice(tts_pb2.DeleteVoiceRequest(voice="anna-one"))
    for call in (
        lambda: stub.GetVoice(tts_pb2.GetVoiceRequest(voice="anna-one")),
        lambda: speak(stub, text="Gone", voice="anna-one"),
        lambda: stub.DeleteVoice(tts_pb2.DeleteVoiceRequest(voice="anna-one")),
    ):
        assert refused(call).code() is grpc.StatusCode.NOT_FOUND
    kept = [
        path
        for path in Path(tone_server.data_dir).rglob("*")
        if "anna-one" in path.name or path.suffix == ".flac"
    ]
    assert kept == []


def test_an_uploaded_voice_is_mixed_with_an_engines(
    stub: tts_pb2_grpc.TextToSpeechStub,
) -> None:
    stub.UploadVoice(upload_parts(_recording(), voice_id="mixable"))

    def spoken(weight: float) -> bytes:
        shares = {"mixable": weight, "tone-high": 1.0}
        mix = [tts_pb2.VoiceShare(voice=voice, weight=w) for voice, w in shares.items()]
        return speak(stub, text="In between", voice_mix=mix, encoding="PCM_S16LE").data

    def alone(voice: str) -> bytes:
        return speak(stub, text="In between", voice=voice, encoding="PCM_S16LE").data

    assert len({spoken(1.0), spoken(2.0), alone("mixable"), alone("tone-high")}) == 4
    assert _distance(spoken(1e6), alone("mixable")) < 1e-3
    assert _distance(spoken(1e-6), alone("tone-high")) < 1e-3
    stub.DeleteVoice(tts_pb2.DeleteVoiceRequest(voice="mixable"))


def _distance(one: bytes, other: bytes) -> float:
    difference = np.frombuffer(one, "<i2").astype(float) - np.frombuffer(other, "<i2")
    return float(np.abs(difference).max() / 32768)


def test_styles_are_kept_apart(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    low = audio_file(AudioFileKind.FLAC, speech().samples, _RATE_HZ)
    # The same words read faster, and so higher.
    high = audio_file(AudioFileKind.FLAC, speech().samples, int(_RATE_HZ * 1.3))
    voice = stub.UploadVoice(upload_parts({"neutral": low, "cheerful": high})).voice
    assert list(voice.styles) == ["cheerful", "neutral"]
    assert [report.style for report in voice.quality] == ["cheerful", "neutral"]

    def spoken(style: str) -> bytes:
        return speak(
            stub, text="Both of me", voice=voice.id, style=style, encoding="PCM_S16LE"
        ).data

    assert spoken("") == spoken("neutral") != spoken("cheerful")
    error = refused(lambda: speak(stub, text="x", voice=voice.id, style="sad"))
    assert _fields(error) == ["style"]
    error = refused(lambda: speak(stub, text="x", voice="tone-low", style="neutral"))
    assert _fields(error) == ["style"]
    stub.DeleteVoice(tts_pb2.DeleteVoiceRequest(voice=voice.id))


def test_a_retried_upload_gives_the_same_voice(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    first = stub.UploadVoice(upload_parts(_recording(), request_id="once"))
    again = stub.UploadVoice(upload_parts(_recording(), request_id="once"))
    assert (first.already_stored, again.already_stored) == (False, True)
    assert first.voice == again.voice
    stub.DeleteVoice(tts_pb2.DeleteVoiceRequest(voice=first.voice.id))


def test_of_two_uploads_of_an_id_one_wins(stub: tts_pb2_grpc.TextToSpeechStub) -> None:
    start = threading.Barrier(2)

    def upload(_: int) -> grpc.RpcError | None:
        start.wait()
        try:
            stub.UploadVoice(upload_parts(_recording(), voice_id="wanted"))
        except grpc.RpcError as error:
            return error
        return None

    with ThreadPoolExecutor(2) as pool:
        (error,) = filter(None, pool.map(upload, range(2)))
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    resource: Any = details_of(error)["ResourceInfo"]
    assert resource.resource_name == "wanted"
    stub.DeleteVoice(tts_pb2.DeleteVoiceRequest(voice="wanted"))


@pytest.mark.parametrize(
    "voice_id",
    ["../x", "..%2f", "CON", "con", "😀", "a" * 300, "Zoë", "Zoe", "a--b", "-a", "a/b", "."],
)
def test_no_id_leaves_the_store(stub: tts_pb2_grpc.TextToSpeechStub, voice_id: str) -> None:
    error = refused(lambda: stub.UploadVoice(upload_parts(_recording(), voice_id=voice_id)))
    assert _fields(error) == ["metadata.voice_id"]


def test_an_engines_voice_is_neither_replaced_nor_deleted(
    stub: tts_pb2_grpc.TextToSpeechStub,
) -> None:
    error = refused(lambda: stub.UploadVoice(upload_parts(_recording(), voice_id="tone-low")))
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    error = refused(lambda: stub.DeleteVoice(tts_pb2.DeleteVoiceRequest(voice="tone-low")))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(error) == "ENGINE_VOICE"


def _message(**part: Any) -> tts_pb2.UploadVoiceRequest:
    return tts_pb2.UploadVoiceRequest(**part)


_META = tts_pb2.VoiceMetadata(display_name="Anna", language="en")


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "metadata"),
        ([_message(data=b"x")], "metadata"),
        ([_message(metadata=_META)], "recording"),
        ([_message(metadata=_META), _message(metadata=_META)], "metadata"),
        ([_message(metadata=_META), _message(data=b"x")], "data"),
        ([_message(metadata=_META), _message()], "part"),
        (
            [_message(metadata=_META), _message(recording=tts_pb2.Recording(style="So Sad"))],
            "recording.style",
        ),
        ([_message(metadata=tts_pb2.VoiceMetadata(language="en"))], "metadata.display_name"),
        ([_message(metadata=tts_pb2.VoiceMetadata(display_name="A"))], "metadata.language"),
    ],
)
def test_parts_out_of_place_are_refused(
    stub: tts_pb2_grpc.TextToSpeechStub, messages: list[tts_pb2.UploadVoiceRequest], field: str
) -> None:
    assert _fields(refused(lambda: stub.UploadVoice(iter(messages)))) == [field]


@pytest.mark.parametrize(
    ("recording", "reason"),
    [
        (lambda: b"", "NOT_AUDIO"),
        (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", "NOT_AUDIO"),
        (lambda: b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n/etc/passwd\n", "NOT_AUDIO"),
        (lambda: _wav(np.zeros(_RATE_HZ * 5)), "SILENT"),
        (lambda: _wav(tone(5, _RATE_HZ)), "NO_SPEECH"),
        (lambda: _wav(speech().samples[: _RATE_HZ * 2]), "TOO_SHORT"),
    ],
)
def test_recordings_that_cant_be_used_are_refused_with_the_reason(
    stub: tts_pb2_grpc.TextToSpeechStub, recording: Callable[[], bytes], reason: str
) -> None:
    error = refused(lambda: stub.UploadVoice(upload_parts(recording())))
    assert _fields(error) == ["recording"]
    assert reason_of(error) == reason


def _wav(samples: NDArray[np.floating]) -> bytes:
    return audio_file(AudioFileKind.WAV, samples, _RATE_HZ)


@pytest.fixture
def strict_server(tmp_path: Path) -> Iterator[ServerProcess]:
    environment = {
        "TTS_UPLOADS__CONSENT_REQUIRED": "true",
        "TTS_UPLOADS__MAX_UPLOAD_BYTES": str(1 << 16),
        "TTS_UPLOADS__MAX_RECORDINGS": "2",
    }
    with running_server(tmp_path, "--engine", "tone", environment=environment) as server:
        yield server


def test_consent_is_demanded_and_checked(strict_server: ServerProcess) -> None:
    past, future = tts_pb2.Consent(), tts_pb2.Consent()
    for consent, second in ((past, 1_700_000_000), (future, 32_503_680_000)):
        consent.person, consent.statement, consent.attested_by = "Anna", "I agree.", "Ben"
        consent.consent_time.FromSeconds(second)
    with strict_server.stub() as stub:
        error = refused(lambda: stub.UploadVoice(upload_parts(b"x")))
        assert _fields(error) == ["metadata.consent"]
        error = refused(lambda: stub.UploadVoice(upload_parts(b"x", consent=future)))
        assert _fields(error) == ["metadata.consent.consent_time"]
        half = tts_pb2.Consent(person="Anna")
        error = refused(lambda: stub.UploadVoice(upload_parts(b"x", consent=half)))
        assert _fields(error) == [
            "metadata.consent.statement",
            "metadata.consent.attested_by",
            "metadata.consent.consent_time",
        ]
        error = refused(lambda: stub.UploadVoice(upload_parts(b"x", consent=past)))
        assert reason_of(error) == "NOT_AUDIO"
        # Refused the moment the cap is passed, with most of it not sent.
        error = refused(lambda: stub.UploadVoice(upload_parts(bytes(64 << 20), consent=past)))
        assert reason_of(error) == "TOO_LARGE"
        many = {"a": b"x", "b": b"x", "c": b"x"}
        error = refused(lambda: stub.UploadVoice(upload_parts(many, consent=past)))
        assert reason_of(error) == "TOO_MANY_RECORDINGS"
        assert list((strict_server.data_dir / "spool").iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "SILENT"),
        ({"TTS_UPLOADS__PREPARE_MEMORY_BYTES": str(1 << 28)}, "NOT_AUDIO"),
        ({"TTS_UPLOADS__PREPARE_TIMEOUT_S": "0.1"}, "NOT_AUDIO"),
    ],
    ids=["plenty", "little memory", "little time"],
)
def test_preparing_takes_no_more_than_it_is_given(
    tmp_path: Path, settings: dict[str, str], reason: str
) -> None:
    ten_minutes = audio_file(AudioFileKind.FLAC, np.zeros(599 * 48_000, np.float32), 48_000)
    with (
        running_server(tmp_path, "--engine", "tone", environment=settings) as server,
        server.stub() as stub,
    ):
        error = refused(lambda: stub.UploadVoice(upload_parts(ten_minutes)))
        assert reason_of(error) == reason
        assert ("preparation died" in server.log) == (reason == "NOT_AUDIO")


def test_without_an_engine_that_clones_a_voice_waits_for_one(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, server.stub() as stub:
        voice = stub.UploadVoice(
            upload_parts(_recording(AudioFileKind.MP3), voice_id="patient")
        ).voice
        assert voice.engine == ""
        assert list(voice.languages) == ["en-US"]
        error = refused(lambda: speak(stub, text="Hello", voice="patient"))
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert reason_of(error) == "NO_CLONING_ENGINE"

    with running_server(tmp_path, "--engine", "tone") as server, server.stub() as stub:
        assert stub.GetVoice(tts_pb2.GetVoiceRequest(voice="patient")).voice.engine == "tone"
        speak(stub, text="At last", voice="patient")
    embeddings = list((tmp_path / "data" / "voices").rglob("*.safetensors"))
    assert len(embeddings) == 1
