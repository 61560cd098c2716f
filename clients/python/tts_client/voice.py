"""A voice, what is known of its recordings, and the consent that an upload brings along."""

from dataclasses import dataclass
from datetime import UTC, datetime

from protos.tts.v1 import tts_pb2 as pb
from tts_client.encoding import ContractEnum


class VoiceOrigin(ContractEnum):
    """Where a voice comes from."""

    UNSPECIFIED = 0
    ENGINE = 1
    UPLOADED = 2


@dataclass(frozen=True, slots=True)
class QualityWarning:
    """Something about a recording that could be better.

    code: for programs, such as BACKGROUND_NOISE.
    message: for people, what was measured and what to do.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class QualityReport:
    """How good the recordings of one style are.

    clipped_share: of the samples, 0 to 1.
    signal_to_noise_db: an estimate; None without pauses to measure.
    bandwidth_hz: an estimate of the frequency below which nearly all of the sound lies.
    warnings: the most serious first.
    """

    style: str
    recording_count: int
    duration_ms: int
    speech_ms: int
    kept_ms: int
    loudness_before_lufs: float
    loudness_after_lufs: float
    true_peak_dbtp: float
    clipped_share: float
    signal_to_noise_db: float | None
    bandwidth_hz: int
    warnings: tuple[QualityWarning, ...]

    @classmethod
    def from_proto(cls, message: pb.QualityReport) -> "QualityReport":
        measured = message.HasField("signal_to_noise_db")
        return cls(
            style=message.style,
            recording_count=message.recording_count,
            duration_ms=message.duration_ms,
            speech_ms=message.speech_ms,
            kept_ms=message.kept_ms,
            loudness_before_lufs=message.loudness_before_lufs,
            loudness_after_lufs=message.loudness_after_lufs,
            true_peak_dbtp=message.true_peak_dbtp,
            clipped_share=message.clipped_share,
            signal_to_noise_db=message.signal_to_noise_db if measured else None,
            bandwidth_hz=message.bandwidth_hz,
            warnings=tuple(QualityWarning(w.code, w.message) for w in message.warnings),
        )


@dataclass(frozen=True, slots=True)
class Voice:
    """Somebody who can speak. `languages` are BCP-47 tags, the default first.

    An uploaded voice has an empty `engine` while no engine that clones is connected. The fields
    from `styles` on are filled for uploaded voices only: `quality` has one report a style,
    `content_fingerprint` is SHA-256 in hexadecimal over the kept recordings.
    """

    id: str
    display_name: str
    engine: str
    languages: tuple[str, ...]
    sample_rate_hz: int
    origin: VoiceOrigin
    model_fingerprint: str
    styles: tuple[str, ...] = ()
    create_time: datetime | None = None
    quality: tuple[QualityReport, ...] = ()
    content_fingerprint: str = ""

    @classmethod
    def from_proto(cls, message: pb.Voice) -> "Voice":
        stored = message.HasField("create_time")
        return cls(
            id=message.id,
            display_name=message.display_name,
            engine=message.engine,
            languages=tuple(message.languages),
            sample_rate_hz=message.sample_rate_hz,
            origin=VoiceOrigin(message.origin),
            model_fingerprint=message.model_fingerprint,
            styles=tuple(message.styles),
            create_time=message.create_time.ToDatetime(UTC) if stored else None,
            quality=tuple(QualityReport.from_proto(report) for report in message.quality),
            content_fingerprint=message.content_fingerprint,
        )


@dataclass(frozen=True, slots=True)
class UploadedVoice:
    """What an upload came to.

    already_stored: an earlier upload with the same `request_id` had stored the voice.
    """

    voice: Voice
    already_stored: bool

    @classmethod
    def from_proto(cls, message: pb.UploadVoiceResponse) -> "UploadedVoice":
        return cls(Voice.from_proto(message.voice), message.already_stored)


@dataclass(frozen=True, slots=True)
class Consent:
    """Who agreed to have their voice cloned, and to what.

    person: who is heard and consented.
    statement: what was agreed to, in the words that the person saw or heard.
    attested_by: who vouches for it.
    consent_time: when. It must carry its time zone, else `ValueError`.
    """

    person: str
    statement: str
    attested_by: str
    consent_time: datetime

    def __post_init__(self) -> None:
        if self.consent_time.tzinfo is None:
            raise ValueError("consent_time must carry a time zone, such as datetime.now(UTC)")
