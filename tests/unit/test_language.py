"""Language tags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_service.text import parse_language


@pytest.mark.parametrize(
    ("tag", "parsed"),
    [
        ("en", "en"),
        ("EN_us", "en-US"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("en-gb-x-RP", "en-GB-x-rp"),
        ("sl-rozaj-biske", "sl-rozaj-biske"),
        ("de-CH-1996", "de-CH-1996"),
        ("iw", "iw"),
        ("de-u-co-phonebk", "de-u-co-phonebk"),
    ],
)
def test_tags_are_brought_to_their_usual_case(tag: str, parsed: str) -> None:
    assert parse_language(tag) == parsed
    assert parse_language(parsed) == parsed


@pytest.mark.parametrize(
    "tag", ["", "e", "en-", "-en", "en--US", "not a tag", "en-us-", "én", "en-" + "a" * 70, "x"]
)
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="tag"):
        parse_language(tag)


@given(st.text(st.sampled_from("abxXZ0189-_"), max_size=70))
def test_any_text_is_parsed_or_refused(tag: str) -> None:
    try:
        parsed = parse_language(tag)
    except ValueError:
        return
    assert parse_language(parsed) == parsed
