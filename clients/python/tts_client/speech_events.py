"""The messages of a synthesis, as plain values.

Times are milliseconds on the timeline of the audio that is returned. Characters are Unicode code
points of the text as it was sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from protos.tts.v1 import tts_pb2 as pb
from tts_client.cache import CacheStatus
from tts_client.encoding import ContractEnum, Encoding


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How audio is encoded. 0 and UNSPECIFIED: the default of the server."""

    encoding: Encoding = Encoding.UNSPECIFIED
    sample_rate_hz: int = 0
    bitrate_bps: int = 0
    frame_ms: int = 0

    @classmethod
    def from_proto(cls, message: pb.AudioFormat) -> "AudioFormat":
        return cls(
            encoding=Encoding(message.encoding),
            sample_rate_hz=message.sample_rate_hz,
            bitrate_bps=message.bitrate_bps,
            frame_ms=message.frame_ms,
        )


@dataclass(frozen=True, slots=True)
class Header:
    """What the stream is going to be, with every default resolved.

    voice: empty for a mix.
    seed: what the engine draws with; None if it doesn't sample, and if none was asked for and
        parts of the speech were kept from calls with seeds of their own.
    voice_mix: the weights of the voices that are mixed, by their ids.
    cache_status: where the speech comes from.
    """

    request_id: str
    voice: str
    engine: str
    model_fingerprint: str
    language: str
    format: AudioFormat
    content_type: str
    seed: int | None = None
    voice_mix: Mapping[str, float] = field(default_factory=dict)
    cache_status: CacheStatus = CacheStatus.UNSPECIFIED

    @classmethod
    def from_proto(cls, message: pb.SynthesisHeader) -> "Header":
        return cls(
            request_id=message.request_id,
            voice=message.voice,
            engine=message.engine,
            model_fingerprint=message.model_fingerprint,
            language=message.language,
            format=AudioFormat.from_proto(message.format),
            content_type=message.content_type,
            seed=message.seed if message.HasField("seed") else None,
            voice_mix={share.voice: share.weight for share in message.voice_mix},
            cache_status=CacheStatus(message.cache_status),
        )


@dataclass(frozen=True, slots=True)
class TextSpan:
    """A half-open range of characters of the text."""

    start_character: int
    end_character: int

    @classmethod
    def from_proto(cls, message: pb.TextSpan) -> "TextSpan":
        return cls(message.start_character, message.end_character)


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """A run of encoded audio, and the part of the text that it speaks."""

    data: bytes
    sequence: int
    start_ms: int
    duration_ms: int
    span: TextSpan

    @classmethod
    def from_proto(cls, message: pb.AudioFrame) -> "AudioFrame":
        return cls(
            data=message.data,
            sequence=message.sequence,
            start_ms=message.start_ms,
            duration_ms=message.duration_ms,
            span=TextSpan.from_proto(message.span),
        )


class Completion(ContractEnum):
    """What became of a synthesis."""

    UNSPECIFIED = 0
    SPOKEN = 1
    NO_SPEAKABLE_TEXT = 2


@dataclass(frozen=True, slots=True)
class Summary:
    """Proof that the stream is whole, and how it went on the server's side."""

    completion: Completion
    audio_ms: int
    sample_count: int
    byte_count: int
    crc32c: int
    first_audio_ms: float
    render_ms: float
    real_time_factor: float
    character_count: int

    @property
    def has_audio(self) -> bool:
        """Whether anything was spoken. If not, the joined frames are no file."""
        return self.completion is not Completion.NO_SPEAKABLE_TEXT

    @classmethod
    def from_proto(cls, message: pb.SynthesisSummary) -> "Summary":
        return cls(
            completion=Completion(message.completion),
            audio_ms=message.audio_ms,
            sample_count=message.sample_count,
            byte_count=message.byte_count,
            crc32c=message.crc32c,
            first_audio_ms=message.first_audio_ms,
            render_ms=message.render_ms,
            real_time_factor=message.real_time_factor,
            character_count=message.character_count,
        )
