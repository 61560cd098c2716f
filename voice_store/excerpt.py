"""What is kept of recordings: their speech, with short pauses, at most so long."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .quality import signal_to_noise_db
from .speech import Span, Speech

__all__ = ["Excerpt", "Take", "excerpt_of"]

# Kept around speech: more than a soft sound that the detector leaves out is long.
_MARGIN_MS = 250
# Longest pause that is kept between two phrases of one recording.
_LONGEST_PAUSE_MS = 600
# Shortest pause between the phrases of two recordings.
_SHORTEST_SEAM_MS = 300
# Long enough that no joint clicks.
_FADE_MS = 5
# An unbroken phrase that is too long for all of it is cut where it is quietest, in the last
# part of what would fit.
_QUIETEST_WITHIN = 0.5
_STEP_MS = 20
# Stretches with this share of the speech that the fullest one holds compete by their noise.
_FULL_ENOUGH = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """A recording and its speech.

    Attributes:
        samples: mono, shape (n,), float32.
        speech: where somebody speaks in it.
    """

    samples: NDArray[np.float32]
    speech: Speech


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """What is kept.

    Attributes:
        samples: shape (n,), float32.
        shortened: whether speech was left out, because there was too much.
    """

    samples: NDArray[np.float32]
    shortened: bool


@dataclass(frozen=True, slots=True)
class _Phrase:
    """What is said without a pause, or a part of it.

    Attributes:
        begins_within: whether it was cut from a part before it, and needs no margin there.
        ends_within: whether a part after it was cut from it.
    """

    take: int
    span: Span
    begins_within: bool = False
    ends_within: bool = False


@dataclass(frozen=True, slots=True)
class _Cut:
    """A range of a take, and how many samples of silence go before it."""

    take: int
    start: int
    stop: int
    silence: int

    @property
    def length(self) -> int:
        return self.silence + self.stop - self.start


def excerpt_of(takes: Sequence[Take], sample_rate_hz: int, *, longest_ms: int) -> Excerpt:
    """Joins the speech of recordings.

    Silence around it goes, and long pauses lose their middle. If that is still longer than
    `longest_ms`, one unbroken stretch of it is kept, which begins and ends in pauses: of those
    that hold nearly as much speech as the fullest one, the one with the least noise, and of
    equals the first.

    Args:
        takes: with speech in at least one, all at the same rate and about equally loud.
    """
    editor = _Editor(takes, sample_rate_hz)
    longest = longest_ms * sample_rate_hz // 1000
    phrases = [
        part
        for index, take in enumerate(takes)
        for span in take.speech.phrases
        for part in editor.fitting(_Phrase(index, span), longest)
    ]
    stretch = editor.best_stretch(phrases, longest)
    return Excerpt(editor.render(editor.cuts(stretch)), shortened=len(stretch) < len(phrases))


class _Editor:
    def __init__(self, takes: Sequence[Take], sample_rate_hz: int) -> None:
        self._takes = takes
        self._rate_hz = sample_rate_hz
        self._margin = self._count(_MARGIN_MS)

    def _count(self, ms: int) -> int:
        return ms * self._rate_hz // 1000

    def fitting(self, phrase: _Phrase, longest: int) -> list[_Phrase]:
        """The phrase, in parts that fit between their margins."""
        samples = self._takes[phrase.take].samples
        room = longest - 2 * self._margin
        step = self._count(_STEP_MS)
        parts = []
        while phrase.span.length > room:
            start, stop = phrase.span.start, phrase.span.stop
            first = start + int(room * _QUIETEST_WITHIN)
            steps = (start + room - first) // step
            frames = samples[first : first + steps * step].reshape(steps, step)
            quietest = int(np.argmin(np.einsum("ij,ij->i", frames, frames)))
            cut = first + quietest * step + step // 2
            parts.append(replace(phrase, span=Span(start, cut), ends_within=True))
            phrase = replace(phrase, span=Span(cut, stop), begins_within=True)
        return [*parts, phrase]

    def best_stretch(self, phrases: Sequence[_Phrase], longest: int) -> Sequence[_Phrase]:
        if self._length(phrases) <= longest:
            return phrases
        stretches = []
        stop = 1
        for start in range(len(phrases)):
            stop = max(stop, start + 1)
            while stop < len(phrases) and self._length(phrases[start : stop + 1]) <= longest:
                stop += 1
            stretches.append(phrases[start:stop])
        fullest = max(map(_speech, stretches))
        full = [stretch for stretch in stretches if _speech(stretch) >= _FULL_ENOUGH * fullest]
        return max(full, key=self._cleanness)

    def _length(self, phrases: Sequence[_Phrase]) -> int:
        return sum(cut.length for cut in self.cuts(phrases))

    def _cleanness(self, stretch: Sequence[_Phrase]) -> float:
        pieces = []
        for index in sorted({phrase.take for phrase in stretch}):
            spans = [phrase.span for phrase in stretch if phrase.take == index]
            first, last = spans[0].start, spans[-1].stop
            pieces.append(
                (
                    self._takes[index].samples[first:last],
                    [Span(span.start - first, span.stop - first) for span in spans],
                )
            )
        ratio_db = signal_to_noise_db(pieces, self._rate_hz)
        return -np.inf if ratio_db is None else ratio_db

    def cuts(self, phrases: Sequence[_Phrase]) -> list[_Cut]:
        """The ranges of the takes that make the stretch."""
        half_pause = self._count(_LONGEST_PAUSE_MS) // 2
        cuts = []
        start, silence = self._start_of(phrases[0]), 0
        for before, after in pairwise(phrases):
            if before.take != after.take:
                stop, next_start = self._stop_of(before), self._start_of(after)
                pause = stop - before.span.stop + after.span.start - next_start
                next_silence = max(0, self._count(_SHORTEST_SEAM_MS) - pause)
            elif after.span.start - before.span.stop > 2 * half_pause:
                stop, next_start = before.span.stop + half_pause, after.span.start - half_pause
                next_silence = 0
            else:
                continue
            cuts.append(_Cut(before.take, start, stop, silence))
            start, silence = next_start, next_silence
        return [*cuts, _Cut(phrases[-1].take, start, self._stop_of(phrases[-1]), silence)]

    def _start_of(self, phrase: _Phrase) -> int:
        return max(0, phrase.span.start - (0 if phrase.begins_within else self._margin))

    def _stop_of(self, phrase: _Phrase) -> int:
        margin = 0 if phrase.ends_within else self._margin
        return min(len(self._takes[phrase.take].samples), phrase.span.stop + margin)

    def render(self, cuts: Sequence[_Cut]) -> NDArray[np.float32]:
        """The ranges, one after another, each faded in and out."""
        parts = []
        for cut in cuts:
            parts.append(np.zeros(cut.silence, np.float32))
            part = self._takes[cut.take].samples[cut.start : cut.stop].copy()
            count = min(self._count(_FADE_MS), len(part) // 2)
            fade = np.sin(np.linspace(0.0, np.pi / 2, count, dtype=np.float32)) ** 2
            part[:count] *= fade
            part[len(part) - count :] *= fade[::-1]
            parts.append(part)
        return np.concatenate(parts)


def _speech(phrases: Sequence[_Phrase]) -> int:
    return sum(phrase.span.length for phrase in phrases)
