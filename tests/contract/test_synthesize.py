"""Synthesize from outside, through generated stubs."""

import io
import wave
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from protos.tts.v1 import tts_pb2
from tests.server_process import ServerProcess
from tests.speech import Speech, details_of, speak
from tts_service.engines.base import RenderJob, VoiceShare
from tts_service.engines.tone import ToneEngine


def test_a_sentence_becomes_a_header_audio_and_a_summary(speech_server: ServerProcess) -> None:
    text = "The parcel is on its way. It will be with you before noon."
    with speech_server.stub() as stub:
        speech = speak(stub, text=text, encoding="WAV")
    assert speech.header.voice == "en_US-joe-medium"
    assert speech.header.engine == "piper"
    assert speech.header.language == "en-US"
    assert speech.header.content_type == "audio/wav"
    assert len(speech.header.model_fingerprint) == 64
    assert speech.summary.completion == tts_pb2.COMPLETION_SPOKEN
    assert speech.summary.character_count == len(text)
    assert 2_500 < speech.summary.audio_ms < 7_000
    spans = [(f.span.start_character, f.span.end_character) for f in speech.frames]
    # One frame may hold the end of the one and the beginning of the other.
    first, second = "The parcel is on its way.", "It will be with you before noon."
    assert {text[start:] for start, end in spans if start < end} == {text, second}
    assert {text[:end] for start, end in spans if start < end} == {first, text}


def test_the_default_format_is_mp3(tone_server: ServerProcess) -> None:
    with tone_server.stub() as stub:
        speech = speak(stub, text="Default")
    assert speech.header.format.encoding == tts_pb2.ENCODING_MP3
    assert speech.header.content_type == "audio/mpeg"
    assert speech.header.format.sample_rate_hz == 24_000


def test_a_wav_of_one_segment_has_true_sizes(tone_server: ServerProcess) -> None:
    with tone_server.stub() as stub:
        speech = speak(stub, text="Short", encoding="WAV")
    assert int.from_bytes(speech.data[4:8], "little") == len(speech.data) - 8
    with wave.open(io.BytesIO(speech.data)) as file:
        assert file.getnframes() == speech.summary.sample_count == 5 * 1440


def test_speed_changes_the_length(speech_server: ServerProcess) -> None:
    text = "The quick brown fox jumps over the lazy dog near the river bank."

    def length_ms(speed: float) -> int:
        with speech_server.stub() as stub:
            speech = speak(stub, text=text, prosody=tts_pb2.Prosody(speed=speed))
        return speech.summary.audio_ms

    assert 1.5 < length_ms(0.6) / length_ms(1.2) < 2.6


def test_the_callers_request_id_comes_back(tone_server: ServerProcess) -> None:
    request = tts_pb2.SynthesizeRequest(text="id")
    with tone_server.stub() as stub:
        given = next(iter(stub.Synthesize(request, metadata=[("x-request-id", "order-17")])))
        made = next(iter(stub.Synthesize(request)))
        refused = next(iter(stub.Synthesize(request, metadata=[("x-request-id", "a b")])))
    assert given.header.request_id == "order-17"
    assert len(made.header.request_id) == len(refused.header.request_id) == 32
    assert made.header.request_id != refused.header.request_id


@pytest.mark.parametrize("text", ["...", "   ", "\n\t\n", "?!", "🙂🙂", "—"])
def test_text_without_speech_gives_an_empty_stream(tone_server: ServerProcess, text: str) -> None:
    with tone_server.stub() as stub:
        speech = speak(stub, text=text, encoding="OGG_OPUS")
    assert speech.frames == []
    assert speech.summary.completion == tts_pb2.COMPLETION_NO_SPEAKABLE_TEXT
    assert speech.summary.character_count == len(text)
    assert speech.summary.audio_ms == speech.summary.byte_count == speech.summary.crc32c == 0


def test_twenty_callers_hear_what_each_would_hear_alone(tone_server: ServerProcess) -> None:
    encodings = ["PCM_S16LE", "WAV", "MP3", "OGG_OPUS", "FLAC"]
    texts = [
        f"Caller {chr(65 + n)} says its own words, {'very ' * n}calmly. And then some more. {n}!"
        for n in range(20)
    ]
    voices = ["tone-low", "tone-high"]

    def ask(n: int) -> Speech:
        with tone_server.stub() as stub:
            return speak(
                stub, text=texts[n], voice=voices[n % 2], encoding=encodings[n % len(encodings)]
            )

    alone = [ask(n) for n in range(20)]
    assert len({speech.data for speech in alone}) == 20
    with ThreadPoolExecutor(20) as pool:
        for _ in range(3):
            together = list(pool.map(ask, range(20)))
            for n in range(20):
                assert _without_serials(together[n]) == _without_serials(alone[n]), f"caller {n}"


def _without_serials(speech: Speech) -> bytes:
    """The bytes, without what an Ogg stream draws at random: its serial, and so its sums."""
    data = bytearray(speech.data)
    position = data.find(b"OggS")
    while position >= 0:
        data[position + 14 : position + 18] = data[position + 22 : position + 26] = bytes(4)
        position = data.find(b"OggS", position + 4)
    return bytes(data)


