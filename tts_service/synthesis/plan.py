"""From a text to the segments that an engine speaks one after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import regex

from ..text import Passage, find_passages, find_sentence_ends, is_abbreviation, is_speakable

# Silence between segments. An engine leaves some of its own: the default Piper voice 120 ms
# behind a sentence and 30 ms before it, at 40 dB below the peak. With that a listener hears
# gaps of 300 ms between sentences and 600 ms between paragraphs, as from a calm reader.
SENTENCE_PAUSE_MS = 150
PARAGRAPH_PAUSE_MS = 450
# Behind an opening clause: with the engine's own silence what the same comma gets in a sentence
# that is spoken in one go, 370 ms where it is 280 without (benchmarks/quality.py).
OPENING_PAUSE_MS = 90

# Marks at which a reader takes breath, best at the end of a word.
_CLAUSE_END = regex.compile(r"(?:[;:,!?…–—،؛]|\.\.)['\"’”»)\]]*+(?= )|—(?!\d)|[，；：、。！？]")
_CLUSTER = regex.compile(r"\X")
_WITHIN_NUMBERS = ".,'’"
# Shorter than this a clause is an aside ("Yes, sir") or a list's word, and sounds cut off alone.
_MIN_OPENING_CHARACTERS = 20
_WORD_CHARACTERS = 24  # longer than any abbreviation


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of text that an engine speaks in one go.

    Attributes:
        text: What the engine gets: no longer than the plan's limit, speakable, white space
            folded to single spaces, without the asterisks of Markdown emphasis.
        positions: For each character of `text` its position in the source, in code points.
        pause_ms: Silence that follows. 0 for the last segment.
    """

    text: str
    positions: Sequence[int]
    pause_ms: int

    @property
    def start_character(self) -> int:
        """First character of the source text."""
        return self.positions[0]

    @property
    def end_character(self) -> int:
        """One past the last character of the source text."""
        return self.positions[-1] + 1

    def source_span(self, start: int, end: int) -> tuple[int, int]:
        """Say where in the source the half-open range `start` to `end` of `text` stands."""
        last = min(max(start, end - 1), len(self.positions) - 1)
        return self.positions[min(start, last)], self.positions[last] + 1


def plan_segments(
    text: str, *, max_characters: int, opening_characters: int = 0, language: str = "en"
) -> tuple[Segment, ...]:
    """Divide a text into sentences, and sentences that are too long at clauses or words.

    The spans of the segments are in order, do not overlap, and hold every character of the
    text that `is_speakable`. Takes time in proportion to the length of the text.

    Args:
        text: Any text.
        max_characters: Limit on the length of each segment's text, at least 1. It is held
            even where it cuts a word.
        opening_characters: A first sentence longer than this is divided behind its last clause
            that ends within so many characters, if there is one. 0: it is not.
        language: BCP-47 tag; chooses abbreviations and the meaning of "3.".

    Returns:
        The segments; none if nothing in the text is speakable.

    Raises:
        ValueError: `max_characters` is below 1.
    """
    if max_characters < 1:
        raise ValueError(f"max_characters must be at least 1, not {max_characters}")
    segments: list[Segment] = []
    for passage in find_passages(text, language):
        border_ms = PARAGRAPH_PAUSE_MS if passage.ends_paragraph else SENTENCE_PAUSE_MS
        opening = 0 if segments else opening_characters
        for start, end, pause_ms in _divide(passage, max_characters, opening, language, border_ms):
            spoken = passage.text[start:end]
            if is_speakable(spoken):
                segments.append(Segment(spoken, passage.positions[start:end], pause_ms))
            elif segments and segments[-1].pause_ms < pause_ms:
                segments[-1] = replace(segments[-1], pause_ms=pause_ms)
    if segments:
        segments[-1] = replace(segments[-1], pause_ms=0)
    return tuple(segments)


