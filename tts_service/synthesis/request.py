"""From what a caller asked for to what is going to be spoken: checks and defaults."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from audio_codec import AudioFormat, Encoding, FormatError, resolve_format
from voice_store import DEFAULT_STYLE

from ..errors import InvalidRequest, NotPossible, Violation
from ..text import find_forbidden_character, is_language
from ..voices import Catalog, Voice
from .plan import Segment, plan_segments

__all__ = [
    "MAX_SPEED",
    "MAX_VOICE_CHARACTERS",
    "MIN_SPEED",
    "SynthesisRequest",
    "Utterance",
    "resolve_request",
]

MAX_VOICE_CHARACTERS = 128
MIN_SPEED = 0.5
# Formats are checked also where the voice, and so the rate of its samples, is unknown.
_ANY_RATE_HZ = 24_000
MAX_SPEED = 2.0


@dataclass(frozen=True, slots=True)
class SynthesisRequest:
    """What a caller asked for. Empty and zero mean the default.

    Attributes:
        text: None if the caller sent no input at all.
        speed: factor on the speaking rate; None is the voice's own.
    """

    text: str | None
    voice: str = ""
    language: str = ""
    encoding: Encoding = Encoding.MP3
    sample_rate_hz: int = 0
    bitrate_bps: int = 0
    frame_ms: int = 0
    speed: float | None = None
    style: str = ""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is going to be spoken, with nothing left open.

    Attributes:
        character_count: Unicode code points of the caller's text.
        style: of an uploaded voice; "" for one that came with an engine.
        segments: none if the text holds nothing that can be spoken.
    """

    character_count: int
    voice: Voice
    language: str
    audio_format: AudioFormat
    speed: float
    style: str
    segments: tuple[Segment, ...]


def resolve_request(
    request: SynthesisRequest, catalog: Catalog, *, default_voice: str, max_text_characters: int
) -> Utterance:
    """Checks a request against the voices there are and fills in the defaults.

    Raises:
        InvalidRequest: names every field at fault.
        VoiceNotFound: there is no such voice.
        NotPossible: no engine speaks with uploaded voices, and this is one.
    """
    violations = list(_check(request, max_text_characters))
    voice_id = request.voice or default_voice
    voice = catalog.get(voice_id) if voice_id in catalog else None
    language, audio_format = "", None
    if voice is not None and voice.engine:
        language, problems = _choose_language(request, voice)
        named = {violation.field for violation in violations}
        violations += [problem for problem in problems if problem.field not in named]
    try:
        audio_format = resolve_format(
            request.encoding,
            source_rate_hz=voice.sample_rate_hz if voice and voice.engine else _ANY_RATE_HZ,
            sample_rate_hz=request.sample_rate_hz,
            bitrate_bps=request.bitrate_bps,
            frame_ms=request.frame_ms,
        )
    except FormatError as error:
        violations.append(Violation(f"format.{error.field}", error.problem))
    if violations or audio_format is None:
        raise InvalidRequest(*violations)
    voice = catalog.get(voice_id)
    if not voice.engine:
        raise NotPossible(
            f"voice {voice.id!r} was uploaded, and no connected engine clones voices",
            reason="NO_CLONING_ENGINE",
        )

    text = request.text or ""
    return Utterance(
        character_count=len(text),
        voice=voice,
        language=language,
        audio_format=audio_format,
        speed=1.0 if request.speed is None else request.speed,
        style=request.style or _default_style(voice),
        segments=plan_segments(
            text, max_characters=voice.max_segment_characters, language=language
        ),
    )


def _choose_language(request: SynthesisRequest, voice: Voice) -> tuple[str, list[Violation]]:
    """Finds the language to speak, and what the voice can't do of the rest."""
    problems = []
    language: str | None = voice.languages[0]
    if request.language and is_language(request.language):
        language = voice.match_language(request.language)
        if language is None:
            spoken = ", ".join(voice.languages)
            problems.append(
                Violation(
                    "language",
                    f"voice {voice.id!r} does not speak {request.language!r}; it speaks {spoken}",
                )
            )
    if request.style and request.style not in voice.styles:
        known = ", ".join(voice.styles) or "none"
        problems.append(
            Violation("style", f"voice {voice.id!r} has no such style; it has: {known}")
        )
    if request.speed is not None and not voice.can_change_speed:
        problems.append(
            Violation("prosody.speed", f"engine {voice.engine!r} can't change the speed")
        )
    return language or "", problems


def _default_style(voice: Voice) -> str:
    return DEFAULT_STYLE if DEFAULT_STYLE in voice.styles else next(iter(voice.styles), "")


def _check(request: SynthesisRequest, max_text_characters: int) -> Iterator[Violation]:
    """Finds what is wrong whatever voices there are."""
    if not request.text:
        yield Violation("text", "is required and must not be empty")
    elif len(request.text) > max_text_characters:
        yield Violation(
            "text",
            f"is {len(request.text)} characters long; the limit is {max_text_characters}",
        )
    elif (forbidden := find_forbidden_character(request.text)) is not None:
        position, name = forbidden
        yield Violation("text", f"holds {name} at character {position}, which can't be spoken")
    if len(request.voice) > MAX_VOICE_CHARACTERS:
        yield Violation("voice", f"is longer than {MAX_VOICE_CHARACTERS} characters, as no id is")
    if len(request.style) > MAX_VOICE_CHARACTERS:
        yield Violation("style", f"is longer than {MAX_VOICE_CHARACTERS} characters")
    if request.language and not is_language(request.language):
        yield Violation("language", "is not a valid BCP-47 tag; write it like 'en' or 'en-US'")
    # Written so that NaN, which compares false with everything, is refused.
    if request.speed is not None and not MIN_SPEED <= request.speed <= MAX_SPEED:
        value = "NaN" if math.isnan(request.speed) else f"{request.speed:g}"
        yield Violation("prosody.speed", f"is {value}; it must be {MIN_SPEED} to {MAX_SPEED}")
