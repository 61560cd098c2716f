"""Brings the engines' voices and the uploaded ones together in one catalog."""

from collections.abc import Iterator, Sequence

from protos.engine.v1 import engine_pb2
from voice_store import VoiceStore

from ..fleet import Fleet, Supervisor
from .catalog import Catalog, Voice, language_matches
from .traits import EngineTraits, usual_case

__all__ = ["VoiceDirectory"]


class VoiceDirectory:
    """The catalog of this moment. `refresh` it when an engine or the store has changed.

    A worker that is starting again keeps its voices: calls for them wait for it. Of voices
    with one id the first engine's has it, and an engine's goes before an uploaded one.
    """

    def __init__(self, fleet: Fleet, store: VoiceStore) -> None:
        self._fleet = fleet
        self._store = store
        self._catalog = Catalog(())

    @property
    def catalog(self) -> Catalog:
        """All voices."""
        return self._catalog

    def cloning_engine(self) -> Supervisor | None:
        """The engine that speaks with uploaded voices: the first that can, None if none can."""
        for engine in self._fleet.engines:
            if engine.description is not None and (
                engine_pb2.ABILITY_CLONE in engine.description.abilities
            ):
                return engine
        return None

    def refresh(self) -> None:
        """Takes in what has changed."""
        self._catalog = Catalog([*self._engine_voices(), *self._uploaded_voices()])

    def _engine_voices(self) -> Iterator[Voice]:
        for engine in self._fleet.engines:
            if (description := engine.description) is None:
                continue
            traits = EngineTraits.of(description)
            for voice in description.voices:
                yield Voice(
                    id=voice.id,
                    display_name=voice.display_name,
                    engine=engine.engine,
                    engine_voice=voice.id,
                    languages=tuple(map(usual_case, voice.languages)),
                    sample_rate_hz=voice.sample_rate_hz,
                    model_fingerprint=voice.model_fingerprint,
                    traits=traits,
                )

    def _uploaded_voices(self) -> Iterator[Voice]:
        cloner = self.cloning_engine()
        # There may be thousands: what they share is made once.
        description = engine_pb2.DescribeResponse()
        if cloner is not None and cloner.description is not None:
            description = cloner.description
        traits = EngineTraits.of(description)
        spoken = tuple(map(usual_case, description.clone_languages))
        for stored in self._store.list():
            yield Voice(
                id=stored.id,
                display_name=stored.display_name,
                engine="" if cloner is None else cloner.engine,
                engine_voice="",
                languages=_own_first(spoken, stored.language) or (stored.language,),
                sample_rate_hz=description.clone_sample_rate_hz,
                model_fingerprint=description.model_fingerprint,
                traits=traits,
                stored=stored,
            )


def _own_first(spoken: Sequence[str], own: str) -> tuple[str, ...]:
    """A cloned voice speaks all languages of its engine, the one it was recorded in first."""
    return tuple(sorted(spoken, key=lambda tag: not language_matches(tag, own)))
