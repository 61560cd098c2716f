"""ListVoices, GetVoice, GetServerInfo, health."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from audio_codec import FORMATS
from protos.tts.v1 import tts_pb2
from tests.server_process import ServerProcess
from tests.speech import details_of
from tts_service import __version__


def test_the_default_voice_is_described(speech_server: ServerProcess) -> None:
    with speech_server.stub() as stub:
        voices = stub.ListVoices(tts_pb2.ListVoicesRequest()).voices
        voice = stub.GetVoice(tts_pb2.GetVoiceRequest(voice="en_US-joe-medium")).voice
    assert list(voices) == [voice]
    assert voice.engine == "piper"
    assert list(voice.languages) == ["en-US"]
    assert voice.sample_rate_hz == 22_050
    assert voice.origin == tts_pb2.VOICE_ORIGIN_ENGINE


def test_voices_come_in_pages_of_a_stable_order(tone_server: ServerProcess) -> None:
    with tone_server.stub() as stub:
        whole = stub.ListVoices(tts_pb2.ListVoicesRequest())
        first = stub.ListVoices(tts_pb2.ListVoicesRequest(page_size=1))
        second = stub.ListVoices(
            tts_pb2.ListVoicesRequest(page_size=1, page_token=first.next_page_token)
        )
    assert [voice.id for voice in whole.voices] == ["tone-high", "tone-low"]
    assert whole.next_page_token == ""
    assert [*first.voices, *second.voices] == list(whole.voices)
    assert first.next_page_token
    assert second.next_page_token == ""


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"language": "de"}, 2),
        ({"language": "de-AT"}, 2),
        ({"language": "fr"}, 0),
        ({"engine": "tone"}, 2),
        ({"engine": "piper"}, 0),
    ],
)
def test_voices_are_filtered(
    tone_server: ServerProcess, filters: dict[str, str], count: int
) -> None:
    with tone_server.stub() as stub:
        assert len(stub.ListVoices(tts_pb2.ListVoicesRequest(**filters)).voices) == count  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_fields", "path"),
    [
        ({"page_size": -1}, "page_size"),
        ({"page_size": 1001}, "page_size"),
        ({"page_token": "no token!"}, "page_token"),
        ({"page_token": "é"}, "page_token"),
        ({"page_token": "_w=="}, "page_token"),
        ({"language": "!"}, "language"),
    ],
)
def test_bad_listings_are_refused(
    tone_server: ServerProcess, request_fields: dict[str, object], path: str
) -> None:
    with tone_server.stub() as stub, pytest.raises(grpc.RpcError) as caught:
        stub.ListVoices(tts_pb2.ListVoicesRequest(**request_fields))  # type: ignore[arg-type]
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    violations = details_of(caught.value)["BadRequest"].field_violations  # type: ignore[attr-defined]
    assert [v.field for v in violations] == [path]


def test_the_server_says_what_it_can(speech_server: ServerProcess) -> None:
    with speech_server.stub() as stub:
        info = stub.GetServerInfo(tts_pb2.GetServerInfoRequest())
    assert info.version == __version__
    assert info.default_voice == "en_US-joe-medium"
    (engine,) = info.engines
    assert (engine.name, engine.state) == ("piper", tts_pb2.ENGINE_STATE_READY)
    assert engine.voice_count == 1
    assert len(info.formats) == len(FORMATS) == len(tts_pb2.Encoding.keys()) - 1
    assert info.limits.max_text_characters == 10_000
    assert (info.limits.min_speed, info.limits.max_speed) == (0.5, 2.0)


def test_what_the_server_says_it_takes_it_takes(tone_server: ServerProcess) -> None:
    """Each listed rate, and each end of each listed range of bitrates at some rate."""
    with tone_server.stub() as stub:

        def header(
            encoding: tts_pb2.Encoding.ValueType, rate_hz: int, bitrate_bps: int = 0
        ) -> tts_pb2.SynthesisHeader:
            audio_format = tts_pb2.AudioFormat(
                encoding=encoding, sample_rate_hz=rate_hz, bitrate_bps=bitrate_bps
            )
            request = tts_pb2.SynthesizeRequest(text="a", format=audio_format)
            first, *_ = stub.Synthesize(request)
            return first.header

        def takes(encoding: tts_pb2.Encoding.ValueType, rate_hz: int, bitrate_bps: int) -> bool:
            try:
                return header(encoding, rate_hz, bitrate_bps).format.bitrate_bps == bitrate_bps
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                    raise
                return False

        formats = stub.GetServerInfo(tts_pb2.GetServerInfoRequest()).formats
        assert len(formats) == len(FORMATS)
        for entry in formats:
            rates_hz = list(entry.sample_rates_hz) or [
                entry.min_sample_rate_hz,
                entry.max_sample_rate_hz,
            ]
            for rate_hz in rates_hz:
                told = header(entry.encoding, rate_hz)
                assert told.format.sample_rate_hz == rate_hz
                assert told.content_type == entry.content_type
            bitrates_bps = {entry.min_bitrate_bps, entry.default_bitrate_bps, entry.max_bitrate_bps}
            for bitrate_bps in bitrates_bps - {0}:
                assert any(takes(entry.encoding, rate_hz, bitrate_bps) for rate_hz in rates_hz)


@pytest.mark.parametrize("service", ["", "tts.v1.TextToSpeech"])
def test_health_is_serving(speech_server: ServerProcess, service: str) -> None:
    with grpc.insecure_channel(speech_server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
