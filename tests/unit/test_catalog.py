"""Voices and the languages they answer to."""

import pytest

from protos.engine.v1 import engine_pb2
from tts_service.errors import VoiceNotFound
from tts_service.voices import Catalog, EngineTraits, Voice


def _voice(voice_id: str, *languages: str, engine: str = "piper") -> Voice:
    return Voice(
        id=voice_id,
        display_name=voice_id,
        engine=engine,
        engine_voice=voice_id,
        languages=languages,
        sample_rate_hz=22_050,
        model_fingerprint="f",
        traits=EngineTraits(),
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


@pytest.mark.parametrize(
    ("language", "limit"),
    [
        ("en", 250),
        ("zh", 82),
        ("zh-CN", 82),
        ("zh-Hant-TW", 82),
        ("zh-Hans", 60),
        ("zh-Hans-CN", 60),
        ("pt-BR", 203),
        ("pt", 250),
    ],
)
def test_what_is_said_of_a_language_holds_for_its_regions(language: str, limit: int) -> None:
    own = {"zh": 82, "zh-Hans": 60, "pt-BR": 203}
    traits = EngineTraits(max_segment_characters=250, segment_characters_by_language=own)
    assert traits.segment_characters(language) == limit


def test_an_engines_tags_are_read_in_any_case() -> None:
    description = engine_pb2.DescribeResponse(
        max_segment_characters=250, segment_characters_by_language={"zh-cn": 82, "pt_br": 203}
    )
    traits = EngineTraits.of(description)
    assert (traits.segment_characters("zh-CN"), traits.segment_characters("pt-BR")) == (82, 203)


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
