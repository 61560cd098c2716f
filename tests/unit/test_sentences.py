"""Segments as they are rewritten for engines that stop at every full stop."""

import pytest

from tts_service.text.sentences import soften_inner_stops


@pytest.mark.parametrize(
    ("text", "language", "softened"),
    [
        ("Dr. Smith met J. R. R. Tolkien.", "en", "Dr Smith met J R R Tolkien."),
        ("The U.S. Senate met at 5 p.m. Friday.", "en", "The U.S Senate met at 5 p.m Friday."),
        ("On Jan. 5 at No. 10, approx. 3 km off.", "en", "On Jan 5 at No 10, approx 3 km off."),
        ("Open, e.g. on Mondays, etc. all day.", "en", "Open, e.g. on Mondays, etc. all day."),
        ("Wait... what? Then… nothing...", "en", "Wait, what? Then, nothing..."),
        ("1. Buy milk.", "en", "1, Buy milk."),
        ("Call Tim. He is in. Now go.", "en", "Call Tim. He is in. Now go."),
        ("Am 3. Oktober kam z. B. Anna.", "de", "Am 3 Oktober kam z B Anna."),
        ("It is 3.5 or www.example.com.", "en", "It is 3.5 or www.example.com."),
        ("... well", "en", "... well"),
        ("", "en", ""),
    ],
)
def test_only_stops_that_end_no_sentence_are_softened(
    text: str, language: str, softened: str
) -> None:
    assert soften_inner_stops(text, language) == softened
