"""What was encoded comes out again, and what should not come out is refused by name."""

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from audio_codec import Container, DecodedAudio, DecodeError, DecodeFailure, DecodeLimits
from audio_codec import decode_audio as decode_file
from tests.audio_files import CONTAINER_KINDS, AudioFileKind, audio_file, tone

_LIMITS = DecodeLimits(max_duration_s=30)
# How far lossless kinds may be off, as a share of full scale.
_ERRORS = {
    AudioFileKind.WAV: 2**-15,
    AudioFileKind.WAV_24_BIT: 2**-23,
    AudioFileKind.WAV_FLOAT: 0.0,
    AudioFileKind.WAV_DOUBLE: 0.0,
    AudioFileKind.WAV_8_BIT: 2**-7,
    AudioFileKind.WAV_MULAW: 0.02,
    AudioFileKind.WAV_ALAW: 0.02,
    AudioFileKind.FLAC: 2**-15,
    AudioFileKind.M4A_ALAC: 2**-15,
}


def decode(data: bytes, limits: DecodeLimits = _LIMITS) -> DecodedAudio:
    return decode_file(io.BytesIO(data), limits)


def refusal(data: bytes, limits: DecodeLimits = _LIMITS) -> DecodeFailure:
    with pytest.raises(DecodeError) as caught:
        decode(data, limits)
    assert caught.value.message.endswith(".")
    return caught.value.reason


def wav(samples: bytes, *, rate_hz: int = 8000, channels: int = 1, said_bytes: int = -1) -> bytes:
    """A WAV of 16-bit samples whose header may say anything."""
    said_bytes = len(samples) if said_bytes < 0 else said_bytes
    head = struct.pack("<4sI4s", b"RIFF", min(36 + said_bytes, 2**32 - 1), b"WAVE")
    byte_rate = rate_hz * channels * 2 % 2**32
    fields = (b"fmt ", 16, 1, channels, rate_hz, byte_rate, channels * 2 % 2**16, 16)
    return head + struct.pack("<4sIHHIIHH4sI", *fields, b"data", said_bytes) + samples


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("kind", _ERRORS, ids=lambda kind: kind.name)
def test_lossless_files_come_back(kind: AudioFileKind, channels: int, rate_hz: int) -> None:
    samples = tone(0.3, rate_hz, channels=channels)
    audio = decode(audio_file(kind, samples, rate_hz))
    assert audio.sample_rate_hz == rate_hz
    assert audio.samples.dtype == np.float32
    assert audio.samples.shape == samples.shape
    assert np.abs(audio.samples - samples).max() <= _ERRORS[kind]


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", CONTAINER_KINDS, ids=lambda kind: kind.name)
def test_every_container_keeps_its_sound(kind: AudioFileKind, channels: int, rate_hz: int) -> None:
    audio = decode(audio_file(kind, tone(2, rate_hz, channels=channels), rate_hz))
    assert len(audio.samples) == channels
    # ADTS can't declare its coder's delay and padding, up to three frames of 1024.
    duration_s = audio.samples.shape[1] / audio.sample_rate_hz
    surplus_s = 3 * 1024 / rate_hz if kind is AudioFileKind.AAC_ADTS else 0.05
    assert -0.001 <= duration_s - 2 <= surplus_s
    for channel, samples in enumerate(audio.samples):
        middle = samples[len(samples) // 4 : -len(samples) // 4]
        assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / 2**0.5, rel=0.06)
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
        peak_hz = spectrum.argmax() * audio.sample_rate_hz / len(middle)
        assert peak_hz == pytest.approx(440 * 1.5**channel, abs=2)


def test_the_answer_says_what_the_file_was() -> None:
    audio = decode(audio_file(AudioFileKind.M4A_ALAC, tone(0.2, 8_000), 8_000))
    assert (audio.container, audio.codec) == (Container.MP4, "alac")


