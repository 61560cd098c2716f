"""A file with a phrase on each line."""

import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Phrase", "PhraseFileError", "read_phrases"]

_STDIN = Path("-")
_COMMENT = "#"


class PhraseFileError(Exception):
    """It can't be read as text."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """What is to be spoken.

    Attributes:
        line: where it stands first, from 1.
    """

    line: int
    text: str


def read_phrases(source: Path) -> list[Phrase]:
    """Reads a file, or standard input for `-`; each phrase once, in order.

    Blank lines and lines that begin with # are left out, and so is white space around the others.

    Raises:
        PhraseFileError: it is not UTF-8.
        OSError: it can't be read.
    """
    data = sys.stdin.buffer.read() if source == _STDIN else source.read_bytes()
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise PhraseFileError(f"is not UTF-8 text (byte {error.start})") from None
    found: dict[str, Phrase] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith(_COMMENT):
            found.setdefault(text, Phrase(number, text))
    return list(found.values())
