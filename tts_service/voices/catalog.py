"""The voices of all engines, by id."""

from collections.abc import Iterable
from dataclasses import dataclass

import langcodes

from ..errors import VoiceNotFound

__all__ = ["Catalog", "Voice", "language_matches"]


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice as callers see it.

    Attributes:
        languages: BCP-47 tags, the default first.
        sample_rate_hz: rate of the PCM that the engine renders.
        max_segment_characters: longest text that the engine takes at once.
        can_change_speed: whether its engine honours a speed.
    """

    id: str
    display_name: str
    engine: str
    languages: tuple[str, ...]
    sample_rate_hz: int
    model_fingerprint: str
    max_segment_characters: int
    can_change_speed: bool

    def match_language(self, tag: str) -> str | None:
        """Returns the voice's language that answers to `tag`, or None.

        `en` finds `en-US`, and `en-US` finds the `en` of a voice that tells no regions
        apart; `en-GB` doesn't find `en-US`.

        Raises:
            ValueError: `tag` is not a BCP-47 tag.
        """
        standard = langcodes.standardize_tag(tag)
        exact = [language for language in self.languages if language == standard]
        related = [language for language in self.languages if language_matches(standard, language)]
        return next(iter(exact + related), None)


def language_matches(one: str, other: str) -> bool:
    """Whether one standardised tag is the other, or its beginning."""
    return f"{one}-".startswith(f"{other}-") or f"{other}-".startswith(f"{one}-")


class Catalog:
    """An unchanging list of voices, ordered by id.

    Args:
        voices: if an id comes twice, the first one has it.
    """

    def __init__(self, voices: Iterable[Voice]) -> None:
        by_id: dict[str, Voice] = {}
        for voice in voices:
            by_id.setdefault(voice.id, voice)
        self._by_id = dict(sorted(by_id.items()))

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, voice_id: str) -> Voice:
        """Returns the voice.

        Raises:
            VoiceNotFound: there is none of that id.
        """
        try:
            return self._by_id[voice_id]
        except KeyError:
            raise VoiceNotFound(voice_id) from None

    def select(self, *, language: str = "", engine: str = "", after: str = "") -> list[Voice]:
        """Returns voices by id, those that match and come after the id `after`.

        Raises:
            ValueError: `language` is not a BCP-47 tag.
        """
        return [
            voice
            for voice in self._by_id.values()
            if voice.id > after
            and (not engine or voice.engine == engine)
            and (not language or voice.match_language(language) is not None)
        ]