def test_the_first_audio_stream_is_taken() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        first = container.add_stream("pcm_s16le", rate=8_000, layout="mono")
        second = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for stream, value, rate_hz in ((first, 1000, 8_000), (second, 2000, 16_000)):
            frame = av.AudioFrame.from_ndarray(
                np.full((1, 1600), value, np.int16), format="s16", layout="mono"
            )
            frame.sample_rate = rate_hz
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    audio = decode(file.getvalue())
    assert audio.sample_rate_hz == 8_000
    assert np.array_equal(audio.samples, np.full((1, 1600), 1000 / 32768, np.float32))


def test_a_film_is_taken_for_its_sound() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=25, width=64, height=64)
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for _ in range(25):
            container.mux(video.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(tone(1, 16_000), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    audio = decode(file.getvalue())
    assert audio.codec == "aac"
    assert 16_000 <= audio.samples.shape[1] < 19_000


def test_the_file_is_read_from_its_beginning_and_stays_open() -> None:
    file = io.BytesIO(audio_file(AudioFileKind.WAV, tone(0.2, 8_000), 8_000))
    file.seek(1000)
    assert decode_file(file, _LIMITS).samples.shape == (1, 1600)
    assert not file.closed


@pytest.mark.parametrize("kind", CONTAINER_KINDS, ids=lambda kind: kind.name)
def test_too_much_audio_is_refused(kind: AudioFileKind) -> None:
    data = audio_file(kind, tone(2, 16_000, channels=2), 16_000)
    assert refusal(data, DecodeLimits(max_duration_s=1.5)) is DecodeFailure.TOO_LONG
    assert refusal(data, DecodeLimits(max_decoded_bytes=200_000)) is DecodeFailure.TOO_LONG
    decode(data, DecodeLimits(max_duration_s=2.2, max_decoded_bytes=1_000_000))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_none_are_refused(value: float) -> None:
    samples = np.zeros(1000)
    samples[500] = value
    frame = io.BytesIO()
    with av.open(frame, "w", format="wav") as container:
        stream = container.add_stream("pcm_f64le", rate=8_000, layout="mono")
        audio = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="dbl", layout="mono")
        audio.sample_rate = 8_000
        container.mux(stream.encode(audio))
    assert refusal(frame.getvalue()) is DecodeFailure.NOT_FINITE


def test_float_files_may_exceed_full_scale() -> None:
    audio = decode(audio_file(AudioFileKind.WAV_FLOAT, tone(0.1, 8_000, level=3.0), 8_000))
    assert np.abs(audio.samples).max() == pytest.approx(3.0, rel=0.01)


def test_a_header_without_a_true_length_is_taken() -> None:
    """Recorders that stream can't know it. Nothing is set aside for what they say instead."""
    for said_bytes in (0x7FFFF000, 0xFFFFFFFF, 2 * 4000 + 2):
        audio = decode(wav(b"\x00\x10" * 4000, said_bytes=said_bytes))
        assert np.array_equal(audio.samples, np.full((1, 4000), 0.125, np.float32))


@pytest.mark.parametrize(
    "data",
    [
        wav(bytes(8000), rate_hz=0),
        wav(bytes(8000), rate_hz=3999),
        wav(bytes(8000), rate_hz=192_001),
        wav(bytes(8000), rate_hz=2**31),
        wav(bytes(8000), rate_hz=2**32 - 1),
        wav(bytes(8000), channels=0),
        wav(bytes(9 * 800), channels=9),
        wav(bytes(8000), channels=65_535),
        wav(bytes(8000)).replace(struct.pack("<I", 16), b"\xff\xff\xff\xff"),
        wav(bytes(8000)).replace(struct.pack("<I", 16), b"\xff\xff\xff\x3f"),
        wav(b""),
        wav(b"\x00"),
    ],
)
def test_headers_that_lie_are_refused(data: bytes) -> None:
    assert refusal(data) in (
        DecodeFailure.UNSUPPORTED,
        DecodeFailure.DAMAGED,
        DecodeFailure.NOT_AUDIO,
    )


def test_other_codecs_are_refused() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("ac3", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(0.5, 48_000), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert refusal(file.getvalue()) is DecodeFailure.UNSUPPORTED


def test_a_film_without_sound_is_no_audio() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=25, width=64, height=64)
        container.mux(video.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(video.encode(None))
    assert refusal(file.getvalue()) is DecodeFailure.NOT_AUDIO


def test_any_damaged_bit_of_a_flac_file_is_noticed() -> None:
    """libavformat passes over frames with a wrong checksum and says nothing."""
    whole = audio_file(AudioFileKind.FLAC, tone(1, 24_000), 24_000)
    first_frame = whole.index(b"\xff\xf8")
    for position in range(first_frame, len(whole), 37):
        data = bytearray(whole)
        data[position] ^= 1 << position % 8
        assert refusal(bytes(data)) is DecodeFailure.DAMAGED
    for end in range(first_frame, len(whole), 37):
        assert refusal(whole[:end]) is DecodeFailure.DAMAGED


def test_a_damaged_frame_is_not_skipped() -> None:
    data = bytearray(audio_file(AudioFileKind.AAC_ADTS, tone(1, 24_000), 24_000))
    middle = data.index(b"\xff\xf1", len(data) // 2)
    data[middle + 7 : middle + 60] = bytes(53)
    assert refusal(bytes(data)) is DecodeFailure.DAMAGED


def test_a_change_of_rate_is_refused() -> None:
    first = audio_file(AudioFileKind.AAC_ADTS, tone(1, 16_000), 16_000)
    second = audio_file(AudioFileKind.AAC_ADTS, tone(1, 24_000), 24_000)
    assert refusal(first + second) is DecodeFailure.DAMAGED


def test_a_lost_end_costs_no_more_than_the_end() -> None:
    whole = tone(1, 8_000)
    data = audio_file(AudioFileKind.WAV, whole, 8_000)
    audio = decode(data[: -2 * 3000])
    assert audio.samples.shape == (1, 5000)
    assert np.abs(audio.samples - whole[:, :5000]).max() <= 2**-15


def test_tags_before_and_behind_are_no_audio() -> None:
    mp3 = audio_file(AudioFileKind.MP3, tone(1, 24_000), 24_000)
    expected = decode(mp3).samples
    id3v1 = b"TAG" + b"title".ljust(125, b"\x00")
    picture = b"ID3\x04\x00\x00\x00\x0c\x00\x00" + bytes(12 << 14)
    frames = mp3[10 + mp3[9] + mp3[8] * 128 :]
    for data in (mp3 + id3v1, picture + frames, picture + frames + id3v1):
        assert np.array_equal(decode(data).samples, expected)


class _Overfull(io.BytesIO):
    """Returns more than was asked for, as no file should."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        return data + bytes(100_000) if data else b""


def test_a_file_that_reads_too_much_harms_nothing() -> None:
    """PyAV copies what it gets into a buffer of the asked size (av/container/pyio.py)."""
    data = audio_file(AudioFileKind.WAV, tone(1, 8_000), 8_000)
    assert np.array_equal(decode_file(_Overfull(data), _LIMITS).samples, decode(data).samples)


@pytest.mark.parametrize("name", ["canary.flac", "/etc/hostname"])
@pytest.mark.parametrize("magic", [b"", b"ID3\x04\x00\x00\x00\x00\x00\x00"])
def test_scripts_and_playlists_open_nothing(
    magic: bytes, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tone(1, 8_000)
    (tmp_path / "canary.flac").write_bytes(audio_file(AudioFileKind.FLAC, canary, 8_000))
    monkeypatch.chdir(tmp_path)
    concat = f"ffconcat version 1.0\nfile {name}\n".encode()
    if name == "canary.flac" and not magic:
        # What happens without the guards; otherwise this test would prove nothing.
        with av.open(io.BytesIO(magic + concat)) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) == 8_000
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{name}\n#EXT-X-ENDLIST\n".encode()
    session = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n"
    for script in (concat, playlist, session):
        assert refusal(magic + script) is DecodeFailure.NOT_AUDIO
        # Past the sniffing, the demuxer's own guards must do.
        for kind in CONTAINER_KINDS:
            head = audio_file(kind, tone(0.1, 8_000), 8_000)[:16]
            assert refusal(head + script) in (DecodeFailure.DAMAGED, DecodeFailure.NOT_AUDIO)
