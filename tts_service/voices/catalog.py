"""The voices of this moment, by id."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from voice_store import StoredVoice

from ..errors import VoiceNotFound
from ..text import parse_language
from .traits import EngineTraits

__all__ = ["Catalog", "Voice", "language_matches"]


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice as callers see it.

    Attributes:
        engine: who speaks with it; "" for an uploaded voice while no engine clones.
        engine_voice: its id within the engine; "" for an uploaded voice.
        languages: BCP-47 tags in their usual case, the default first.
        sample_rate_hz: rate of the PCM that the engine renders; 0 without an engine.
        model_fingerprint: of the model that speaks; "" without an engine.
        traits: of its engine; the defaults without an engine.
        stored: what was uploaded; None for a voice that came with an engine.
    """

    id: str
    display_name: str
    engine: str
    engine_voice: str
    languages: tuple[str, ...]
    sample_rate_hz: int
    model_fingerprint: str
    traits: EngineTraits
    stored: StoredVoice | None = None

    @property
    def styles(self) -> tuple[str, ...]:
        """Styles that it was recorded in; none for a voice that came with an engine."""
        return () if self.stored is None else self.stored.styles

    def match_language(self, tag: str) -> str | None:
        """Returns the voice's language that answers to `tag`, or None.

        `en` finds `en-US`, and `en-US` finds the `en` of a voice that tells no regions
        apart; `en-GB` doesn't find `en-US`.

        Raises:
            ValueError: `tag` is not a BCP-47 tag.
        """
        wanted = parse_language(tag)
        if wanted in self.languages:
            return wanted
        related = (own for own in self.languages if language_matches(wanted, own))
        return next(related, None)


def language_matches(one: str, other: str) -> bool:
    """Whether one tag is the other, or its beginning."""
    return f"{one}-".startswith(f"{other}-") or f"{other}-".startswith(f"{one}-")


class Catalog:
    """An unchanging list of voices, ordered by id.

    Args:
        voices: if an id comes twice, the first voice has it, and the later one is called
            `ENGINE/ID`, or `uploaded/ID`.

    Attributes:
        uploaded_count: how many of them were uploaded.
    """

    def __init__(self, voices: Iterable[Voice] = ()) -> None:
        by_id: dict[str, Voice] = {}
        for voice in voices:
            origin = voice.engine if voice.stored is None else "uploaded"
            free = voice.id if voice.id not in by_id else f"{origin}/{voice.id}"
            by_id[free] = replace(voice, id=free)
        self._by_id = dict(sorted(by_id.items()))
        self.uploaded_count = sum(voice.stored is not None for voice in by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, voice_id: str) -> bool:
        return voice_id in self._by_id

    def find(self, voice_id: str) -> Voice | None:
        """Returns the voice; None if there is none of that id."""
        return self._by_id.get(voice_id)

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
