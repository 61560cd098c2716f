"""From text to a stream of encoded audio; knows nothing of gRPC's public face."""

from .cache_mode import CacheMode, CacheStatus
from .events import Event, Frame, Header, Summary
from .mix import VoicePart, VoiceShare
from .request import (
    MAX_SPEED,
    MAX_VOICE_CHARACTERS,
    MIN_SPEED,
    SynthesisRequest,
    Utterance,
    resolve_request,
)
from .speech_cache import CacheLimits, SpeechCache
from .synthesizer import Synthesizer

__all__ = [
    "MAX_SPEED",
    "MAX_VOICE_CHARACTERS",
    "MIN_SPEED",
    "CacheLimits",
    "CacheMode",
    "CacheStatus",
    "Event",
    "Frame",
    "Header",
    "SpeechCache",
    "Summary",
    "SynthesisRequest",
    "Synthesizer",
    "Utterance",
    "VoicePart",
    "VoiceShare",
    "resolve_request",
]
