"""Between the messages of tts.v1 and the domain."""

import base64
from collections.abc import Mapping
from types import MappingProxyType

from audio_codec import FORMATS, AudioFormat, Encoding, FormatSpec
from protos.tts.v1 import tts_pb2

from ..errors import InvalidRequest, Violation
from ..fleet import EngineState, Supervisor, Voice
from ..synthesis import Event, Frame, Header, Summary, SynthesisRequest

__all__ = [
    "engine_info",
    "event_to_proto",
    "format_info",
    "from_page_token",
    "synthesis_request",
    "to_page_token",
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
    }
)


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
    )


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
    return tts_pb2.Voice(
        id=voice.id,
        display_name=voice.display_name,
        engine=voice.engine,
        languages=voice.languages,
        sample_rate_hz=voice.sample_rate_hz,
        origin=tts_pb2.VOICE_ORIGIN_ENGINE,
        model_fingerprint=voice.model_fingerprint,
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
