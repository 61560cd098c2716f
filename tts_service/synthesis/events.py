"""What a synthesis yields: one header, frames, one summary."""

from dataclasses import dataclass

from audio_codec import AudioFormat

from ..voices import Voice
from .cache_mode import CacheStatus
from .mix import VoicePart

__all__ = ["Event", "Frame", "Header", "Summary"]


@dataclass(frozen=True, slots=True)
class Header:
    """What the stream is going to be.

    Attributes:
        voice: who speaks; for a mix a voice without an id.
        mix: the voices that are mixed; none if one voice speaks.
        seed: what all of it is drawn with; None if the engine doesn't sample, or if kept parts
            have seeds of their own.
    """

    request_id: str
    voice: Voice
    mix: tuple[VoicePart, ...]
    language: str
    audio_format: AudioFormat
    cache_status: CacheStatus
    seed: int | None


@dataclass(frozen=True, slots=True)
class Frame:
    """A run of encoded audio.

    Attributes:
        start_ms: where its audio begins on the timeline of the stream; where the frame
            before ended.
        start_character: first code point of the source text that is being spoken.
        end_character: one past the last.
    """

    data: bytes
    sequence: int
    start_ms: int
    duration_ms: int
    start_character: int
    end_character: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Proof that the stream is whole, and how it went.

    Attributes:
        sample_count: samples at the format's rate; 0 if there was nothing to speak.
        crc32c: Castagnoli CRC of all frames' data, joined.
        first_audio_ms: from the request's arrival until the transport had the first frame.
        render_ms: from the request's arrival until the transport had the last frame.
    """

    audio_ms: int
    sample_count: int
    byte_count: int
    crc32c: int
    first_audio_ms: float
    render_ms: float
    character_count: int


Event = Header | Frame | Summary
