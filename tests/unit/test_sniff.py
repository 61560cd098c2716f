"""A file is what its first bytes say, or nothing."""

import random

import pytest

from audio_codec import Container, sniff_container
from tests.audio_files import AudioFileKind, audio_file, tone

_EXPECTED = {
    AudioFileKind.WAV: Container.WAV,
    AudioFileKind.WAV_MULAW: Container.WAV,
    AudioFileKind.FLAC: Container.FLAC,
    AudioFileKind.MP3: Container.MP3,
    AudioFileKind.OGG_OPUS: Container.OGG,
    AudioFileKind.M4A: Container.MP4,
    AudioFileKind.AAC_ADTS: Container.AAC_ADTS,
    AudioFileKind.WEBM: Container.MATROSKA,
}


def id3_tag(body_bytes: int) -> bytes:
    size = bytes(body_bytes >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\x00\x00" + size + bytes(body_bytes)


def mp3_frames(rate_hz: int, bitrate_bps: int) -> bytes:
    """An MP3 without a tag before its frames."""
    data = audio_file(AudioFileKind.MP3, tone(0.5, rate_hz), rate_hz, bitrate_bps=bitrate_bps)
    assert data[:3] == b"ID3"
    return data[10 + data[9] + data[8] * 128 :]


@pytest.mark.parametrize("kind", _EXPECTED, ids=lambda kind: kind.name)
def test_each_container_is_known(kind: AudioFileKind) -> None:
    data = audio_file(kind, tone(0.5, 24_000), 24_000)
    assert sniff_container(data) is _EXPECTED[kind]
    assert sniff_container(data[:64]) is _EXPECTED[kind]


@pytest.mark.parametrize(
    ("rate_hz", "bitrate_bps"),
    [
        *((44_100, 128_000), (48_000, 320_000), (32_000, 40_000)),
        *((24_000, 64_000), (22_050, 160_000), (16_000, 8_000)),
        *((12_000, 32_000), (11_025, 64_000), (8_000, 16_000)),
    ],
)
def test_mp3_without_a_tag(rate_hz: int, bitrate_bps: int) -> None:
    frames = mp3_frames(rate_hz, bitrate_bps)
    assert sniff_container(frames) is Container.MP3
    # The second frame is looked at, so that the length of the first has been understood.
    assert sniff_container(frames[:4] + bytes(3000)) is None


def test_a_tag_hides_nothing() -> None:
    flac = audio_file(AudioFileKind.FLAC, tone(0.5, 8_000), 8_000)
    adts = audio_file(AudioFileKind.AAC_ADTS, tone(0.5, 8_000), 8_000)
    for tag_bytes in (0, 127, 128, 40_000):
        assert sniff_container(id3_tag(tag_bytes) + flac) is Container.FLAC
        assert sniff_container(id3_tag(tag_bytes) + adts) is Container.AAC_ADTS
        assert sniff_container(id3_tag(tag_bytes) + mp3_frames(8_000, 16_000)) is Container.MP3
        assert sniff_container(id3_tag(tag_bytes) + b"#EXTM3U\n" * 9) is None
    assert sniff_container(id3_tag(200_000)[:65_536]) is Container.MP3


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"R",
        b"RIFF",
        b"RIFF\x00\x00\x00\x00AVI LIST",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        b"<?xml version='1.0'?><MPD></MPD>",
        b"%PDF-1.7\n",
        b"PK\x03\x04",
        b"GIF89a",
        b"\x7fELF",
        b"\xff\xff\xff\xff",
        b"\xff\xfb",
        b"\xff\xfb\x00\x00",
        b"\xff\xf1\xff\xff",
        b"ID3",
        b"ID3\x04\x00\x00\xff\xff\xff\xff",
        b"\xef\xbb\xbfRIFF\x00\x00\x00\x00WAVE",
    ],
)
def test_anything_else_is_nothing(head: bytes) -> None:
    assert sniff_container(head) is None


def test_any_bytes_will_do() -> None:
    source = random.Random(3)
    starts = [b"", b"ID3\x04\x00\x00\x00\x00", b"\xff\xfb", b"\xff\xf1", b"fLaC", b"RIFF", b"ftyp"]
    for length in range(40):
        for start in starts:
            sniff_container(start + source.randbytes(length))