def test_the_samples_are_the_engines_own(tone_server: ServerProcess) -> None:
    """What the caller decodes is what the engine computed, to the sample."""
    job = RenderJob("Exactly these samples", "tone-low", "en")
    with tone_server.stub() as stub:
        speech = speak(stub, text=job.text, voice="tone-low", encoding="PCM_S16LE")
    _assert_is_rendered_from(job, speech)


def _assert_is_rendered_from(job: RenderJob, speech: Speech) -> None:
    expected = np.concatenate([chunk.samples for chunk in ToneEngine().render(job)])
    received = np.frombuffer(speech.data, "<i2")
    assert len(received) == len(expected)
    assert np.abs(received / 32768 - expected).max() <= 0.5 / 32768 + 1e-9


def _mix(*shares: tuple[str, float]) -> list[tts_pb2.VoiceShare]:
    return [tts_pb2.VoiceShare(voice=voice, weight=weight) for voice, weight in shares]


def test_a_mix_is_spoken_by_its_weights(tone_server: ServerProcess) -> None:
    mix = _mix(("tone-high", 3.0), ("tone-low", 1.0))
    with tone_server.stub() as stub:
        speech = speak(stub, text="Somewhere between", voice_mix=mix, encoding="PCM_S16LE")
    shares = (VoiceShare("tone-high", b"", 0.75), VoiceShare("tone-low", b"", 0.25))
    _assert_is_rendered_from(RenderJob("Somewhere between", "", "en", mix=shares), speech)
    assert (speech.header.voice, speech.header.engine) == ("", "tone")
    assert list(speech.header.voice_mix) == mix


def test_an_engine_that_doesnt_sample_has_no_seed(tone_server: ServerProcess) -> None:
    with tone_server.stub() as stub:
        header = speak(stub, text="As ever").header
    assert not header.HasField("seed")
    assert list(header.voice_mix) == []


_REFUSED = [
    ({"text": ""}, "text"),
    ({}, "text"),
    ({"text": "x" * 50_000}, "text"),
    ({"text": "bell\x07"}, "text"),
    ({"text": "nul\x00"}, "text"),
    ({"text": "c1 \x85"}, "text"),
    ({"text": "hi", "language": "fr"}, "language"),
    ({"text": "hi", "language": "not a tag"}, "language"),
    ({"text": "hi", "language": "en-" + "x" * 5_000}, "language"),
    ({"text": "hi", "language": "en" + "-variant0" * 3_000}, "language"),
    ({"text": "hi", "voice": "v" * 3_000}, "voice"),
    ({"text": "hi", "voice": "\U0001f600" * 10_000}, "voice"),
    ({"text": "hi", "style": "s" * 3_000}, "style"),
    ({"text": "hi", "prosody": tts_pb2.Prosody(speed=float("nan"))}, "prosody.speed"),
    ({"text": "hi", "prosody": tts_pb2.Prosody(speed=float("inf"))}, "prosody.speed"),
    ({"text": "hi", "prosody": tts_pb2.Prosody(speed=0.0)}, "prosody.speed"),
    ({"text": "hi", "prosody": tts_pb2.Prosody(speed=2.01)}, "prosody.speed"),
    ({"text": "hi", "format": tts_pb2.AudioFormat(encoding=77)}, "format.encoding"),  # type: ignore[arg-type]
    ({"text": "hi", "format": tts_pb2.AudioFormat(sample_rate_hz=7999)}, "format.sample_rate_hz"),
    ({"text": "hi", "format": tts_pb2.AudioFormat(sample_rate_hz=-1)}, "format.sample_rate_hz"),
    (
        {"text": "hi", "format": tts_pb2.AudioFormat(encoding=7, sample_rate_hz=16_000)},  # type: ignore[arg-type]
        "format.sample_rate_hz",
    ),
    (
        {"text": "hi", "format": tts_pb2.AudioFormat(encoding=4, sample_rate_hz=22_050)},  # type: ignore[arg-type]
        "format.sample_rate_hz",
    ),
    ({"text": "hi", "format": tts_pb2.AudioFormat(bitrate_bps=1)}, "format.bitrate_bps"),
    (
        {"text": "hi", "format": tts_pb2.AudioFormat(encoding=5, bitrate_bps=64_000)},  # type: ignore[arg-type]
        "format.bitrate_bps",
    ),
    ({"text": "hi", "format": tts_pb2.AudioFormat(frame_ms=5_000)}, "format.frame_ms"),
    ({"text": "hi", "sampling": tts_pb2.Sampling(seed=0)}, "sampling"),
    ({"text": "hi", "voice_mix": _mix(("tone-low", 1.0))}, "voice_mix"),
    ({"text": "hi", "voice_mix": _mix(("tone-low", 1.0), ("nobody", 1.0))}, "voice_mix[1].voice"),
    (
        {"text": "hi", "voice_mix": _mix(("tone-low", 1.0), ("tone-high", 0.0))},
        "voice_mix[1].weight",
    ),
    (
        {"text": "hi", "style": "sad", "voice_mix": _mix(("tone-low", 1.0), ("tone-high", 1.0))},
        "style",
    ),
]


