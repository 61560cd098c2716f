"""Forbidden characters and speakable text, as a caller sees them."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_service.text import find_forbidden_character, is_speakable


def test_exactly_controls_and_surrogates_are_forbidden() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        forbidden = unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\r\t"
        assert (find_forbidden_character(character) is not None) == forbidden, hex(code)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("Two\r\nlines\tand a tab", None),
        ("ring\x07 and \x00", (4, "U+0007")),
        ("\ud83d", (0, "U+D83D")),
        ("😀\x7f", (1, "U+007F")),
        ("a\u200d\u2028b", None),
    ],
)
def test_the_first_forbidden_character_is_named(
    text: str, expected: tuple[int, str] | None
) -> None:
    assert find_forbidden_character(text) == expected


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"])))
def test_ordinary_text_is_allowed(text: str) -> None:
    assert find_forbidden_character(text) is None


@pytest.mark.parametrize("text", ["a", "é", "7", "½", "€", "%", "&", "@", "+", "你", "ﷺ", "... x"])
def test_speakable(text: str) -> None:
    assert is_speakable(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t\u00a0",
        "...",
        "?!",
        "—",
        "“”",
        "* * *",
        "😀",
        "👩‍👩‍👧",
        "\u0301",
        "\u200b",
        "^|<>",
    ],
)
def test_unspeakable(text: str) -> None:
    assert not is_speakable(text)