def _divide(
    passage: Passage, limit: int, opening: int, language: str, border_ms: int
) -> Iterator[tuple[int, int, int]]:
    """Yield start, end and the pause behind each piece, white space trimmed."""
    text = passage.text
    start = 0
    for end in (*find_sentence_ends(text, language), len(text)):
        start = _skip_spaces(text, start, end)
        if opening and start < end:
            cut = _find_opening_cut(text, start, end, min(opening, limit), language)
            if cut is not None:
                yield start, cut, OPENING_PAUSE_MS
                start = _skip_spaces(text, cut, end)
            opening = 0
        while end - start > limit:
            cut = _find_cut(text, start, end, limit, language)
            yield start, _skip_spaces_back(text, start, cut), 0
            start = _skip_spaces(text, cut, end)
        if start < end:
            yield start, end, border_ms if end == len(text) else SENTENCE_PAUSE_MS
        start = end


def _find_opening_cut(text: str, start: int, end: int, longest: int, language: str) -> int | None:
    """Find where the first clause ends that may be spoken by itself, if the sentence is long."""
    if end - start <= longest:
        return None
    earliest, latest = start + _MIN_OPENING_CHARACTERS, start + longest
    latest = min(latest, end - _MIN_OPENING_CHARACTERS)
    cuts = [match.end() for match in _CLAUSE_END.finditer(text, earliest - 1, latest + 1)]
    return max(
        (cut for cut in cuts if earliest <= cut <= latest and not _belongs(text, cut, language)),
        default=None,
    )


def _belongs(text: str, cut: int, language: str) -> bool:
    """Say whether what follows a comma belongs to what is before it: a date, a name, a title."""
    before, after = text[:cut].rstrip("'\"’”»)]").rstrip(",;:"), text[cut:].lstrip(" ")
    if before[-1:].isdigit() and after[:1].isdigit():
        return True  # "May 5, 2026", "3, 4 and 5"
    word = after[:_WORD_CHARACTERS].split(" ", 1)[0]
    return word.rstrip(",;:").endswith(".") and is_abbreviation(word.rstrip(".,;:"), language)


def _find_cut(text: str, start: int, end: int, limit: int, language: str) -> int:
    """Find where to cut a sentence that is longer than the limit.

    The pieces should be of one size, because engines speak scraps badly. So of the clause
    ends in reach the one nearest to an even share is best, else the nearest space that
    does not tear a number from its unit or a name from its title.
    """
    length = end - start
    share = -(-length // -(-length // limit))  # both rounded up
    target, earliest, latest = start + share, start + max(1, share // 2), start + limit
    ends = (match.end() for match in _CLAUSE_END.finditer(text, earliest - 1, latest + 1))
    clauses = [end for end in ends if earliest <= end <= latest]
    if clauses:
        return min(clauses, key=lambda end: abs(end - target))
    spaces = [p for p in range(start + 1, latest + 1) if text[p] == " "]
    if spaces:
        return min(spaces, key=lambda p: (_tears(text, p, language), abs(p - target)))
    return _find_hard_cut(text, start, latest)


def _tears(text: str, space: int, language: str) -> bool:
    """Say whether the words on both sides of a space belong together."""
    if text[space - 1].isdigit() or text[space + 1 : space + 2].isdigit():
        return True
    word = text[max(0, space - _WORD_CHARACTERS) : space].rsplit(" ", 1)[-1]
    return word.endswith(".") and is_abbreviation(word[:-1], language)


def _find_hard_cut(text: str, start: int, latest: int) -> int:
    """Cut a run without spaces: before a number, and never within a grapheme cluster.

    A number or a cluster that is longer than the limit is cut nevertheless.
    """
    cut = latest
    if text[cut].isdigit():
        while cut > start and (text[cut - 1].isdigit() or text[cut - 1] in _WITHIN_NUMBERS):
            cut -= 1
        if cut == start:
            cut = latest
    ends = [match.end() for match in _CLUSTER.finditer(text, start, cut + 1)]
    return max((end for end in ends if end <= cut), default=cut)


def _skip_spaces(text: str, start: int, end: int) -> int:
    while start < end and text[start] == " ":
        start += 1
    return start


def _skip_spaces_back(text: str, start: int, end: int) -> int:
    while end > start and text[end - 1] == " ":
        end -= 1
    return end
