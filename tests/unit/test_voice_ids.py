"""No text that anybody sends becomes a path that it should not."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_store import (
    StyleNameError,
    VoiceIdError,
    new_voice_id,
    parse_style,
    parse_voice_id,
)


@pytest.mark.parametrize("text", ["a", "anna", "anna-2", "a1-b2-c3", "console", "com10", "x" * 63])
def test_ids_that_are_let_through(text: str) -> None:
    assert parse_voice_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ".",
            "..",
            "../x",
            "..%2f",
            "..%2fx",
            "a/b",
            "a\\b",
            "/etc/passwd",
            "a.b",
            "~",
            "a\0",
        ),
        *("CON", "con", "nul", "aux", "prn", "com1", "lpt9", "Anna", "ANNA"),
        *("1a", "-a", "a-", "a--b", "a_b", "a b", " a", "a\n", "x" * 64, "x" * 300),
        *("\N{GRINNING FACE}", "Zoë", "zoë", "zoe\u0308", "а", "a\u200b", "²", "１"),
    ],
)
def test_ids_that_are_refused(text: str) -> None:
    with pytest.raises(VoiceIdError) as caught:
        parse_voice_id(text)
    assert re.fullmatch(r"[A-Za-z0-9 ,;-]+\.", str(caught.value))


@given(st.text())
def test_what_is_let_through_stays_inside_any_folder(text: str) -> None:
    try:
        voice_id = parse_voice_id(text)
    except VoiceIdError:
        return
    folder = Path("/store/voices")
    assert (folder / voice_id).resolve().parent == folder


@given(st.text(max_size=200))
def test_ids_that_are_made_are_ids(display_name: str) -> None:
    assert parse_voice_id(new_voice_id(display_name))


def test_ids_that_are_made_tell_of_the_name() -> None:
    assert re.fullmatch(r"zoe-[a-z0-9]{8}", new_voice_id("Zoë"))
    assert re.fullmatch(r"anna-maria-2-[a-z0-9]{8}", new_voice_id("2. Anna  Maria / 2"))
    assert re.fullmatch(r"voice-[a-z0-9]{8}", new_voice_id("声"))
    assert new_voice_id("Zoe") != new_voice_id("Zoe")


def test_styles() -> None:
    assert parse_style("") == "neutral"
    assert parse_style("very-cheerful-2") == "very-cheerful-2"
    for text in ("Cheerful", "a b", "../x", "a.b", "a/b", "x" * 33, "é", "a\n"):
        with pytest.raises(StyleNameError):
            parse_style(text)
