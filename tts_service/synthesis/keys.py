"""What speech is kept under: a digest of all that decides how it sounds, and of nothing else.

docs/cache.md has the table of a request's fields; a test holds both to the contract.
"""

import hashlib
import json
from array import array
from typing import Any

from audio_codec import ENCODER_VERSION

from .mix import VoicePart
from .plan import Segment
from .request import Utterance

__all__ = ["rendition_key", "segment_keys"]

# Goes up when this program makes other audio or other frames of the same parts.
_VERSION = 2


def rendition_key(utterance: Utterance) -> str:
    """Names the finished response: what each segment sounds like, where its text stands, in what
    format."""
    audio_format = utterance.audio_format
    return "rendition-" + _digest(
        _speaking(utterance),
        [_planned(segment) for segment in utterance.segments],
        [
            audio_format.encoding.value,
            audio_format.sample_rate_hz,
            audio_format.bitrate_bps,
            0 if utterance.joins_frames else audio_format.frame_ms,
        ],
        ENCODER_VERSION,
    )


def segment_keys(utterance: Utterance) -> tuple[str, ...]:
    """Names the speech of each segment, whatever text it stands in and however it is encoded."""
    speaking = _speaking(utterance)
    return tuple("segment-" + _digest(speaking, segment.text) for segment in utterance.segments)


def _speaking(utterance: Utterance) -> list[Any]:
    """Who speaks, and how."""
    # A seed that the server drew is no part of what was asked for.
    asked = utterance.asked_sampling
    heaviest = max(part.weight for part in utterance.parts)
    return [
        utterance.voice.engine,
        [[*_voice(part), part.weight / heaviest] for part in utterance.parts],
        utterance.language,
        utterance.speed,
        [asked.temperature, asked.top_k, asked.top_p, asked.repetition_penalty, asked.seed],
    ]


def _voice(part: VoicePart) -> list[Any]:
    voice = part.voice
    content = None if voice.stored is None else voice.stored.content_fingerprint
    return [voice.engine_voice, content, voice.model_fingerprint, part.style]


def _planned(segment: Segment) -> list[Any]:
    positions = array("q", segment.positions).tobytes()
    return [segment.text, segment.pause_ms, hashlib.sha256(positions).hexdigest()]


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps([_VERSION, *parts]).encode()).hexdigest()
