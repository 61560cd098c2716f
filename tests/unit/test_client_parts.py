"""The client's pure parts: names, encodings, requests, the stream check."""

import math
from pathlib import Path

import pytest

import tts_client
from protos.tts.v1 import tts_pb2 as pb
from tts_client import (
    CacheMode,
    CacheStatus,
    CorruptStream,
    Encoding,
    Header,
    InvalidArgument,
    SpeechOptions,
    TtsError,
)
from tts_client.cache import CACHE_MODE_NAMES
from tts_client.call import Call
from tts_client.encoding import FILE_FORMAT_NAMES, ContractEnum
from tts_client.request import build_request
from tts_client.stream_check import StreamCheck


def test_the_public_names() -> None:
    expected = {
        *("AsyncClient", "AsyncSpeech", "Client", "Speech", "RetryPolicy", "SpeechOptions", "Tls"),
        *("AudioFormat", "AudioFrame", "Completion", "Encoding", "Header", "Summary", "TextSpan"),
        *("CacheMode", "CacheStatus", "NotCached"),
        *("EngineInfo", "EngineState", "FormatInfo", "Limits", "ServerInfo"),
        *("Voice", "VoiceOrigin", "QualityReport", "QualityWarning"),
        *("Consent", "Recordings", "UploadedVoice"),
        *("TtsError", "InvalidArgument", "FieldViolation", "NotFound", "FailedPrecondition"),
        *("AlreadyExists", "Tls"),
        *("Unauthenticated", "PermissionDenied", "Unavailable", "Overloaded", "Cancelled"),
        *("DeadlineExceeded", "ServerError", "StreamError", "TruncatedStream", "CorruptStream"),
    }
    assert set(tts_client.__all__) == expected
    assert all(hasattr(tts_client, name) for name in expected)
    assert list(tts_client.__all__) == sorted(tts_client.__all__)


def test_every_error_is_a_tts_error_and_drawn_in_the_tree() -> None:
    drawing = tts_client.errors.__doc__
    for name in tts_client.__all__:
        member = getattr(tts_client, name)
        if isinstance(member, type) and issubclass(member, Exception):
            assert issubclass(member, TtsError)
            assert name in drawing


@pytest.mark.parametrize(
    ("mine", "prefix", "theirs"),
    [
        (tts_client.Encoding, "ENCODING_", pb.Encoding),
        (tts_client.CacheMode, "CACHE_MODE_", pb.CacheMode),
        (tts_client.CacheStatus, "CACHE_STATUS_", pb.CacheStatus),
        (tts_client.Completion, "COMPLETION_", pb.Completion),
        (tts_client.EngineState, "ENGINE_STATE_", pb.EngineState),
        (tts_client.VoiceOrigin, "VOICE_ORIGIN_", pb.VoiceOrigin),
    ],
)
def test_the_enums_are_those_of_the_contract(
    mine: type[ContractEnum], prefix: str, theirs: object
) -> None:
    assert {prefix + member.name: member.value for member in mine} == dict(theirs.items())
    assert mine(999).value == 0


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("mp3", Encoding.MP3),
        ("MP3", Encoding.MP3),
        ("opus", Encoding.OGG_OPUS),
        ("ogg-opus", Encoding.OGG_OPUS),
        ("pcm", Encoding.PCM_S16LE),
        ("pcm_s16le", Encoding.PCM_S16LE),
        ("opus_packets", Encoding.OPUS_PACKETS),
    ],
)
def test_formats_have_names(name: str, encoding: Encoding) -> None:
    assert Encoding.parse(name) is encoding


def test_an_unknown_format_is_refused_with_the_choices() -> None:
    with pytest.raises(InvalidArgument, match="mp3, wav, opus, flac"):
        Encoding.parse("mp4")


def test_the_short_names_cover_every_encoding_that_makes_a_file() -> None:
    files = {e for e in Encoding if e.makes_file and e is not Encoding.UNSPECIFIED}
    assert {Encoding.parse(name) for name in FILE_FORMAT_NAMES} == files


@pytest.mark.parametrize(
    ("file", "encoding"),
    [
        ("a.mp3", Encoding.MP3),
        ("dir.wav/a.MP3", Encoding.MP3),
        ("a.b.ogg", Encoding.OGG_OPUS),
        ("a.opus", Encoding.OGG_OPUS),
        ("a.webm", Encoding.WEBM_OPUS),
        ("a.aac", Encoding.AAC_ADTS),
        ("a.raw", Encoding.PCM_S16LE),
        ("a.ulaw", Encoding.MULAW),
        ("a.al", Encoding.ALAW),
    ],
)
def test_a_suffix_tells_the_format(file: str, encoding: Encoding) -> None:
    assert Encoding.of_path(Path(file)) is encoding


