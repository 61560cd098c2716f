"""From phonemes to samples: a voice's graph in windows, or whole."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .graph import Graph
from .windows import Geometry, Strip

__all__ = ["LoadedStage", "Phonemes", "Speech", "Spoken", "WholeSpeech", "WindowedSpeech"]

# The first window is heard soonest. While others go before what follows it, that has to be bridged.
_FIRST_FRAMES = 20
_FIRST_FRAMES_CROWDED = 40
# A layer's numbers that stay in a core's cache, a megabyte, from one layer to the next.
_CACHED_NUMBERS = 1 << 18
# The flow has few, but others shouldn't wait for it too long.
_MAX_FRAMES = 512

_IsCrowded: TypeAlias = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Phonemes:
    """What a graph takes.

    Attributes:
        ids: of the phonemes, in the voice's own numbering.
        scales: noise of the latent, length, noise of the durations.
        speaker: number of a speaker; None for voices that have but one.
    """

    ids: Sequence[int]
    scales: tuple[float, float, float]
    speaker: int | None

    def feed(self) -> dict[str, NDArray[Any]]:
        """As the graph's inputs."""
        feed: dict[str, NDArray[Any]] = {
            "input": np.array([self.ids], dtype=np.int64),
            "input_lengths": np.array([len(self.ids)], dtype=np.int64),
            "scales": np.array(self.scales, dtype=np.float32),
        }
        return feed | self.speaker_feed()

    def speaker_feed(self) -> dict[str, NDArray[Any]]:
        """The speaker, as a graph's input."""
        return {} if self.speaker is None else {"sid": np.array([self.speaker], dtype=np.int64)}


@dataclass(frozen=True, slots=True)
class Spoken:
    """Speech that has begun.

    Attributes:
        sample_count: of all of it, where that is known by now.
        runs: samples in order, each of shape (n,), made when they are asked for.
    """

    sample_count: int | None
    runs: Iterator[NDArray[np.float32]]


class Speech(Protocol):
    """A loaded voice. Any number of threads."""

    def speak(
        self, phonemes: Phonemes, options: onnxruntime.RunOptions, is_crowded: _IsCrowded
    ) -> Spoken:
        """Begins to speak.

        Args:
            options: its `terminate` ends a run in its midst, with onnxruntime's `Fail`.
            is_crowded: whether others want the cores now; asked before each run.
        """


class WholeSpeech:
    """Runs a graph as it is."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def speak(
        self, phonemes: Phonemes, options: onnxruntime.RunOptions, is_crowded: _IsCrowded
    ) -> Spoken:
        """See `Speech`. All of it at once."""
        session = self._graph.session(is_crowded=is_crowded())
        samples = np.asarray(session.run(None, phonemes.feed(), options)[0], dtype=np.float32)
        return Spoken(samples.size, iter([samples.reshape(-1)]))


@dataclass(frozen=True, slots=True)
class LoadedStage:
    """A stage of a graph, ready to run.

    Attributes:
        takes, gives, scale, reach, width: see `Stage`.
    """

    graph: Graph
    takes: str
    gives: str
    scale: int
    reach: int
    width: int


class WindowedSpeech:
    """Runs a graph's parts: the text once, the stages over windows of frames.

    The windows, joined, are the samples of the whole graph, up to rounding.

    Args:
        mask, stages: see `GraphParts`.
    """

    def __init__(self, text: Graph, mask: str, stages: Sequence[LoadedStage]) -> None:
        self._text = text
        self._mask = mask
        self._stages = stages

    def speak(
        self, phonemes: Phonemes, options: onnxruntime.RunOptions, is_crowded: _IsCrowded
    ) -> Spoken:
        """See `Speech`."""
        session = self._text.session(is_crowded=is_crowded())
        names = [self._stages[0].takes, self._mask]
        latent, mask = map(np.asarray, session.run(names, phonemes.feed(), options))
        frame_count = latent.shape[2]
        others = {self._mask: mask} | phonemes.speaker_feed()

        def run(
            stage: LoadedStage, part: NDArray[np.float32], first: int, last: int
        ) -> NDArray[np.float32]:
            session = stage.graph.session(is_crowded=is_crowded())
            feed = {stage.takes: part}
            for name in stage.graph.input_names & others.keys():
                feed[name] = mask[:, :, first:last] if name == self._mask else others[name]
            return np.asarray(session.run([stage.gives], feed, options)[0], dtype=np.float32)

        strip: Strip | None = None
        taken = 1
        for stage in self._stages:
            window = min(_MAX_FRAMES, max(1, _CACHED_NUMBERS // (stage.width * taken)))
            geometry = Geometry(taken, taken * stage.scale, stage.reach, window)
            source = _slicer(latent) if strip is None else strip.samples
            strip = Strip(source, partial(run, stage), geometry, frame_count)
            taken *= stage.scale
        assert strip is not None
        size = _FIRST_FRAMES_CROWDED if is_crowded() else _FIRST_FRAMES
        return Spoken(frame_count * taken, _read(strip, frame_count, taken, size))


def _slicer(array: NDArray[np.float32]) -> Callable[[int, int], NDArray[np.float32]]:
    return lambda first, last: array[..., first:last]


def _read(
    waves: Strip, frame_count: int, frame_samples: int, size: int
) -> Iterator[NDArray[np.float32]]:
    """Yields runs of samples, the first of `size` frames, the others as long as they come."""
    start = 0
    while start < frame_count:
        first = start * frame_samples
        waves.samples(first, min(frame_count, start + size) * frame_samples)
        yield waves.samples(first, waves.made * frame_samples).reshape(-1)
        start, size = waves.made, 1
