"""What a server says about itself: engines, formats and limits, as plain values."""

from dataclasses import dataclass

from protos.tts.v1 import tts_pb2 as pb
from tts_client.encoding import ContractEnum, Encoding


class EngineState(ContractEnum):
    """Whether an engine can be used."""

    UNSPECIFIED = 0
    STARTING = 1
    READY = 2
    RESTARTING = 3
    BROKEN = 4


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """One engine of the server."""

    name: str
    state: EngineState
    languages: tuple[str, ...]
    voice_count: int
    model_fingerprint: str

    @classmethod
    def from_proto(cls, message: pb.EngineInfo) -> "EngineInfo":
        return cls(
            name=message.name,
            state=EngineState(message.state),
            languages=tuple(message.languages),
            voice_count=message.voice_count,
            model_fingerprint=message.model_fingerprint,
        )


@dataclass(frozen=True, slots=True)
class FormatInfo:
    """What can be asked of an encoding.

    An empty `sample_rates_hz` allows every rate between the two limits. A `default_bitrate_bps`
    of 0 says that the encoding has no bitrate.
    """

    encoding: Encoding
    content_type: str
    file_suffixes: tuple[str, ...]
    sample_rates_hz: tuple[int, ...]
    min_sample_rate_hz: int
    max_sample_rate_hz: int
    default_bitrate_bps: int
    min_bitrate_bps: int
    max_bitrate_bps: int

    @classmethod
    def from_proto(cls, message: pb.FormatInfo) -> "FormatInfo":
        return cls(
            encoding=Encoding(message.encoding),
            content_type=message.content_type,
            file_suffixes=tuple(message.file_suffixes),
            sample_rates_hz=tuple(message.sample_rates_hz),
            min_sample_rate_hz=message.min_sample_rate_hz,
            max_sample_rate_hz=message.max_sample_rate_hz,
            default_bitrate_bps=message.default_bitrate_bps,
            min_bitrate_bps=message.min_bitrate_bps,
            max_bitrate_bps=message.max_bitrate_bps,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for at the most.

    max_upload_bytes: of all recordings of an upload together.
    consent_required: whether an upload must come with a `Consent`.
    """

    max_text_characters: int
    min_speed: float
    max_speed: float
    max_upload_bytes: int = 0
    consent_required: bool = False

    @classmethod
    def from_proto(cls, message: pb.Limits) -> "Limits":
        return cls(
            max_text_characters=message.max_text_characters,
            min_speed=message.min_speed,
            max_speed=message.max_speed,
            max_upload_bytes=message.max_upload_bytes,
            consent_required=message.consent_required,
        )


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What the server is and can do. `default_voice` is empty while its engine is not ready."""

    version: str
    default_voice: str
    engines: tuple[EngineInfo, ...]
    formats: tuple[FormatInfo, ...]
    limits: Limits

    @classmethod
    def from_proto(cls, message: pb.GetServerInfoResponse) -> "ServerInfo":
        return cls(
            version=message.version,
            default_voice=message.default_voice,
            engines=tuple(EngineInfo.from_proto(engine) for engine in message.engines),
            formats=tuple(FormatInfo.from_proto(entry) for entry in message.formats),
            limits=Limits.from_proto(message.limits),
        )
