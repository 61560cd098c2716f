"""Between the messages of tts.v1 and the domain."""

import base64
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import UTC
from types import MappingProxyType

from audio_codec import FORMATS, AudioFormat, Encoding, FormatSpec
from protos.tts.v1 import tts_pb2
from voice_store import StyleQuality

from ..errors import InvalidRequest, Violation
from ..fleet import EngineState, Supervisor
from ..sampling import Sampling
from ..synthesis import (
    CacheMode,
    CacheStatus,
    Event,
    Frame,
    Header,
    Summary,
    SynthesisRequest,
    VoiceShare,
)
from ..voices import ConsentClaim, RecordingStart, UploadPart, Voice, VoiceMetadata

__all__ = [
    "cache_mode",
    "engine_info",
    "event_to_proto",
    "format_info",
    "from_page_token",
    "synthesis_request",
    "to_page_token",
    "upload_parts",
    "voice_to_proto",
]

_ENCODINGS: Mapping[tts_pb2.Encoding.ValueType, Encoding] = MappingProxyType(
    {tts_pb2.Encoding.Value(f"ENCODING_{encoding.name}"): encoding for encoding in Encoding}
)
_ENCODING_NUMBERS = MappingProxyType({e: number for number, e in _ENCODINGS.items()})

_ENGINE_STATES = MappingProxyType(
    {
        EngineState.STARTING: tts_pb2.ENGINE_STATE_STARTING,
        EngineState.READY: tts_pb2.ENGINE_STATE_READY,
        EngineState.RESTARTING: tts_pb2.ENGINE_STATE_RESTARTING,
        EngineState.BROKEN: tts_pb2.ENGINE_STATE_BROKEN,
    }
)


_CACHE_MODES: Mapping[tts_pb2.CacheMode.ValueType, CacheMode] = MappingProxyType(
    {
        tts_pb2.CACHE_MODE_UNSPECIFIED: CacheMode.DEFAULT,
        tts_pb2.CACHE_MODE_BYPASS: CacheMode.BYPASS,
        tts_pb2.CACHE_MODE_REFRESH: CacheMode.REFRESH,
        tts_pb2.CACHE_MODE_ONLY: CacheMode.ONLY,
    }
)
_CACHE_STATUSES = MappingProxyType(
    {
        CacheStatus.MISS: tts_pb2.CACHE_STATUS_MISS,
        CacheStatus.HIT: tts_pb2.CACHE_STATUS_HIT,
        CacheStatus.JOINED: tts_pb2.CACHE_STATUS_JOINED,
    }
)


def cache_mode(message: tts_pb2.SynthesizeRequest) -> CacheMode:
    """Reads what a request has to do with kept speech.

    Raises:
        InvalidRequest: the mode is none of this contract's.
    """
    mode = _CACHE_MODES.get(message.cache)
    if mode is None:
        names = ", ".join(map(tts_pb2.CacheMode.Name, _CACHE_MODES))
        raise InvalidRequest(Violation("cache", f"is {message.cache}; it must be one of {names}"))
    return mode


def synthesis_request(message: tts_pb2.SynthesizeRequest) -> SynthesisRequest:
    """Reads a request.

    Raises:
        InvalidRequest: the encoding is none of this contract's.
    """
    number = message.format.encoding
    encoding = Encoding.MP3 if number == tts_pb2.ENCODING_UNSPECIFIED else _ENCODINGS.get(number)
    if encoding is None:
        names = ", ".join(f"ENCODING_{e.name}" for e in Encoding)
        raise InvalidRequest(
            Violation("format.encoding", f"is {number}; it must be one of {names}")
        )
    prosody = message.prosody
    return SynthesisRequest(
        text=message.text if message.WhichOneof("input") == "text" else None,
        voice=message.voice,
        language=message.language,
        encoding=encoding,
        sample_rate_hz=message.format.sample_rate_hz,
        bitrate_bps=message.format.bitrate_bps,
        frame_ms=message.format.frame_ms,
        speed=prosody.speed if prosody.HasField("speed") else None,
        style=message.style,
        sampling=Sampling(**{field.name: value for field, value in message.sampling.ListFields()}),
        voice_mix=tuple(VoiceShare(share.voice, share.weight) for share in message.voice_mix),
    )


async def upload_parts(
    messages: AsyncIterator[tts_pb2.UploadVoiceRequest],
) -> AsyncGenerator[UploadPart]:
    """Reads the parts of an upload.

    Raises:
        InvalidRequest: a message holds no part.
    """
    async for message in messages:
        match message.WhichOneof("part"):
            case "metadata":
                yield _metadata(message.metadata)
            case "recording":
                yield RecordingStart(message.recording.style)
            case "data":
                yield message.data
            case _:
                raise InvalidRequest(Violation("part", "must be set in every message"))


def _metadata(message: tts_pb2.VoiceMetadata) -> VoiceMetadata:
    return VoiceMetadata(
        display_name=message.display_name,
        language=message.language,
        voice_id=message.voice_id,
        request_id=message.request_id,
        consent=_consent(message.consent) if message.HasField("consent") else None,
    )


def _consent(message: tts_pb2.Consent) -> ConsentClaim:
    time = None
    if message.HasField("consent_time"):
        try:
            time = message.consent_time.ToDatetime(UTC)
        except ValueError:  # outside the years 1 to 9999
            raise InvalidRequest(Violation("metadata.consent.consent_time", "is no time")) from None
    return ConsentClaim(message.person, message.statement, time, message.attested_by)


