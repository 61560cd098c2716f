"""The seam between a worker and the engine that it hosts.

An engine is found by name in the entry-point group `tts_service.engines`. What is registered
there is a callable that takes the engine's options as keyword strings and returns a loaded,
warm `Engine`; it raises `OptionError` for an option it doesn't know or can't use.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..sampling import Sampling
from .listener import Listener

__all__ = [
    "Ability",
    "CloningEngine",
    "EmbeddingError",
    "Engine",
    "EngineBusyError",
    "EngineDescription",
    "EngineVoice",
    "Listener",
    "NotPossibleError",
    "OptionError",
    "PcmChunk",
    "Render",
    "RenderJob",
    "Sampling",
    "UnknownVoiceError",
    "VoiceShare",
    "find_engine",
]

ENGINES_GROUP = "tts_service.engines"


class OptionError(ValueError):
    """An engine's option, or its name, is not one that it can be started with."""


class UnknownVoiceError(LookupError):
    """The engine has no voice of that id."""


class EmbeddingError(ValueError):
    """An embedding is not one that this model made."""


class EngineBusyError(RuntimeError):
    """As many renders are open as the engine takes."""


class NotPossibleError(RuntimeError):
    """This installation of the engine can't do it; the text is meant for the caller."""


class Ability(StrEnum):
    """What an engine can honour beyond text, voice and language."""

    SPEED = "speed"
    CLONE = "clone"
    SAMPLING = "sampling"
    MIX = "mix"


@dataclass(frozen=True, slots=True)
class EngineVoice:
    """A voice that comes with an engine.

    Attributes:
        id: unique within the engine.
        display_name: name for people.
        languages: BCP-47 tags, the default first; at least one.
        sample_rate_hz: rate of the PCM that is rendered with it.
        model_fingerprint: SHA-256 (hexadecimal) of the model's content, and of what else decides
            how it sounds: who reads a text for it, and with what numbers it computes.
    """

    id: str
    display_name: str
    languages: tuple[str, ...]
    sample_rate_hz: int
    model_fingerprint: str


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """What an engine is and can do; the same as long as the worker runs.

    Attributes:
        max_segment_characters: longest text of one render, in Unicode code points.
        max_concurrent_renders: renders that make progress at the same time.
        clone_languages: BCP-47 tags that cloned voices speak; empty without `Ability.CLONE`.
        clone_sample_rate_hz: rate of the PCM of cloned voices and mixes; 0 without
            `Ability.CLONE` and `Ability.MIX`.
        segment_characters_by_language: overrides `max_segment_characters` for these BCP-47
            tags.
        max_open_renders: renders that may be open at once, those that wait within the engine
            for their turn included; `render` refuses the next one. 0: it refuses none, and
            pulls of more than `max_concurrent_renders` wait outside of the engine.
        opening_characters: about how long a segment is best with which a long text begins, for
            an engine that has to read all of it before it speaks. 0: as long as any.
    """

    name: str
    voices: tuple[EngineVoice, ...]
    model_fingerprint: str
    max_segment_characters: int
    max_concurrent_renders: int
    abilities: frozenset[Ability]
    clone_languages: tuple[str, ...] = ()
    clone_sample_rate_hz: int = 0
    segment_characters_by_language: Mapping[str, int] = field(default_factory=dict)
    max_open_renders: int = 0
    opening_characters: int = 0


@dataclass(frozen=True, slots=True)
class VoiceShare:
    """One part of a mix of voices, for an engine with `Ability.MIX`.

    Attributes:
        voice: one of the engine's; ignored if there is an `embedding`.
        embedding: what `CloningEngine.embed` returned, or empty.
        weight: above 0; what counts is its share in the sum of all weights.
    """

    voice: str
    embedding: bytes
    weight: float


@dataclass(frozen=True, slots=True)
class RenderJob:
    """One segment of text to speak.

    Attributes:
        voice: one of the engine's; ignored if there is an `embedding` or a `mix`.
        speed: factor on the speaking rate; 1.0 is the voice's own.
        embedding: what `CloningEngine.embed` returned, to speak with that voice.
        mix: the voices to speak with a weighted mix of; if not empty, `voice` and
            `embedding` are ignored.
        sampling: only for an engine with `Ability.SAMPLING`.
        look_ahead: the listener still hears something earlier, so that this render may wait
            behind those whose listeners hear nothing yet.
        listener: who it is for, and how long that can wait.
    """

    text: str
    voice: str
    language: str
    speed: float = 1.0
    embedding: bytes = b""
    mix: tuple[VoiceShare, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    look_ahead: bool = False
    listener: Listener = field(default_factory=Listener, compare=False)


@dataclass(frozen=True, slots=True)
class PcmChunk:
    """A run of mono samples, and the part of the job's text that they speak.

    Attributes:
        samples: shape (n,), float32, full scale 1.0.
        start_character: first code point of the span.
        end_character: one past the last.
    """

    samples: NDArray[np.float32]
    start_character: int
    end_character: int


class Render(Iterator[PcmChunk], Protocol):
    """One render in progress.

    Iterated by one thread at a time. `cancel` may come from any thread at any time, also
    twice, also after the end: the iterator then stops, within one step of the model.
    """

    @property
    def sample_count(self) -> int | None:
        """Samples of the whole render, once that is known. Asked after the first chunk."""
        ...

    def cancel(self) -> None:
        """Stops the render and frees what it holds."""
        ...


class Engine(Protocol):
    """A loaded, warm model. Safe to use from many threads."""

    def describe(self) -> EngineDescription:
        """Says what the engine is and can do."""
        ...

    def render(self, job: RenderJob) -> Render:
        """Begins a render; cheap, the work is done by the iteration.

        Raises:
            UnknownVoiceError: the engine has no such voice, or not one of the mix.
            EmbeddingError: an embedding is not this model's.
            EngineBusyError: as many renders are open as the engine takes.
            NotPossibleError: something that the job needs is missing in this installation,
                such as the text package of its language.
        """
        ...

    def close(self) -> None:
        """Frees the model. No render is in progress any more."""
        ...


@runtime_checkable
class CloningEngine(Engine, Protocol):
    """An engine with `Ability.CLONE`."""

    def embed(self, samples: NDArray[np.float32], sample_rate_hz: int, language: str) -> bytes:
        """Makes of a recording what `render` needs to speak with its voice.

        Args:
            samples: shape (n,), float32, full scale 1.0.
            language: BCP-47 tag of what is spoken.

        Returns:
            A safetensors file, which is opaque to all but this model.
        """
        ...


def find_engine(name: str) -> Callable[..., Engine]:
    """Returns what opens the engine of this name.

    Raises:
        OptionError: no such engine is installed, or its packages are missing.
    """
    installed = entry_points(group=ENGINES_GROUP)
    if name not in installed.names:
        raise OptionError(
            f"no engine {name!r}; installed are: {', '.join(sorted(installed.names))}"
        )
    try:
        opener: Callable[..., Engine] = installed[name].load()
    except ImportError as error:
        raise OptionError(
            f"engine {name!r} needs a package that is missing ({error.name}); "
            f"install it with: pip install 'PATH_OF_THE_CLONE[{name}]'"
        ) from error
    return opener
