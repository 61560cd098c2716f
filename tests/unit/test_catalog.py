"""Voices and the languages they answer to."""

import pytest

from tts_service.errors import VoiceNotFound
from tts_service.voices import Catalog, Voice


def _voice(voice_id: str, *languages: str, engine: str = "piper") -> Voice:
    return Voice(
        id=voice_id,
        display_name=voice_id,
        engine=engine,
        engine_voice=voice_id,
        languages=languages,
        sample_rate_hz=22_050,
        model_fingerprint="f",
        max_segment_characters=100,
        can_change_speed=True,
    )


@pytest.mark.parametrize(
    ("languages", "asked", "found"),
    [
        (("en-US",), "en-US", "en-US"),
        (("en-US",), "en_us", "en-US"),
        (("en-US",), "en", "en-US"),
        (("en",), "en-GB", "en"),
        (("en-US",), "en-GB", None),
        (("en-US", "en-GB"), "en-GB", "en-GB"),
        (("de", "en"), "en-GB", "en"),
        (("zh-CN",), "zh", "zh-CN"),
    ],
)
def test_a_language_finds_its_relatives_only(
    languages: tuple[str, ...], asked: str, found: str | None
) -> None:
    assert _voice("v", *languages).match_language(asked) == found


def test_what_is_no_language_matches_none() -> None:
    with pytest.raises(ValueError, match="tag"):
        _voice("v", "en-US").match_language("e")


def test_the_first_engine_keeps_an_id_and_the_second_is_reached_by_its_name() -> None:
    catalog = Catalog([_voice("a", "en", engine="one"), _voice("a", "en", engine="two")])
    assert catalog.get("a").engine == "one"
    second = catalog.get("two/a")
    assert (second.engine, second.engine_voice) == ("two", "a")
    assert len(catalog) == 2


def test_selection_goes_on_after_an_id_that_is_gone() -> None:
    catalog = Catalog([_voice("c", "en"), _voice("a", "en"), _voice("e", "de")])
    assert [voice.id for voice in catalog.select()] == ["a", "c", "e"]
    assert [voice.id for voice in catalog.select(after="b")] == ["c", "e"]
    assert [voice.id for voice in catalog.select(language="de")] == ["e"]
    with pytest.raises(VoiceNotFound):
        catalog.get("b")