@pytest.mark.parametrize("file", ["a", ".mp3", "a.m4a", "a.", "a.mp3x"])
def test_a_suffix_that_tells_nothing_is_refused(file: str) -> None:
    with pytest.raises(InvalidArgument, match="does not tell the format"):
        Encoding.of_path(Path(file))


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("default", CacheMode.DEFAULT),
        ("unspecified", CacheMode.DEFAULT),
        ("bypass", CacheMode.BYPASS),
        (" Refresh ", CacheMode.REFRESH),
        ("ONLY", CacheMode.ONLY),
    ],
)
def test_cache_modes_have_names(name: str, mode: CacheMode) -> None:
    assert CacheMode.parse(name) is mode


def test_the_names_that_people_are_shown_are_all_modes_but_the_default() -> None:
    assert CacheMode.DEFAULT is CacheMode.UNSPECIFIED
    assert {CacheMode.parse(name) for name in CACHE_MODE_NAMES} == {*CacheMode} - {
        CacheMode.DEFAULT
    }


@pytest.mark.parametrize("wrong", ["", "on", "cache_mode_only", "parse", False, 0, 3])
def test_an_unknown_cache_mode_is_refused_with_the_choices(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="default, bypass, refresh, only") as caught:
        build_request("Hi", cache=wrong)  # type: ignore[arg-type]
    assert [violation.field for violation in caught.value.violations] == ["cache"]


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (pb.CACHE_STATUS_MISS, CacheStatus.MISS),
        (pb.CACHE_STATUS_HIT, CacheStatus.HIT),
        (pb.CACHE_STATUS_JOINED, CacheStatus.JOINED),
        (99, CacheStatus.UNSPECIFIED),
    ],
)
def test_a_header_tells_where_the_speech_comes_from(number: int, status: CacheStatus) -> None:
    message = pb.SynthesisHeader(cache_status=pb.CacheStatus.ValueType(number), seed=7)
    header = Header.from_proto(message)
    assert (header.cache_status, header.seed) == (status, 7)


def test_a_server_without_a_cache_says_nothing_of_it() -> None:
    assert Header.from_proto(pb.SynthesisHeader()).cache_status is CacheStatus.UNSPECIFIED


@pytest.mark.parametrize("nothing", [{}, {"cache": None}, {"cache": "default"}])
def test_what_is_left_out_is_left_to_the_server(nothing: SpeechOptions) -> None:
    assert build_request("Hi", **nothing) == pb.SynthesizeRequest(text="Hi")


