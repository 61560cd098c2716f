"""What a text may hold, and whether it holds anything to say."""

import re
import unicodedata

# The controls (category Cc) without tab, line feed and carriage return, and the surrogates
# (Cs). Unicode never changes the members of either category.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

# Symbols that have a name in speech. Marks such as "<", "^" and "|" have none: eSpeak NG,
# for one, is silent about them.
_SPOKEN_SYMBOLS = frozenset("%&@#§+=±×÷~°©®™√∞≈≠≤≥")


def find_forbidden_character(text: str) -> tuple[int, str] | None:
    """Find the first character that no text may hold.

    Forbidden are control characters other than line feed, carriage return and tab, and lone
    surrogates.

    Returns:
        Its position in code points and a name that is safe to print, such as "U+0007", or
        None if there is none.
    """
    match = _FORBIDDEN.search(text)
    return (match.start(), f"U+{ord(match[0]):04X}") if match else None


def is_speakable(text: str) -> bool:
    """Say whether there is anything to be said aloud.

    Letters, numbers, currency signs and symbols with a spoken name are speakable.
    Punctuation, white space, combining marks and emoji alone are not.
    """
    return any(map(_is_spoken, text))


def _is_spoken(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "LN" or category == "Sc" or character in _SPOKEN_SYMBOLS