@pytest.mark.parametrize(("request_fields", "path"), _REFUSED)
def test_bad_input_is_refused_with_the_fields_path(
    tone_server: ServerProcess, request_fields: dict[str, object], path: str
) -> None:
    with tone_server.stub() as stub, pytest.raises(grpc.RpcError) as caught:
        list(stub.Synthesize(tts_pb2.SynthesizeRequest(**request_fields), timeout=10))  # type: ignore[arg-type]
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = details_of(caught.value)
    assert [violation.field for violation in details["BadRequest"].field_violations] == [path]  # type: ignore[attr-defined]
    assert details["ErrorInfo"].reason == "INVALID_REQUEST"  # type: ignore[attr-defined]
    assert details["ErrorInfo"].domain == "tts.v1"  # type: ignore[attr-defined]
    assert details["RequestInfo"].request_id  # type: ignore[attr-defined]


def test_every_field_at_fault_is_named_at_once(tone_server: ServerProcess) -> None:
    request = tts_pb2.SynthesizeRequest(
        text="bell\x07", language="??", prosody=tts_pb2.Prosody(speed=9)
    )
    with tone_server.stub() as stub, pytest.raises(grpc.RpcError) as caught:
        list(stub.Synthesize(request))
    violations = details_of(caught.value)["BadRequest"].field_violations  # type: ignore[attr-defined]
    assert [v.field for v in violations] == ["text", "language", "prosody.speed"]


def test_lone_surrogates_are_refused_by_name(tone_server: ServerProcess) -> None:
    """No protobuf library writes such a string, so the bytes are written by hand."""
    surrogate = b"\xed\xa0\x80"
    text = b"\x0a" + bytes([len(surrogate)]) + surrogate
    voice = b"\x22" + bytes([len(surrogate)]) + surrogate
    part = b"\x72\x05\x0a" + bytes([len(surrogate)]) + surrogate
    second_part = b"\x72\x03\x0a\x01a" + part
    for body, path in (
        (text, "text"),
        (b"\x0a\x02hi" + voice, "voice"),
        (b"\x0a\x02hi" + second_part, "voice_mix[1].voice"),
        (b"\xff\xff", ""),
    ):
        with grpc.insecure_channel(tone_server.address) as channel:
            call = channel.unary_stream("/tts.v1.TextToSpeech/Synthesize")
            with pytest.raises(grpc.RpcError) as caught:
                list(call(body, timeout=10))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        violations = details_of(caught.value)["BadRequest"].field_violations  # type: ignore[attr-defined]
        assert [v.field for v in violations] == [path]


def test_an_unknown_voice_is_not_found(tone_server: ServerProcess) -> None:
    with tone_server.stub() as stub:
        for call in (
            lambda: list(stub.Synthesize(tts_pb2.SynthesizeRequest(text="hi", voice="nobody"))),
            lambda: stub.GetVoice(tts_pb2.GetVoiceRequest(voice="nobody")),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            details = details_of(caught.value)
            assert details["ErrorInfo"].reason == "VOICE_NOT_FOUND"  # type: ignore[attr-defined]
            assert details["ResourceInfo"].resource_type == "tts.v1.Voice"  # type: ignore[attr-defined]
            assert details["ResourceInfo"].resource_name == "nobody"  # type: ignore[attr-defined]


def test_a_deadline_ends_the_call(speech_server: ServerProcess) -> None:
    request = tts_pb2.SynthesizeRequest(text="And so it goes on, and on, and on. " * 250)
    with speech_server.stub() as stub, pytest.raises(grpc.RpcError) as caught:
        list(stub.Synthesize(request, timeout=0.4))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_the_longest_voice_id_is_answered_in_full(tone_server: ServerProcess) -> None:
    """Its escaped name stands in the message and in the details, which have to fit trailers."""
    for voice in ("\U0001f600" * 128, "\u0001" * 128, "é" * 128):
        request = tts_pb2.SynthesizeRequest(text="hi", voice=voice)
        with tone_server.stub() as stub, pytest.raises(grpc.RpcError) as caught:
            list(stub.Synthesize(request))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert details_of(caught.value)["ResourceInfo"].resource_name == voice  # type: ignore[attr-defined]


def test_a_large_malformed_request_is_not_searched_for_its_fault(
    tone_server: ServerProcess,
) -> None:
    """The search walks every field in Python, on the loop that serves all callers."""
    body = b"\x7a\x00" * (1 << 16) + b"\x0a\x01\xff"
    with grpc.insecure_channel(tone_server.address) as channel:
        call = channel.unary_stream("/tts.v1.TextToSpeech/Synthesize")
        with pytest.raises(grpc.RpcError) as caught:
            list(call(body, timeout=10))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    violations = details_of(caught.value)["BadRequest"].field_violations  # type: ignore[attr-defined]
    assert [v.field for v in violations] == [""]
