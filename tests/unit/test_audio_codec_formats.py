"""Which formats can be asked for, and how the others are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import audio_codec
from audio_codec import FORMATS, AudioFormat, Encoding, FormatError, resolve_format


def test_public_names() -> None:
    assert set(audio_codec.__all__) == {
        *("AudioFormat", "Bitrates", "CodecError", "ENCODER_VERSION", "EncodedFrame", "Encoding"),
        *("EncodingFailedError", "FORMATS", "FormatError", "FormatSpec", "LengthMismatchError"),
        *("StreamClosedError", "StreamEncoder", "StreamResampler", "resolve_format"),
        *("Container", "DecodeError", "DecodeFailure", "DecodeLimits", "DecodedAudio"),
        *("decode_audio", "sniff_container", "Sandbox", "SandboxLimits", "SandboxResult"),
        *("SandboxDiedError", "SandboxRefusedError", "SandboxStartError"),
    }
    assert all(hasattr(audio_codec, name) for name in audio_codec.__all__)


def test_every_encoding_is_described_in_order() -> None:
    assert list(FORMATS) == list(Encoding)
    for encoding, spec in FORMATS.items():
        assert spec.encoding is encoding
        assert spec.content_type.startswith("audio/")
        assert bool(spec.file_suffixes) is (encoding is not Encoding.OPUS_PACKETS)
        assert spec.min_sample_rate_hz >= 8000
        assert spec.max_sample_rate_hz <= 48000
        assert (spec.min_bitrate_bps > 0) is (spec.default_bitrate_bps > 0)


def test_suffixes_belong_to_one_encoding() -> None:
    suffixes = [suffix for spec in FORMATS.values() for suffix in spec.file_suffixes]
    assert len(suffixes) == len(set(suffixes))


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        FORMATS[Encoding.MP3] = FORMATS[Encoding.WAV]  # type: ignore[index]
    with pytest.raises(TypeError):
        FORMATS[Encoding.MP3].bitrates_by_rate[8000] = None  # type: ignore[index]


@pytest.mark.parametrize(
    ("encoding", "source_rate", "resolved_rate"),
    [
        (Encoding.PCM_S16LE, 22050, 22050),
        (Encoding.WAV, 96000, 48000),
        (Encoding.FLAC, 4000, 8000),
        (Encoding.MP3, 22050, 22050),
        (Encoding.MP3, 22051, 24000),
        (Encoding.MP3, 96000, 48000),
        (Encoding.AAC_ADTS, 17000, 22050),
        (Encoding.OGG_OPUS, 22050, 24000),
        (Encoding.OGG_OPUS, 16000, 16000),
        (Encoding.OPUS_PACKETS, 24001, 48000),
        (Encoding.WEBM_OPUS, 44100, 48000),
        (Encoding.MULAW, 22050, 8000),
        (Encoding.ALAW, 8000, 8000),
    ],
)
def test_the_default_rate_loses_nothing(
    encoding: Encoding, source_rate: int, resolved_rate: int
) -> None:
    resolved = resolve_format(encoding, source_rate_hz=source_rate)
    assert resolved.sample_rate_hz == resolved_rate


@pytest.mark.parametrize(
    ("encoding", "rate", "bitrate"),
    [
        (Encoding.PCM_S16LE, 24000, 0),
        (Encoding.MP3, 8000, 32000),
        (Encoding.MP3, 24000, 64000),
        (Encoding.MP3, 44100, 128000),
        (Encoding.OGG_OPUS, 8000, 24000),
        (Encoding.OGG_OPUS, 24000, 32000),
        (Encoding.WEBM_OPUS, 48000, 48000),
        (Encoding.AAC_ADTS, 8000, 32000),
        (Encoding.AAC_ADTS, 24000, 64000),
    ],
)
def test_default_bitrates(encoding: Encoding, rate: int, bitrate: int) -> None:
    resolved = resolve_format(encoding, source_rate_hz=24000, sample_rate_hz=rate)
    assert resolved.bitrate_bps == bitrate
    if rate == 24000:
        assert FORMATS[encoding].default_bitrate_bps == bitrate


@pytest.mark.parametrize(
    ("encoding", "rate", "frame_ms", "resolved_ms"),
    [
        (Encoding.PCM_S16LE, 24000, 0, 20),
        (Encoding.PCM_S16LE, 24000, 33, 33),
        (Encoding.FLAC, 24000, 100, 100),
        (Encoding.FLAC, 48000, 100, 96),
        (Encoding.MP3, 24000, 0, 24),
        (Encoding.MP3, 24000, 100, 48),
        (Encoding.MP3, 44100, 20, 26),
        (Encoding.AAC_ADTS, 8000, 20, 128),
        (Encoding.AAC_ADTS, 48000, 100, 43),
        (Encoding.OGG_OPUS, 24000, 10, 20),
        (Encoding.OGG_OPUS, 24000, 50, 60),
        (Encoding.OGG_OPUS, 24000, 100, 60),
        (Encoding.WEBM_OPUS, 24000, 100, 40),
        (Encoding.OPUS_PACKETS, 24000, 10, 10),
        (Encoding.OPUS_PACKETS, 24000, 60, 60),
        (Encoding.MULAW, 8000, 100, 100),
    ],
)
def test_frames_are_whole_codec_frames(
    encoding: Encoding, rate: int, frame_ms: int, resolved_ms: int
) -> None:
    resolved = resolve_format(
        encoding, source_rate_hz=24000, sample_rate_hz=rate, frame_ms=frame_ms
    )
    assert resolved.frame_ms == resolved_ms


@pytest.mark.parametrize(
    ("encoding", "wrong", "field", "choices"),
    [
        ("ogg_vorbis", {}, "encoding", ["pcm_s16le", "webm_opus"]),
        (Encoding.PCM_S16LE, {"sample_rate_hz": 7999}, "sample_rate_hz", ["8000", "48000"]),
        (Encoding.WAV, {"sample_rate_hz": 48001}, "sample_rate_hz", ["8000", "48000"]),
        (Encoding.WAV, {"sample_rate_hz": -1}, "sample_rate_hz", ["8000", "48000"]),
        (Encoding.MP3, {"sample_rate_hz": 23000}, "sample_rate_hz", ["22050", "24000"]),
        (Encoding.OGG_OPUS, {"sample_rate_hz": 22050}, "sample_rate_hz", ["16000, 24000"]),
        (Encoding.MULAW, {"sample_rate_hz": 16000}, "sample_rate_hz", ["8000 only"]),
        (Encoding.FLAC, {"bitrate_bps": 64000}, "bitrate_bps", ["no bitrate"]),
        (Encoding.ALAW, {"bitrate_bps": 64000}, "bitrate_bps", ["no bitrate"]),
        (Encoding.MP3, {"bitrate_bps": 65000}, "bitrate_bps", ["56000, 64000, 80000"]),
        (Encoding.MP3, {"bitrate_bps": 192000}, "bitrate_bps", ["160000"]),
        (
            Encoding.MP3,
            {"sample_rate_hz": 8000, "bitrate_bps": 80000},
            "bitrate_bps",
            ["8000 Hz", "or 64000"],
        ),
        (
            Encoding.MP3,
            {"sample_rate_hz": 48000, "bitrate_bps": 24000},
            "bitrate_bps",
            ["32000", "320000"],
        ),
        (Encoding.OGG_OPUS, {"bitrate_bps": 5999}, "bitrate_bps", ["6000 to 256000"]),
        (Encoding.OPUS_PACKETS, {"bitrate_bps": 256001}, "bitrate_bps", ["6000 to 256000"]),
        (Encoding.AAC_ADTS, {"bitrate_bps": 144001}, "bitrate_bps", ["16000 to 144000"]),
        (
            Encoding.AAC_ADTS,
            {"sample_rate_hz": 8000, "bitrate_bps": 48001},
            "bitrate_bps",
            ["16000 to 48000"],
        ),
        (Encoding.MP3, {"bitrate_bps": -1}, "bitrate_bps", ["64000"]),
        (Encoding.WAV, {"frame_ms": 9}, "frame_ms", ["10 to 100"]),
        (Encoding.MP3, {"frame_ms": 101}, "frame_ms", ["10 to 100"]),
        (Encoding.OGG_OPUS, {"frame_ms": -20}, "frame_ms", ["10 to 100"]),
        (Encoding.OPUS_PACKETS, {"frame_ms": 30}, "frame_ms", ["10, 20, 40 or 60"]),
        (Encoding.OPUS_PACKETS, {"frame_ms": 100}, "frame_ms", ["10, 20, 40 or 60"]),
    ],
)
def test_what_does_not_exist_is_refused_with_the_choices(
    encoding: Encoding, wrong: dict[str, int], field: str, choices: list[str]
) -> None:
    with pytest.raises(FormatError) as caught:
        resolve_format(encoding, source_rate_hz=24000, **wrong)
    assert caught.value.field == field
    assert all(choice in caught.value.problem for choice in choices)
    assert caught.value.problem.endswith(".")


@given(
    encoding=st.sampled_from(Encoding),
    source_rate=st.integers(1, 200_000),
    rate=st.just(0) | st.sampled_from([8000, 11025, 12000, 16000, 22050, 24000, 44100, 48000]),
    bitrate=st.just(0) | st.sampled_from([8000, 32000, 48000, 64000]) | st.integers(),
    frame_ms=st.integers(0, 100) | st.integers(),
)
def test_a_resolved_format_resolves_to_itself_or_is_refused_by_field(
    encoding: Encoding, source_rate: int, rate: int, bitrate: int, frame_ms: int
) -> None:
    try:
        resolved = resolve_format(
            encoding,
            source_rate_hz=source_rate,
            sample_rate_hz=rate,
            bitrate_bps=bitrate,
            frame_ms=frame_ms,
        )
    except FormatError as error:
        assert error.field in ("sample_rate_hz", "bitrate_bps", "frame_ms")  # noqa: PT017
        return
    assert isinstance(resolved, AudioFormat)
    again = resolve_format(
        resolved.encoding,
        source_rate_hz=source_rate,
        sample_rate_hz=resolved.sample_rate_hz,
        bitrate_bps=resolved.bitrate_bps,
        frame_ms=resolved.frame_ms,
    )
    assert again == resolved
    if bitrate:
        assert resolved.bitrate_bps == bitrate
    if rate:
        assert resolved.sample_rate_hz == rate
