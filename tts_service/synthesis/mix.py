"""Mixes of voices: what a caller asked for, checked, and the voice that comes of it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import Violation
from ..voices import Catalog, Voice

__all__ = ["VoicePart", "VoiceShare", "check_mix", "mixed_voice"]

_MIN_VOICES = 2
_MAX_VOICES = 8


@dataclass(frozen=True, slots=True)
class VoiceShare:
    """One voice of a mix that a caller asked for.

    Attributes:
        voice: id of the voice.
        weight: above 0; what counts is its share in the sum of all weights.
    """

    voice: str
    weight: float


@dataclass(frozen=True, slots=True)
class VoicePart:
    """One of the voices that speak an utterance: the only one, or a part of the mix.

    Attributes:
        style: of an uploaded voice; "" for one that came with an engine.
        weight: see `VoiceShare`.
    """

    voice: Voice
    style: str
    weight: float = 1.0


def check_mix(shares: Sequence[VoiceShare], catalog: Catalog) -> Iterator[Violation]:
    """Finds what keeps voices from being mixed."""
    if not _MIN_VOICES <= len(shares) <= _MAX_VOICES:
        bounds = f"{_MIN_VOICES} to {_MAX_VOICES}"
        yield Violation("voice_mix", f"holds {len(shares)} voices; it must hold {bounds}")
        return
    found: list[Voice] = []
    for number, share in enumerate(shares):
        path = f"voice_mix[{number}]"
        if not 0.0 < share.weight < math.inf:
            yield Violation(f"{path}.weight", f"is {share.weight:g}; it must be above 0 and finite")
        voice = catalog.find(share.voice)
        if voice is None:
            yield Violation(f"{path}.voice", "is unknown" if share.voice else "is required")
        elif voice in found:
            yield Violation(f"{path}.voice", "is in the mix already")
        elif found and voice.engine != found[0].engine:
            yield Violation(
                f"{path}.voice",
                f"is of engine {voice.engine!r}, and the first one of {found[0].engine!r}",
            )
        else:
            found.append(voice)
    if not found or not found[0].engine:
        return
    if not found[0].traits.can_mix:
        yield Violation("voice_mix", f"engine {found[0].engine!r} can't mix voices")
    elif not _common_languages(found):
        yield Violation("voice_mix", "holds voices that have no language in common")


def mixed_voice(voices: Sequence[Voice]) -> Voice:
    """The voice, without an id, that voices of one engine are together.

    It speaks the languages that all of them do, in the order of the first.
    """
    traits = voices[0].traits
    return Voice(
        id="",
        display_name="",
        engine=voices[0].engine,
        engine_voice="",
        languages=_common_languages(voices),
        sample_rate_hz=traits.mix_sample_rate_hz,
        model_fingerprint=traits.model_fingerprint,
        traits=traits,
    )


def _common_languages(voices: Sequence[Voice]) -> tuple[str, ...]:
    first, *others = voices
    return tuple(tag for tag in first.languages if all(tag in v.languages for v in others))
