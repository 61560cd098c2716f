"""Where sentences end.

The library sentence-stream proposes borders, and this module refuses those that are none,
behind an abbreviation, an ellipsis, a list number or a quotation. In doubt it refuses: a
missed border costs a pause, an invented one breaks a sentence.
"""

from collections.abc import Iterator

import regex
from sentence_stream import SentenceBoundaryDetector

from .abbreviations import is_abbreviation, is_ordinal

# The detector searches all of its text again for each sentence, so it is given windows:
# 10,000 characters of "。a" take 10 ms instead of 120 ms.
_WINDOW_CHARACTERS = 1000

# How far to look back for the word before a full stop. German has long abbreviations, none
# of this length.
_WORD_CHARACTERS = 24

_QUOTES = "'\"’”»›」』"
_BRACKETS = ")]}）】》〕〉"

# A sentence may open with a quotation mark, "¿" or a dash, which the detector does not know.
# It is shown spaces in their place.
_OPENERS = regex.compile(r"(?<=\s)[¿¡'\"‘“„‚«»‹›(\[{*–—-]+")

_LIST_NUMBER = regex.compile(r"[(\[]?(?:\d{1,3}(?:\.\d{1,3})*|[IVXLC]{1,6}|[ivxlc]{1,6})")

# The "l'" of "l'avv. Verdi".
_ELISION = regex.compile(r"^(?:d|l|qu|un|(?:a|da|de|ne|que|su)ll)['’]", regex.IGNORECASE)

# An ellipsis, or a stop that something other than a small letter follows.
_SOFTENED = regex.compile(r"(?:\.\.++|…)(?=\s)|\.(?=\s\P{Ll})")

_HIRAGANA = regex.compile(r"\p{Hiragana}")


def find_sentence_ends(text: str, language: str) -> Iterator[int]:
    """Find the ends of all sentences but the last, in order.

    Args:
        text: White space folded to single spaces.
        language: BCP-47 tag of the text.

    Yields:
        Positions behind a sentence's last character.
    """
    start = 0
    for end in _propose_ends(text):
        if ends_sentence(text, start, end, language):
            yield end
            start = end


def ends_sentence(text: str, start: int, end: int, language: str) -> bool:
    """Say whether a sentence that begins at `start` is over at `end`.

    Args:
        text: White space folded to single spaces.
        start: Where the sentence begins.
        end: Behind its closing mark and the quotes and brackets that follow the mark.
        language: BCP-47 tag of the text.
    """
    core = end
    while core > start and text[core - 1] in _QUOTES + _BRACKETS:
        core -= 1
    closers = text[core:end]
    while start < core and text[start] == " ":
        start += 1
    if core <= start:
        return False
    following = text[end : end + 2]
    # "(or was it?) Smith": the brackets stand within the sentence.
    if any(c in _BRACKETS for c in closers) and text[start] not in "([{（【《〔〈":
        return False
    # "“Why?” Anna asked" and 「はい。」と: the sentence may go on behind its quotation.
    if any(c in _QUOTES for c in closers):
        if text[core - 1] in "!?！？" and following.strip()[:1].isalnum():
            return False
        if _HIRAGANA.match(following):
            return False
    if text[core - 1] == "…":
        return False
    if text[core - 1] == ".":
        return not _is_inner_stop(text, start, core - 1, following, language)
    return True


def soften_inner_stops(text: str, language: str) -> str:
    """Rewrite a segment for an engine that ends a sentence at every stop before a capital.

    eSpeak NG does: it reads "Dr. Smith" as two sentences and "Wait... what" as one word.
    Stops that end no sentence go ("Dr Smith"), ellipses and the stops of list numbers become
    commas ("Wait, what"). The end of the segment stays as it is.

    Args:
        text: A segment's text.
        language: BCP-47 tag of the text.
    """

    def soften(match: regex.Match[str]) -> str:
        stop = match.start()
        following = text[match.end() : match.end() + 2]
        if len(match[0]) > 1 or match[0] == "…":
            return "," if text[stop - 1 : stop].isalnum() else match[0]
        if not _is_inner_stop(text, 0, stop, following, language):
            return "."
        word = text[max(0, stop - _WORD_CHARACTERS) : stop].rsplit(" ", 1)[-1]
        return "," if word.isdecimal() and not is_ordinal(word, language) else ""

    return _SOFTENED.sub(soften, text)


def _is_inner_stop(text: str, start: int, stop: int, following: str, language: str) -> bool:
    """Say whether the full stop at `stop` is part of what stands before it."""
    if stop == start or text[stop - 1] in ". …":
        return True  # an ellipsis, ". . ." too
    before, _, word = text[max(start, stop - _WORD_CHARACTERS) : stop].rpartition(" ")
    if _LIST_NUMBER.fullmatch(word) and not before:
        return True
    if _LIST_NUMBER.fullmatch(word) and before[-1] in ".!?…:;":
        # "Call Bob. 3. Rest." holds a list number, "See fig. 5. Then" does not.
        return not is_abbreviation(before.rsplit(" ", 1)[-1].rstrip("."), language)
    word = _ELISION.sub("", regex.split(r"[/\-–—]", word)[-1].lstrip("([{'\"‘“„«‹¿¡"))
    before_number = following.strip()[:1].isdecimal()
    return is_abbreviation(word, language, before_number=before_number) or is_ordinal(
        word, language
    )


def _propose_ends(text: str) -> Iterator[int]:
    # It takes asterisks out of what it returns, which then wouldn't be found in the text.
    shown = _OPENERS.sub(lambda match: " " * len(match[0]), text).replace("*", "-")
    start = 0
    while start < len(shown):
        end = start
        window = shown[start : start + _WINDOW_CHARACTERS]
        for sentence in SentenceBoundaryDetector().add_chunk(window):
            end = shown.index(sentence, end) + len(sentence)
            yield end
        if start + _WINDOW_CHARACTERS >= len(shown):
            return
        # What follows the last border is shown again with more behind it.
        start = end if end > start else start + _WINDOW_CHARACTERS // 2
