"""Marks on kept speech, by which what a voice has spoken is found again."""

from collections.abc import Sequence

from .mix import VoicePart

__all__ = ["content_mark", "is_content_mark", "speech_marks", "voice_mark"]

_VOICE, _CONTENT = "voice:", "content:"


def voice_mark(voice_id: str) -> str:
    """The mark of a voice by its id."""
    return _VOICE + voice_id


def content_mark(fingerprint: str) -> str:
    """The mark of an uploaded voice by what was uploaded."""
    return _CONTENT + fingerprint


def is_content_mark(mark: str) -> bool:
    """Whether `content_mark` made it."""
    return mark.startswith(_CONTENT)


def speech_marks(parts: Sequence[VoicePart]) -> list[str]:
    """All marks of what these voices speak together."""
    marks = [voice_mark(part.voice.id) for part in parts]
    stored = [part.voice.stored for part in parts if part.voice.stored is not None]
    return marks + [content_mark(one.content_fingerprint) for one in stored]