def test_everything_that_is_asked_for_is_in_the_request() -> None:
    request = build_request(
        "Hi",
        voice="ada",
        language="en",
        format=Encoding.MP3,
        sample_rate_hz=24_000,
        bitrate_bps=48_000,
        frame_ms=40,
        speed=0.75,
        style="sad",
        voice_mix={"ada": 0.7, "bob": 1},
        temperature=0.0,
        top_k=20,
        top_p=0.9,
        repetition_penalty=5.0,
        seed=0,
        cache=CacheMode.REFRESH,
    )
    assert request == pb.SynthesizeRequest(
        text="Hi",
        voice="ada",
        language="en",
        format=pb.AudioFormat(
            encoding=pb.ENCODING_MP3, sample_rate_hz=24_000, bitrate_bps=48_000, frame_ms=40
        ),
        prosody=pb.Prosody(speed=0.75),
        style="sad",
        sampling=pb.Sampling(temperature=0.0, top_k=20, top_p=0.9, repetition_penalty=5.0, seed=0),
        voice_mix=[
            pb.VoiceShare(voice="ada", weight=0.7),
            pb.VoiceShare(voice="bob", weight=1.0),
        ],
        cache=pb.CACHE_MODE_REFRESH,
    )


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"text": "\udc80"}, "text"),
        ({"text": "x" * (4 * 1024 * 1024)}, "text"),
        ({"voice": "\ud800"}, "voice"),
        ({"language": "\ud800"}, "language"),
        ({"style": "\ud800"}, "style"),
        ({"format": "mp4"}, "format.encoding"),
        ({"sample_rate_hz": 2**31}, "format.sample_rate_hz"),
        ({"bitrate_bps": -(2**31) - 1}, "format.bitrate_bps"),
        ({"frame_ms": 2**40}, "format.frame_ms"),
        ({"top_k": 2**31}, "sampling.top_k"),
        ({"seed": 2**63}, "sampling.seed"),
        ({"seed": -(2**63) - 1}, "sampling.seed"),
        ({"voice_mix": {"ada": 1.0, "\ud800": 1.0}}, "voice_mix[1].voice"),
    ],
)
def test_what_the_wire_cannot_carry_is_refused_by_its_field(
    options: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        build_request(**{"text": "Hi", **options})
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize("request_id", ["", "naïve", "two\nlines", "a\x7f", "night job", "x" * 129])
def test_a_request_id_that_metadata_cannot_carry_is_refused(request_id: str) -> None:
    with pytest.raises(InvalidArgument, match="request_id"):
        Call.make(request_id, None, None)


@pytest.mark.parametrize(
    ("own", "default", "limit"),
    [(None, None, None), (None, 5.0, 5.0), (2.0, 5.0, 2.0), (math.inf, 5.0, None)],
)
def test_a_call_has_its_own_limit_or_the_clients(
    own: float | None, default: float | None, limit: float | None
) -> None:
    assert Call.make("id", own, default).timeout_s == limit


@pytest.mark.parametrize("timeout_s", [0, -1, math.nan])
def test_a_limit_that_leaves_no_time_is_refused(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        Call.make("id", timeout_s, None)


def test_a_header_tells_how_to_ask_for_the_same_again() -> None:
    options: SpeechOptions = {"voice_mix": {"ada": 0.7, "bob": 0.3}, "seed": 0}
    request = build_request("Hi", **options)
    header = Header.from_proto(
        pb.SynthesisHeader(seed=request.sampling.seed, voice_mix=request.voice_mix)
    )
    assert build_request("Hi", voice_mix=header.voice_mix, seed=header.seed) == request
    assert Header.from_proto(pb.SynthesisHeader()).seed is None


HEADER = pb.SynthesizeResponse(header=pb.SynthesisHeader(request_id="r1"))
FRAME = pb.SynthesizeResponse(audio=pb.AudioFrame(data=b"123456789", sequence=0))
# 0xE3069283 is the published check value of CRC-32C for "123456789".
SUMMARY = pb.SynthesizeResponse(
    summary=pb.SynthesisSummary(byte_count=9, crc32c=0xE3069283, completion=pb.COMPLETION_SPOKEN)
)
UNKNOWN = pb.SynthesizeResponse()


def _feed(check: StreamCheck, events: list[pb.SynthesizeResponse]) -> None:
    for event in events:
        check.accept(event)


def test_the_stream_check_passes_a_whole_stream_with_a_stranger_in_it() -> None:
    check = StreamCheck("sent")
    frames = [check.accept(event) for event in (HEADER, UNKNOWN, FRAME, SUMMARY)]
    check.end()

    assert [frame.data for frame in frames if frame] == [b"123456789"]
    assert check.request_id == "r1"
    assert check.final_summary.byte_count == 9


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([FRAME], "before the header"),
        ([SUMMARY], "before the header"),
        ([HEADER, HEADER], "second header"),
        ([HEADER, FRAME, HEADER], "second header"),
        ([HEADER, FRAME, FRAME], "frame 0 came in place of 1"),
        ([HEADER, SUMMARY], "0 bytes came of 9"),
        ([HEADER, FRAME, SUMMARY, SUMMARY], "after the summary"),
        ([HEADER, FRAME, SUMMARY, UNKNOWN], "after the summary"),
    ],
)
def test_the_stream_check_refuses_disorder(
    events: list[pb.SynthesizeResponse], message: str
) -> None:
    check = StreamCheck("sent")
    with pytest.raises(CorruptStream, match=message) as caught:
        _feed(check, events)
    assert caught.value.request_id in ("sent", "r1")


def test_the_stream_check_notices_a_flipped_bit() -> None:
    check = StreamCheck("sent")
    check.accept(HEADER)
    check.accept(pb.SynthesizeResponse(audio=pb.AudioFrame(data=b"123456788")))
    with pytest.raises(CorruptStream, match="checksum"):
        check.accept(SUMMARY)
