"""Which line breaks of a text mean something."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import regex

from .characters import is_speakable
from .sentences import ends_sentence

# No prose is wrapped to lines as short as this: breaks between such lines are meant.
_NARROW_CHARACTERS = 40

_BULLET = regex.compile(r"\s*[-*+•‣◦▪]\s")
_NUMBERED = regex.compile(r"\s*[(\[]?(?:\d{1,3}|\p{L})[.)\]]\s")
_FIRST_ALPHANUMERIC = regex.compile(r"[\p{L}\p{N}]")
_CLOSERS = "'\"’”»)]}"

# Asterisks for emphasis or as a bullet, which engines read out. Not those of "5 * 3" and
# "f**k".
_MARKUP = regex.compile(r"(?<![\w*])\*++(?=\S)|(?<=[^\s*])\*++(?!\w)|^\s*+\*++(?=\s)")


@dataclass(frozen=True, slots=True)
class Passage:
    """Lines that are read in one go: a paragraph of prose, a heading, an item of a list.

    Attributes:
        text: White space folded to single spaces, none at the ends, emphasis taken out.
        positions: For each character of `text` its position in the source.
        ends_paragraph: Whether a blank line or the end of the text follows.
    """

    text: str
    positions: Sequence[int]
    ends_paragraph: bool


@dataclass(frozen=True, slots=True)
class _Line:
    start: int  # in the source
    source: str  # with its line break
    text: str  # without white space at the ends


def find_passages(text: str, language: str) -> Iterator[Passage]:
    """Divide a text at blank lines and at the line breaks that its author meant.

    Prose that was wrapped to a width is put together again. Lines that hold nothing to
    say ("* * *") count as blank.
    """
    for block in _find_blocks(text):
        width = max(len(line.text) for line in block)
        is_numbered = sum(bool(_NUMBERED.match(line.text)) for line in block) > 1
        first = 0
        for last, line in enumerate(block):
            is_end = last + 1 == len(block)
            if is_end or _is_meant(line.text, block[last + 1].text, width, is_numbered, language):
                yield _fold(block[first : last + 1], is_end)
                first = last + 1


def _find_blocks(text: str) -> Iterator[list[_Line]]:
    block: list[_Line] = []
    start = 0
    for source in text.splitlines(keepends=True):
        if is_speakable(source):
            block.append(_Line(start, source, source.strip()))
        elif block:
            yield block
            block = []
        start += len(source)
    if block:
        yield block


def _is_meant(line: str, following: str, width: int, is_numbered: bool, language: str) -> bool:
    """Say whether the break between two lines ends what is said in the first.

    A heading, an item of a list and a verse end without a full stop, and running them
    together spoils the intonation of both. A line of wrapped prose is known by its length:
    the next word did not fit into the width of its block.
    """
    if _BULLET.match(following) or (is_numbered and _NUMBERED.match(following)):
        return True
    first = _FIRST_ALPHANUMERIC.search(following)
    if first is None or first[0].islower() or line[-1] in ",-–—/&([":
        return False
    if line.rstrip(_CLOSERS)[-1:] in tuple(".!?…:;"):
        return line[-1] in ":;" or ends_sentence(line, 0, len(line), language)
    # Scripts without capitals never tell where a sentence begins, nor do all part words.
    may_begin = first[0].isupper() or first[0].isdecimal()
    next_word = following.split(maxsplit=1)[0]
    fits = len(line) + 1 + len(next_word) <= width
    return fits or (may_begin and width < _NARROW_CHARACTERS)


def _fold(lines: Sequence[_Line], ends_paragraph: bool) -> Passage:
    characters: list[str] = []
    positions: list[int] = []
    for line in lines:
        markup = {i for match in _MARKUP.finditer(line.source) for i in range(*match.span())}
        for index, character in enumerate(line.source):
            if index in markup:
                continue
            is_space = character.isspace()
            if is_space and (not characters or characters[-1] == " "):
                continue
            characters.append(" " if is_space else character)
            positions.append(line.start + index)
    if characters[-1] == " ":
        characters.pop()
        positions.pop()
    return Passage("".join(characters), positions, ends_paragraph)