def event_to_proto(event: Event) -> tts_pb2.SynthesizeResponse:
    """Writes an event of a synthesis."""
    match event:
        case Frame():
            return tts_pb2.SynthesizeResponse(audio=_frame(event))
        case Header():
            return tts_pb2.SynthesizeResponse(header=_header(event))
        case Summary():
            return tts_pb2.SynthesizeResponse(summary=_summary(event))


def _frame(frame: Frame) -> tts_pb2.AudioFrame:
    return tts_pb2.AudioFrame(
        data=frame.data,
        sequence=frame.sequence,
        start_ms=frame.start_ms,
        duration_ms=frame.duration_ms,
        span=tts_pb2.TextSpan(
            start_character=frame.start_character, end_character=frame.end_character
        ),
    )


def _header(header: Header) -> tts_pb2.SynthesisHeader:
    return tts_pb2.SynthesisHeader(
        request_id=header.request_id,
        voice=header.voice.id,
        engine=header.voice.engine,
        model_fingerprint=header.voice.model_fingerprint,
        language=header.language,
        format=_audio_format(header.audio_format),
        content_type=FORMATS[header.audio_format.encoding].content_type,
        cache_status=_CACHE_STATUSES[header.cache_status],
        seed=header.seed,
        voice_mix=[
            tts_pb2.VoiceShare(voice=part.voice.id, weight=part.weight) for part in header.mix
        ],
    )


def _summary(summary: Summary) -> tts_pb2.SynthesisSummary:
    spoken = summary.sample_count > 0
    return tts_pb2.SynthesisSummary(
        completion=(tts_pb2.COMPLETION_SPOKEN if spoken else tts_pb2.COMPLETION_NO_SPEAKABLE_TEXT),
        audio_ms=summary.audio_ms,
        sample_count=summary.sample_count,
        byte_count=summary.byte_count,
        crc32c=summary.crc32c,
        first_audio_ms=summary.first_audio_ms,
        render_ms=summary.render_ms,
        real_time_factor=summary.render_ms / summary.audio_ms if summary.audio_ms else 0.0,
        character_count=summary.character_count,
    )


def _audio_format(audio_format: AudioFormat) -> tts_pb2.AudioFormat:
    return tts_pb2.AudioFormat(
        encoding=_ENCODING_NUMBERS[audio_format.encoding],
        sample_rate_hz=audio_format.sample_rate_hz,
        bitrate_bps=audio_format.bitrate_bps,
        frame_ms=audio_format.frame_ms,
    )


def voice_to_proto(voice: Voice) -> tts_pb2.Voice:
    """Writes a voice."""
    message = tts_pb2.Voice(
        id=voice.id,
        display_name=voice.display_name,
        engine=voice.engine,
        languages=voice.languages,
        sample_rate_hz=voice.sample_rate_hz,
        origin=tts_pb2.VOICE_ORIGIN_ENGINE,
        model_fingerprint=voice.model_fingerprint,
    )
    if (stored := voice.stored) is not None:
        message.origin = tts_pb2.VOICE_ORIGIN_UPLOADED
        message.styles.extend(stored.styles)
        message.create_time.FromDatetime(stored.create_time)
        message.quality.extend(_quality_report(quality) for quality in stored.quality)
        message.content_fingerprint = stored.content_fingerprint
    return message


def _quality_report(quality: StyleQuality) -> tts_pb2.QualityReport:
    return tts_pb2.QualityReport(
        style=quality.style,
        recording_count=quality.recording_count,
        duration_ms=quality.duration_ms,
        speech_ms=quality.speech_ms,
        kept_ms=quality.kept_ms,
        loudness_before_lufs=quality.loudness_before_lufs,
        loudness_after_lufs=quality.loudness_after_lufs,
        true_peak_dbtp=quality.true_peak_dbtp,
        clipped_share=quality.clipped_share,
        signal_to_noise_db=quality.signal_to_noise_db,
        bandwidth_hz=quality.bandwidth_hz,
        warnings=[
            tts_pb2.QualityWarning(code=warning.code, message=warning.message)
            for warning in quality.warnings
        ],
    )


def engine_info(engine: Supervisor) -> tts_pb2.EngineInfo:
    """Writes what is known of an engine."""
    info = tts_pb2.EngineInfo(name=engine.engine, state=_ENGINE_STATES[engine.state])
    if engine.description is not None:
        voices = engine.description.voices
        info.languages.extend(sorted({tag for voice in voices for tag in voice.languages}))
        info.voice_count = len(voices)
        info.model_fingerprint = engine.description.model_fingerprint
    return info


def format_info(spec: FormatSpec) -> tts_pb2.FormatInfo:
    """Writes what an encoding takes."""
    return tts_pb2.FormatInfo(
        encoding=_ENCODING_NUMBERS[spec.encoding],
        content_type=spec.content_type,
        file_suffixes=spec.file_suffixes,
        sample_rates_hz=spec.sample_rates_hz,
        min_sample_rate_hz=spec.min_sample_rate_hz,
        max_sample_rate_hz=spec.max_sample_rate_hz,
        default_bitrate_bps=spec.default_bitrate_bps,
        min_bitrate_bps=spec.min_bitrate_bps,
        max_bitrate_bps=spec.max_bitrate_bps,
    )


def to_page_token(last_id: str) -> str:
    """The token of the page after the voice `last_id`; callers must not read it."""
    return base64.urlsafe_b64encode(last_id.encode()).decode()


def from_page_token(token: str) -> str:
    """The id of the last voice of the page before; "" for the first page.

    Raises:
        InvalidRequest: no page ever had this token.
    """
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except ValueError:
        raise InvalidRequest(
            Violation("page_token", "is not a token that ListVoices returned")
        ) from None
