"""Are the joints of windows heard? What a click would be is measured there and elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from tts_service.engines.piper.graph import Graph
from tts_service.engines.piper.graph_parts import take_apart
from tts_service.engines.piper.speech import (
    LoadedStage,
    Phonemes,
    Speech,
    WholeSpeech,
    WindowedSpeech,
)

__all__ = ["Joined", "JointTest", "SeamedVoice", "compare_joints", "say"]

_NEAR_MS = 1.0
_LOUDNESS_MS = 10.0
_LOUDNESS_DB = 3.0
# Places nearer to a joint than this are no others: its click would reach into them.
_APART_MS = 5.0
_OTHERS = 20
_SHUFFLES = 20_000
_SILENCE = 1e-4  # of full scale; there is nothing in it that a click could be compared with


@dataclass(frozen=True, slots=True)
class Joined:
    """Speech that was made in windows.

    Attributes:
        samples: shape (n,), full scale 1.0.
        joints: the first sample of each window but the first.
    """

    samples: NDArray[np.float32]
    joints: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class JointTest:
    """How joints differ from other places that are as loud.

    Attributes:
        joint_count: how many were compared.
        ratio: the statistic at joints against elsewhere, medians.
        p_value: how likely joints that nobody hears would be as rough as these.
    """

    joint_count: int
    ratio: float
    p_value: float


class SeamedVoice:
    """A voice's parts, to be run with less context than they need, too.

    Args:
        model: a Piper voice's graph.
    """

    def __init__(self, model: onnx.ModelProto, *, threads: int = 2) -> None:
        parts = take_apart(model)
        self.whole: Speech = WholeSpeech(Graph(model.SerializeToString(), threads))
        self._text = Graph(parts.text.SerializeToString(), threads)
        self._mask = parts.mask
        self._stages = [
            LoadedStage(
                Graph(stage.model.SerializeToString(), threads),
                stage.takes,
                stage.gives,
                stage.scale,
                stage.reach,
                stage.width,
            )
            for stage in parts.stages
        ]

    def windowed(self, *, context: float = 1.0) -> WindowedSpeech:
        """Speaks in windows that see this part of what they depend on; 0: nothing."""
        stages = [replace(stage, reach=int(stage.reach * context)) for stage in self._stages]
        return WindowedSpeech(self._text, self._mask, stages)


def say(speech: Speech, phonemes: Phonemes) -> Joined:
    """Has it said, and notes where the windows end."""
    runs = list(speech.speak(phonemes, onnxruntime.RunOptions(), lambda: False).runs)
    ends = np.cumsum([len(run) for run in runs])
    return Joined(np.concatenate(runs), tuple(int(end) for end in ends[:-1]))


def compare_joints(
    speeches: Sequence[Joined], *, rate_hz: int, frame_samples: int, order: int, seed: int = 0
) -> JointTest:
    """Compares joints with random places of the same speech that are as loud.

    All are borders of frames: a decoder that makes many samples of one is a bit rougher there, with
    windows and without. The statistic is the energy of the difference between neighbouring
    samples, 1 ms to either side. Each joint is ranked among its own places; where joints are as
    other places are, each rank is as likely as any other (a permutation test, stratified by joint,
    one-sided).

    Args:
        frame_samples: samples of a frame.
        order: 1 compares differences, 2 differences of differences.
    """
    generator = np.random.default_rng(seed)
    rows: list[NDArray[np.float64]] = []
    for speech in speeches:
        loudness = _smooth(np.square(speech.samples, dtype=np.float64), _LOUDNESS_MS, rate_hz)
        rough = np.square(np.diff(speech.samples.astype(np.float64), order, prepend=[0] * order))
        rough = _smooth(rough, _NEAR_MS, rate_hz)
        distance = np.full(len(speech.samples), np.inf)
        for joint in speech.joints:
            distance = np.minimum(distance, np.abs(np.arange(len(distance)) - joint))
        for joint in speech.joints:
            if loudness[joint] < _SILENCE**2:
                continue
            with np.errstate(divide="ignore"):
                difference_db = np.abs(10 * np.log10(loudness / loudness[joint]))
            is_other = (difference_db < _LOUDNESS_DB) & (distance > _APART_MS * rate_hz / 1000)
            others = np.flatnonzero(is_other[::frame_samples]) * frame_samples
            if len(others) >= _OTHERS:
                picked = generator.choice(others, _OTHERS, replace=False)
                rows.append(rough[[joint, *picked]])
    values = np.array(rows)
    # Column 0 is the joint. Ranks from 0 to 1.
    ranks = values.argsort(axis=1).argsort(axis=1) / _OTHERS
    column = generator.integers(0, _OTHERS + 1, size=(_SHUFFLES, len(ranks)))
    shuffled = ranks[np.arange(len(ranks)), column].mean(axis=1)
    p_value = (1 + np.count_nonzero(shuffled >= ranks[:, 0].mean())) / (1 + _SHUFFLES)
    ratio = float(np.median(values[:, 0]) / np.median(values[:, 1:]))
    return JointTest(len(rows), ratio, float(p_value))


def _smooth(
    values: NDArray[np.float64], either_side_ms: float, rate_hz: int
) -> NDArray[np.float64]:
    """The mean of what lies within so many milliseconds of each sample."""
    size = 2 * int(either_side_ms * rate_hz / 1000) + 1
    return np.convolve(values, np.full(size, 1 / size), mode="same")
