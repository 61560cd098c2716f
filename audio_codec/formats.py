"""The formats that can be asked for, and what each of them takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from audio_codec.errors import FormatError

MIN_FRAME_MS = 10
MAX_FRAME_MS = 100


class Encoding(StrEnum):
    """Containers and codecs. All audio is mono."""

    PCM_S16LE = "pcm_s16le"
    WAV = "wav"
    MP3 = "mp3"
    OGG_OPUS = "ogg_opus"
    FLAC = "flac"
    AAC_ADTS = "aac_adts"
    MULAW = "mulaw"
    ALAW = "alaw"
    OPUS_PACKETS = "opus_packets"
    WEBM_OPUS = "webm_opus"


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """A format with nothing left open. `resolve_format` makes it.

    Attributes:
        encoding: container and codec.
        sample_rate_hz: rate of the encoded audio.
        bitrate_bps: target bitrate, 0 if the encoding has none.
        frame_ms: length of one frame in whole milliseconds. A codec whose own frame is no
            whole number of milliseconds has it rounded to the nearest.
    """

    encoding: Encoding
    sample_rate_hz: int
    bitrate_bps: int
    frame_ms: int


@dataclass(frozen=True, slots=True)
class Bitrates:
    """The bitrates that an encoding takes at one sample rate, in bits per second.

    Attributes:
        default_bps: used when none is asked for.
        min_bps: lowest, included.
        max_bps: highest, included.
        values_bps: the only ones that exist; empty if every value in the range does.
    """

    default_bps: int
    min_bps: int
    max_bps: int
    values_bps: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FormatSpec:
    """What can be asked of one encoding.

    Attributes:
        encoding: the encoding.
        content_type: media type of the joined frames.
        file_suffixes: suffixes without the dot, the usual one first.
        sample_rates_hz: the rates it takes; empty if it takes every rate in the range.
        min_sample_rate_hz: lowest rate.
        max_sample_rate_hz: highest rate.
        bitrates_by_rate: for each rate the bitrates it takes; empty if it has no bitrate.
        default_bitrate_bps: the default at 24 kHz, 0 if it has no bitrate. Other rates have
            other defaults, see `bitrates_by_rate`.
        min_bitrate_bps: lowest at any rate.
        max_bitrate_bps: highest at any rate.
        default_frame_ms: frame length when none is asked for.
    """

    encoding: Encoding
    content_type: str
    file_suffixes: tuple[str, ...]
    sample_rates_hz: tuple[int, ...] = ()
    min_sample_rate_hz: int = 8000
    max_sample_rate_hz: int = 48000
    bitrates_by_rate: Mapping[int, Bitrates] = field(default_factory=lambda: MappingProxyType({}))
    default_bitrate_bps: int = 0
    min_bitrate_bps: int = 0
    max_bitrate_bps: int = 0
    default_frame_ms: int = 20


# The rates of MPEG-1, MPEG-2 and MPEG-2.5 audio (ISO/IEC 11172-3 and 13818-3); AAC has all of
# them too (ISO/IEC 14496-3, table 1.18).
_MPEG_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OPUS_RATES_HZ = (8000, 12000, 16000, 24000, 48000)
_G711_RATE_HZ = 8000
_REFERENCE_RATE_HZ = 24000

# Bitrate indices of layer III, in kb/s (ISO/IEC 11172-3, table B.1 and 13818-3, 2.4.2.3).
_MPEG1_KBPS: tuple[int, ...] = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KBPS: tuple[int, ...] = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
# MPEG-2.5 inherits the table of MPEG-2, but LAME stops at 64.
_MPEG25_KBPS: tuple[int, ...] = (8, 16, 24, 32, 40, 48, 56, 64)

# The least that libopus codes speech with, and the most that FFmpeg hands it for one channel.
_OPUS_MIN_BPS, _OPUS_MAX_BPS = 6_000, 256_000
# Below it FFmpeg's AAC encoder has too few bits for a band at most rates.
_AAC_MIN_BPS = 16_000
# A decoder's input buffer holds 6144 bits a channel for one frame of 1024 samples
# (ISO/IEC 14496-3, 4.5.3.1), so that no frame may average more.
_AAC_MAX_BITS_PER_SAMPLE = 6144 // 1024

# Opus packets are 20 ms inside a container; a page or cluster holds one to so many of them.
_OPUS_CONTAINER_PACKET_MS = 20
_MAX_PACKETS_PER_OGG_PAGE = 3
# libavformat keeps two packets back, so a cluster of three would wait for over 100 ms.
_MAX_PACKETS_PER_WEBM_CLUSTER = 2
OPUS_PACKET_MS = (10, 20, 40, 60)

# The longest block of FLAC's streamable subset up to 48 kHz (RFC 9639, section 7).
_FLAC_MAX_BLOCK_SAMPLES = 4608
# MP3 and AAC encoders look one frame ahead. With the frames that are put together, waiting
# stays under 120 ms when 35 ms are left for the resampler.
_MAX_CODEC_WAIT_MS = 85


def _mp3_bitrates() -> dict[int, Bitrates]:
    result = {}
    for rate_hz in _MPEG_RATES_HZ:
        if rate_hz >= 32000:
            table, default_kbps = _MPEG1_KBPS, 96 if rate_hz == 32000 else 128
        elif rate_hz >= 16000:
            table, default_kbps = _MPEG2_KBPS, 48 if rate_hz == 16000 else 64
        else:
            table, default_kbps = _MPEG25_KBPS, 32
        values = tuple(kbps * 1000 for kbps in table)
        result[rate_hz] = Bitrates(default_kbps * 1000, values[0], values[-1], values)
    return result


def _opus_bitrates() -> dict[int, Bitrates]:
    # RFC 7587, section 3.1.1 advises 16-20 kb/s for wideband and 28-40 for fullband speech;
    # a step above costs little and keeps consonants crisp.
    defaults_kbps = (24, 24, 32, 32, 48)
    return {
        rate_hz: Bitrates(kbps * 1000, _OPUS_MIN_BPS, _OPUS_MAX_BPS)
        for rate_hz, kbps in zip(_OPUS_RATES_HZ, defaults_kbps, strict=True)
    }


def _aac_bitrates() -> dict[int, Bitrates]:
    defaults_kbps = (32, 32, 32, 48, 64, 64, 96, 96, 96)
    return {
        rate_hz: Bitrates(kbps * 1000, _AAC_MIN_BPS, rate_hz * _AAC_MAX_BITS_PER_SAMPLE)
        for rate_hz, kbps in zip(_MPEG_RATES_HZ, defaults_kbps, strict=True)
    }


def _any_rate(encoding: Encoding, content_type: str, *file_suffixes: str) -> FormatSpec:
    return FormatSpec(encoding, content_type, file_suffixes)


def _with_bitrate(
    encoding: Encoding,
    content_type: str,
    file_suffixes: tuple[str, ...],
    bitrates: dict[int, Bitrates],
    default_frame_ms: int = 20,
) -> FormatSpec:
    return FormatSpec(
        encoding,
        content_type,
        file_suffixes,
        default_frame_ms=default_frame_ms,
        sample_rates_hz=tuple(bitrates),
        bitrates_by_rate=MappingProxyType(bitrates),
        default_bitrate_bps=bitrates[_REFERENCE_RATE_HZ].default_bps,
        min_bitrate_bps=min(at_rate.min_bps for at_rate in bitrates.values()),
        max_bitrate_bps=max(at_rate.max_bps for at_rate in bitrates.values()),
    )


def _g711(encoding: Encoding, content_type: str, suffix: str) -> FormatSpec:
    return FormatSpec(
        encoding,
        content_type,
        (suffix,),
        sample_rates_hz=(_G711_RATE_HZ,),
        min_sample_rate_hz=_G711_RATE_HZ,
        max_sample_rate_hz=_G711_RATE_HZ,
    )


_SPECS = (
    _any_rate(Encoding.PCM_S16LE, "audio/pcm", "pcm", "raw"),
    _any_rate(Encoding.WAV, "audio/wav", "wav"),
    _with_bitrate(Encoding.MP3, "audio/mpeg", ("mp3",), _mp3_bitrates()),
    # A page's header is as large as a packet of speech; after the first page, three share one.
    _with_bitrate(
        Encoding.OGG_OPUS, "audio/ogg; codecs=opus", ("ogg", "opus"), _opus_bitrates(), 60
    ),
    _any_rate(Encoding.FLAC, "audio/flac", "flac"),
    _with_bitrate(Encoding.AAC_ADTS, "audio/aac", ("aac",), _aac_bitrates()),
    _g711(Encoding.MULAW, "audio/basic", "ulaw"),
    _g711(Encoding.ALAW, "audio/x-alaw-basic", "alaw"),
    # RFC 7587 registers audio/opus for bare packets; there is no file of them.
    _with_bitrate(Encoding.OPUS_PACKETS, "audio/opus", (), _opus_bitrates()),
    _with_bitrate(Encoding.WEBM_OPUS, "audio/webm; codecs=opus", ("webm",), _opus_bitrates()),
)

FORMATS: Mapping[Encoding, FormatSpec] = MappingProxyType({spec.encoding: spec for spec in _SPECS})
"""What each encoding takes, in the order of `Encoding`."""


def resolve_format(
    encoding: Encoding,
    *,
    source_rate_hz: int,
    sample_rate_hz: int = 0,
    bitrate_bps: int = 0,
    frame_ms: int = 0,
) -> AudioFormat:
    """Fills in what was left open and refuses what does not exist.

    Args:
        encoding: container and codec.
        source_rate_hz: rate of the samples that are going to be encoded.
        sample_rate_hz: rate of the encoded audio; 0 for the lowest rate of the encoding that
            loses nothing of the source, or its highest rate if none is high enough.
        bitrate_bps: target bitrate; 0 for the default of the encoding at the rate.
        frame_ms: wanted frame length, 10 to 100; 0 for the default. Codecs with a frame of
            their own round it to whole codec frames, and the result says to how much.

    Raises:
        FormatError: a value that does not exist, with the name of its field.
    """
    spec = FORMATS.get(encoding)
    if spec is None:
        raise FormatError("encoding", f"Must be one of {', '.join(Encoding)}.")
    rate_hz = _resolve_rate(spec, source_rate_hz, sample_rate_hz)
    return AudioFormat(
        encoding=spec.encoding,
        sample_rate_hz=rate_hz,
        bitrate_bps=_resolve_bitrate(spec, rate_hz, bitrate_bps),
        frame_ms=_resolve_frame(spec, rate_hz, frame_ms),
    )


def _resolve_rate(spec: FormatSpec, source_rate_hz: int, wanted_hz: int) -> int:
    low, high = spec.min_sample_rate_hz, spec.max_sample_rate_hz
    rates = spec.sample_rates_hz
    if wanted_hz == 0:
        if not rates:
            return min(max(source_rate_hz, low), high)
        return min((rate for rate in rates if rate >= source_rate_hz), default=rates[-1])
    if rates and wanted_hz not in rates:
        raise FormatError("sample_rate_hz", f"{spec.encoding} takes {_listed(rates)}.")
    if not low <= wanted_hz <= high:
        raise FormatError("sample_rate_hz", f"{spec.encoding} takes every rate {low} to {high}.")
    return wanted_hz


def _resolve_bitrate(spec: FormatSpec, rate_hz: int, wanted_bps: int) -> int:
    if not spec.bitrates_by_rate:
        if wanted_bps != 0:
            raise FormatError("bitrate_bps", f"{spec.encoding} has no bitrate; leave it at 0.")
        return 0
    bitrates = spec.bitrates_by_rate[rate_hz]
    if wanted_bps == 0:
        return bitrates.default_bps
    if bitrates.values_bps and wanted_bps not in bitrates.values_bps:
        raise FormatError(
            "bitrate_bps",
            f"{spec.encoding} at {rate_hz} Hz takes {_listed(bitrates.values_bps)}.",
        )
    if not bitrates.min_bps <= wanted_bps <= bitrates.max_bps:
        raise FormatError(
            "bitrate_bps",
            f"{spec.encoding} at {rate_hz} Hz takes {bitrates.min_bps} to {bitrates.max_bps}.",
        )
    return wanted_bps


def _resolve_frame(spec: FormatSpec, rate_hz: int, wanted_ms: int) -> int:
    frame_ms = wanted_ms or spec.default_frame_ms
    if spec.encoding is Encoding.OPUS_PACKETS:
        if frame_ms not in OPUS_PACKET_MS:
            raise FormatError("frame_ms", f"{spec.encoding} takes {_listed(OPUS_PACKET_MS)}.")
        return frame_ms
    codec_frame_ms = _codec_frame_ms(spec.encoding, rate_hz)
    # One frame of AAC at 8 kHz is longer than 100 ms. What was resolved once stays valid.
    if not MIN_FRAME_MS <= frame_ms <= MAX_FRAME_MS and frame_ms != round(codec_frame_ms):
        raise FormatError("frame_ms", f"Must be {MIN_FRAME_MS} to {MAX_FRAME_MS}.")
    if spec.encoding is Encoding.FLAC:
        return min(frame_ms, _FLAC_MAX_BLOCK_SAMPLES * 1000 // rate_hz)
    if codec_frame_ms == 0:
        return frame_ms
    return round(codec_frames_per_frame(spec.encoding, rate_hz, frame_ms) * codec_frame_ms)


def codec_frames_per_frame(encoding: Encoding, sample_rate_hz: int, frame_ms: int) -> int:
    """How many of the codec's own frames make one frame of about `frame_ms`."""
    codec_frame_ms = _codec_frame_ms(encoding, sample_rate_hz)
    match encoding:
        case Encoding.OGG_OPUS:
            limit = _MAX_PACKETS_PER_OGG_PAGE
        case Encoding.WEBM_OPUS:
            limit = _MAX_PACKETS_PER_WEBM_CLUSTER
        case Encoding.MP3 | Encoding.AAC_ADTS:
            limit = int(_MAX_CODEC_WAIT_MS / codec_frame_ms) - 1
        case _:
            return 1
    return max(1, min(limit, int(frame_ms / codec_frame_ms + 0.5)))


def _codec_frame_ms(encoding: Encoding, sample_rate_hz: int) -> float:
    """Length of the codec's own frame; 0 for encodings that take any."""
    match encoding:
        case Encoding.OGG_OPUS | Encoding.WEBM_OPUS:
            return _OPUS_CONTAINER_PACKET_MS
        case Encoding.MP3:
            # Two granules of 576 samples in MPEG-1, one in MPEG-2 and 2.5.
            return (1152 if sample_rate_hz >= 32000 else 576) * 1000 / sample_rate_hz
        case Encoding.AAC_ADTS:
            return 1024 * 1000 / sample_rate_hz
        case _:
            return 0


def _listed(values: tuple[int, ...]) -> str:
    if len(values) == 1:
        return f"{values[0]} only"
    return f"{', '.join(map(str, values[:-1]))} or {values[-1]}"
