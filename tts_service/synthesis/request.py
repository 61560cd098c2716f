"""From what a caller asked for to what is going to be spoken: checks and defaults."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from audio_codec import FORMATS, AudioFormat, Encoding, FormatError, resolve_format
from voice_store import DEFAULT_STYLE

from ..errors import InvalidRequest, NotPossible, Violation, VoiceNotFound
from ..sampling import Sampling
from ..text import find_forbidden_character, is_language
from ..voices import Catalog, Voice
from .mix import VoicePart, VoiceShare, check_mix, mixed_voice
from .plan import Segment, plan_segments
from .sampling import check_sampling, with_seed

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
MAX_SPEED = 2.0
# Formats are checked also where the voice, and so the rate of its samples, is unknown.
_ANY_RATE_HZ = 24_000


@dataclass(frozen=True, slots=True)
class SynthesisRequest:
    """What a caller asked for. Empty and zero mean the default.

    Attributes:
        text: None if the caller sent no input at all.
        speed: factor on the speaking rate; None is the voice's own.
        voice_mix: voices to speak with a mix of, in place of `voice`.
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
    sampling: Sampling = field(default_factory=Sampling)
    voice_mix: tuple[VoiceShare, ...] = ()

    @property
    def voice_ids(self) -> tuple[str, ...]:
        """All voices that it names; none if it is for the default voice."""
        return (self.voice,) if self.voice else tuple(share.voice for share in self.voice_mix)


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is going to be spoken, with nothing left open.

    Attributes:
        character_count: Unicode code points of the caller's text.
        voice: who speaks; for a mix a voice without an id.
        parts: that voice alone, or the voices that are mixed.
        joins_frames: whether frames that are ready at once are sent as one.
        sampling: with a seed if the engine samples; else the default.
        is_seed_drawn: whether that seed is the server's and not the caller's.
        segments: none if the text holds nothing that can be spoken.
    """

    character_count: int
    voice: Voice
    parts: tuple[VoicePart, ...]
    language: str
    audio_format: AudioFormat
    joins_frames: bool
    speed: float
    sampling: Sampling
    is_seed_drawn: bool
    segments: tuple[Segment, ...]

    @property
    def asked_sampling(self) -> Sampling:
        """The sampling as the caller asked for it."""
        return replace(self.sampling, seed=None) if self.is_seed_drawn else self.sampling

    @property
    def mix(self) -> tuple[VoicePart, ...]:
        """The voices that are mixed; none if one voice speaks."""
        return self.parts if len(self.parts) > 1 else ()


def resolve_request(
    request: SynthesisRequest, catalog: Catalog, *, default_voice: str, max_text_characters: int
) -> Utterance:
    """Checks a request against the voices there are and fills in the defaults.

    Raises:
        InvalidRequest: names every field at fault.
        VoiceNotFound: there is no such voice.
        NotPossible: no engine speaks with uploaded voices, and this is one.
    """
    violations = list(_check(request, max_text_characters, default_voice))
    mix_problems = list(check_mix(request.voice_mix, catalog)) if request.voice_mix else []
    violations += mix_problems
    parts = () if mix_problems else _find_parts(request, catalog, default_voice)
    voice = _whole_voice(parts)
    language, rate_hz = "", _ANY_RATE_HZ
    if voice is not None and voice.engine:
        language, rate_hz = _choose_language(request, voice), voice.sample_rate_hz
        named = {violation.field for violation in violations}
        unmet = _find_unmet(request, voice, language)
        violations += [violation for violation in unmet if violation.field not in named]
    audio_format, format_problems = _resolve_format(request, rate_hz)
    violations += format_problems
    if violations or audio_format is None:
        raise InvalidRequest(*violations)
    if voice is None:
        raise VoiceNotFound(request.voice or default_voice)
    if not voice.engine:
        raise NotPossible(
            f"voice {parts[0].voice.id!r} was uploaded, and no connected engine clones voices",
            reason="NO_CLONING_ENGINE",
        )

    text = request.text or ""
    limit = voice.traits.segment_characters(language)
    return Utterance(
        character_count=len(text),
        voice=voice,
        parts=parts,
        language=language,
        audio_format=audio_format,
        joins_frames=not request.frame_ms and request.encoding is not Encoding.OPUS_PACKETS,
        speed=1.0 if request.speed is None else request.speed,
        sampling=with_seed(request.sampling) if voice.traits.can_sample else Sampling(),
        is_seed_drawn=voice.traits.can_sample and request.sampling.seed is None,
        segments=plan_segments(
            text,
            max_characters=limit,
            opening_characters=voice.traits.opening_characters,
            language=language,
        ),
    )


def _resolve_format(
    request: SynthesisRequest, rate_hz: int
) -> tuple[AudioFormat | None, list[Violation]]:
    """Returns the format, or what is wrong with each field that is at fault."""
    fields = ("sample_rate_hz", "bitrate_bps", "frame_ms")
    wanted = {name: getattr(request, name) for name in fields}

    def resolve(**chosen: int) -> AudioFormat:
        return resolve_format(request.encoding, source_rate_hz=rate_hz, **chosen)

    try:
        return resolve(**wanted), []
    except FormatError as error:
        first = error
    violations = [Violation(f"format.{first.field}", first.problem)]
    rates_hz: tuple[int, ...] = (request.sample_rate_hz,)
    if first.field == "sample_rate_hz":
        # What goes with no rate at all is at fault itself, whichever the right one would be.
        rates_hz = FORMATS[request.encoding].sample_rates_hz or (0,)
    for name in fields[fields.index(first.field) + 1 :]:
        problems = []
        for any_hz in rates_hz:
            try:
                resolve(sample_rate_hz=any_hz, **{name: wanted[name]})
            except FormatError as error:
                problems.append(error.problem)
        if len(problems) == len(rates_hz):
            violations.append(Violation(f"format.{name}", problems[-1]))
    return None, violations


def _find_parts(
    request: SynthesisRequest, catalog: Catalog, default_voice: str
) -> tuple[VoicePart, ...]:
    """Finds the voices that are to speak; none for one that there isn't."""
    shares = request.voice_mix or (VoiceShare(request.voice or default_voice, 1.0),)
    found = ((catalog.find(share.voice), share.weight) for share in shares)
    return tuple(
        VoicePart(voice, request.style or _default_style(voice), weight)
        for voice, weight in found
        if voice is not None
    )


