"""Tells an audio file's container by its first bytes."""

from collections.abc import Callable
from enum import StrEnum

__all__ = ["HEAD_BYTES", "Container", "sniff_container"]

# As much of a file's beginning as `sniff_container` can use: an ID3 tag of ordinary size and
# two frames behind it.
HEAD_BYTES = 64 * 1024

_ID3_HEADER_BYTES = 10
_EBML_MAGIC = b"\x1a\x45\xdf\xa3"
# kbit/s of layer III by the header's index, MPEG-1 and MPEG-2 (ISO 11172-3 and 13818-3). Index
# 0 means a free rate, with frames of unknown length: nobody writes it.
_MP3_KBPS_MPEG1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_KBPS_MPEG2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MP3_RATES_HZ = (44_100, 48_000, 32_000)


class Container(StrEnum):
    """A file format that recordings come in."""

    WAV = "wav"
    FLAC = "flac"
    MP3 = "mp3"
    OGG = "ogg"
    MP4 = "mp4"
    AAC_ADTS = "aac_adts"
    MATROSKA = "matroska"

    @property
    def demuxer(self) -> str:
        """FFmpeg's whole name of the demuxer that reads it."""
        match self:
            case Container.MP4:
                return "mov,mp4,m4a,3gp,3g2,mj2"
            case Container.AAC_ADTS:
                return "aac"
            case Container.MATROSKA:
                return "matroska,webm"
            case _:
                return self.value

    @property
    def label(self) -> str:
        """What people call it."""
        match self:
            case Container.FLAC | Container.MP3 | Container.WAV | Container.MP4:
                return self.value.upper()
            case Container.OGG:
                return "Ogg"
            case Container.AAC_ADTS:
                return "AAC"
            case Container.MATROSKA:
                return "WebM"


def sniff_container(head: bytes) -> Container | None:
    """Names the container, or None if it is not one of those.

    What the bytes say at their very beginning counts and nothing else: a file that is something
    else first and audio further on is refused, and so is text of any kind, playlists included.

    Args:
        head: the file's first bytes, `HEAD_BYTES` of them or the whole of a shorter file.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return Container.WAV
    if head[:4] == b"OggS":
        return Container.OGG
    if head[:4] == _EBML_MAGIC:
        return Container.MATROSKA
    if head[4:8] == b"ftyp":
        return Container.MP4
    tag_bytes = _id3_bytes(head)
    if tag_bytes > len(head):
        # A tag this long holds a picture, and those are put before MP3.
        return Container.MP3
    body = head[tag_bytes:]
    if body[:4] == b"fLaC":
        return Container.FLAC
    if _repeats(body, _mp3_frame_bytes):
        return Container.MP3
    if _repeats(body, _adts_frame_bytes):
        return Container.AAC_ADTS
    return None


def _id3_bytes(head: bytes) -> int:
    """Length of the ID3v2 tag at the beginning, 0 if there is none (id3.org, ID3v2.4, 3.1)."""
    size = head[6:_ID3_HEADER_BYTES]
    if head[:3] != b"ID3" or len(size) < 4 or max(size) > 0x7F:
        return 0
    body_bytes = size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3]
    has_footer = bool(head[5] & 0x10)
    return _ID3_HEADER_BYTES * (1 + has_footer) + body_bytes


def _repeats(body: bytes, frame_bytes: Callable[[bytes], int | None]) -> bool:
    """Whether a frame begins here, and another behind it as far as the bytes reach."""
    first_bytes = frame_bytes(body)
    if first_bytes is None:
        return False
    behind = body[first_bytes:]
    return len(behind) < 4 or frame_bytes(behind) is not None


def _mp3_frame_bytes(body: bytes) -> int | None:
    """Length of the layer III frame that begins here, None if none does."""
    if len(body) < 4 or body[0] != 0xFF or body[1] & 0xE0 != 0xE0:
        return None
    version, layer = body[1] >> 3 & 3, body[1] >> 1 & 3
    bitrate_index, rate_index, padding = body[2] >> 4, body[2] >> 2 & 3, body[2] >> 1 & 1
    if version == 1 or layer != 1 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    is_mpeg1 = version == 3
    kbps = (_MP3_KBPS_MPEG1 if is_mpeg1 else _MP3_KBPS_MPEG2)[bitrate_index]
    # MPEG-2 halves the rates of MPEG-1, and 2.5 halves them again.
    rate_hz = _MP3_RATES_HZ[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    return (144 if is_mpeg1 else 72) * kbps * 1000 // rate_hz + padding


def _adts_frame_bytes(body: bytes) -> int | None:
    """Length of the ADTS frame that begins here (ISO 14496-3, 1.A.2), None if none does."""
    if len(body) < 4 or body[0] != 0xFF or body[1] & 0xF6 != 0xF0 or body[2] >> 2 & 15 > 12:
        return None
    if len(body) < 6:
        return len(body)
    length = (body[3] & 3) << 11 | body[4] << 3 | body[5] >> 5
    return length if length > 7 else None