def _whole_voice(parts: Sequence[VoicePart]) -> Voice | None:
    if len(parts) > 1:
        return mixed_voice([part.voice for part in parts])
    return parts[0].voice if parts else None


def _choose_language(request: SynthesisRequest, voice: Voice) -> str:
    """Finds the language to speak; "" if the voice does not speak the one that is asked for."""
    if not is_language(request.language):
        return voice.languages[0]
    return voice.match_language(request.language) or ""


def _find_unmet(request: SynthesisRequest, voice: Voice, language: str) -> Iterator[Violation]:
    """Finds what the voice and its engine can't do."""
    who = f"voice {voice.id!r}" if voice.id else "the mix"
    if not language:
        spoken = ", ".join(voice.languages)
        yield Violation(
            "language", f"{who} does not speak {request.language!r}; it speaks {spoken}"
        )
    if request.style and request.style not in voice.styles:
        known = ", ".join(voice.styles) or "none"
        yield Violation("style", f"{who} has no such style; it has: {known}")
    if request.speed is not None and not voice.traits.can_change_speed:
        yield Violation("prosody.speed", f"engine {voice.engine!r} can't change the speed")
    if request.sampling != Sampling() and not voice.traits.can_sample:
        yield Violation("sampling", f"engine {voice.engine!r} does not sample")


def _default_style(voice: Voice) -> str:
    return DEFAULT_STYLE if DEFAULT_STYLE in voice.styles else next(iter(voice.styles), "")


def _check(
    request: SynthesisRequest, max_text_characters: int, default_voice: str
) -> Iterator[Violation]:
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
    if request.voice and request.voice_mix:
        yield Violation("voice", "must be empty beside `voice_mix`")
    elif len(request.voice) > MAX_VOICE_CHARACTERS:
        yield Violation("voice", f"is longer than {MAX_VOICE_CHARACTERS} characters, as no id is")
    elif not (request.voice_ids or default_voice):
        yield Violation("voice", "is required, since this server has no default voice")
    if request.style and request.voice_mix:
        yield Violation("style", "must be empty beside `voice_mix`")
    elif len(request.style) > MAX_VOICE_CHARACTERS:
        yield Violation("style", f"is longer than {MAX_VOICE_CHARACTERS} characters")
    if request.language and not is_language(request.language):
        yield Violation("language", "is not a valid BCP-47 tag; write it like 'en' or 'en-US'")
    # Written so that NaN, which compares false with everything, is refused.
    if request.speed is not None and not MIN_SPEED <= request.speed <= MAX_SPEED:
        value = "NaN" if math.isnan(request.speed) else f"{request.speed:g}"
        yield Violation("prosody.speed", f"is {value}; it must be {MIN_SPEED} to {MAX_SPEED}")
    yield from check_sampling(request.sampling)
