"""Requests resolved against a handful of voices."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from audio_codec import Encoding
from tts_service.errors import InvalidRequest, NotPossible
from tts_service.sampling import Sampling
from tts_service.synthesis import SynthesisRequest, Utterance, VoiceShare, resolve_request
from tts_service.voices import Catalog, EngineTraits, Voice
from voice_store import StoredVoice

_SAMPLING_TRAITS = EngineTraits(
    model_fingerprint="whole",
    max_segment_characters=250,
    segment_characters_by_language={"de": 30, "zh": 10},
    can_change_speed=True,
    can_sample=True,
    can_mix=True,
    mix_sample_rate_hz=24_000,
)
_PLAIN_TRAITS = EngineTraits(model_fingerprint="f", max_segment_characters=250)


def _voice(
    voice_id: str, traits: EngineTraits, *languages: str, engine: str, stored: Any = None
) -> Voice:
    return Voice(
        id=voice_id,
        display_name=voice_id,
        engine=engine,
        engine_voice=voice_id,
        languages=languages,
        sample_rate_hz=22_050,
        model_fingerprint="own",
        traits=traits,
        stored=stored,
    )


_STORED = StoredVoice(
    id="anna",
    display_name="Anna",
    language="en",
    styles=("neutral",),
    create_time=datetime(2026, 1, 1, tzinfo=UTC),
    request_id="",
    consent=None,
    quality=(),
    content_fingerprint="c",
)
_CATALOG = Catalog(
    [
        _voice("ben", _SAMPLING_TRAITS, "de", "en", "zh-CN", engine="xtts"),
        _voice("cleo", _SAMPLING_TRAITS, "en", "zh-CN", engine="xtts"),
        _voice("dora", _SAMPLING_TRAITS, "fr", engine="xtts"),
        _voice("plain", _PLAIN_TRAITS, "en", engine="piper"),
        _voice("plainer", _PLAIN_TRAITS, "en", engine="piper"),
        _voice("waiting", EngineTraits(), "en", engine="", stored=_STORED),
    ]
)
_MIX = (VoiceShare("ben", 2.0), VoiceShare("cleo", 1.0))


def _resolve(text: str = "Hello.", **request: Any) -> Utterance:
    return resolve_request(
        SynthesisRequest(text, **request), _CATALOG, default_voice="", max_text_characters=1000
    )


def _faults(**request: Any) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        _resolve(**request)
    return [violation.field for violation in caught.value.violations]


@pytest.mark.parametrize(
    ("language", "longest"), [("en", 250), ("de", 30), ("zh-CN", 10), ("zh", 10)]
)
def test_segments_keep_to_the_limit_of_their_language(language: str, longest: int) -> None:
    text = "one two three " * 60
    lengths = [
        len(segment.text) for segment in _resolve(text, voice="ben", language=language).segments
    ]
    assert max(lengths) <= longest
    assert max(lengths) > longest // 2


def test_the_seed_is_the_callers_or_a_new_one() -> None:
    assert _resolve(voice="ben", sampling=Sampling(seed=0)).sampling == Sampling(seed=0)
    drawn = [_resolve(voice="ben", sampling=Sampling(top_k=5)).sampling for _ in range(20)]
    assert {sampling.top_k for sampling in drawn} == {5}
    seeds = {sampling.seed for sampling in drawn}
    assert len(seeds) == 20
    assert all(seed is not None and 0 <= seed < 1 << 63 for seed in seeds)


def test_an_engine_that_doesnt_sample_gets_no_seed() -> None:
    assert _resolve(voice="plain").sampling == Sampling()
    assert _faults(voice="plain", sampling=Sampling(seed=1)) == ["sampling"]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("temperature", [-0.01, 2.01, math.nan, math.inf]),
        ("top_k", [0, 1001, -1]),
        ("top_p", [0.0, 1.01, math.nan]),
        ("repetition_penalty", [0.99, 50.1, math.nan]),
        ("seed", [-1, 1 << 63]),
    ],
)
def test_sampling_out_of_range_is_named(name: str, wrong: list[Any]) -> None:
    for value in wrong:
        assert _faults(voice="ben", sampling=Sampling(**{name: value})) == [f"sampling.{name}"]


@pytest.mark.parametrize(
    "sampling", [Sampling(0.0, 1, 1e-9, 1.0, 0), Sampling(2.0, 1000, 1.0, 50.0, (1 << 63) - 1)]
)
def test_the_ends_of_the_ranges_are_taken(sampling: Sampling) -> None:
    assert _resolve(voice="ben", sampling=sampling).sampling == sampling


def test_a_mix_speaks_what_all_its_voices_speak() -> None:
    utterance = _resolve(voice_mix=_MIX)
    assert [(part.voice.id, part.weight) for part in utterance.mix] == [("ben", 2.0), ("cleo", 1.0)]
    assert utterance.language == "en"
    assert utterance.voice.id == ""
    assert (utterance.voice.engine, utterance.voice.model_fingerprint) == ("xtts", "whole")
    assert utterance.audio_format.sample_rate_hz == 24_000
    assert _resolve(voice_mix=_MIX, language="zh").language == "zh-CN"
    assert _faults(voice_mix=_MIX, language="de") == ["language"]


def test_one_voice_is_no_mix() -> None:
    utterance = _resolve(voice="ben")
    assert utterance.mix == ()
    assert [part.voice.id for part in utterance.parts] == ["ben"]


@pytest.mark.parametrize(
    ("shares", "fields"),
    [
        ([("ben", 1.0)], ["voice_mix"]),
        ([("ben", 1.0)] * 9, ["voice_mix"]),
        ([("ben", 1.0), ("nobody", 1.0)], ["voice_mix[1].voice"]),
        ([("", 1.0), ("ben", 1.0)], ["voice_mix[0].voice"]),
        ([("ben", 1.0), ("cleo", 1.0), ("ben", 1.0)], ["voice_mix[2].voice"]),
        ([("ben", 1.0), ("plain", 1.0)], ["voice_mix[1].voice"]),
        ([("plain", 1.0), ("plainer", 1.0)], ["voice_mix"]),
        ([("ben", 1.0), ("dora", 1.0)], ["voice_mix"]),
        ([("ben", 0.0), ("cleo", -1.0)], ["voice_mix[0].weight", "voice_mix[1].weight"]),
        ([("ben", math.nan), ("cleo", math.inf)], ["voice_mix[0].weight", "voice_mix[1].weight"]),
        ([("x", 0.0), ("ben", 1.0)], ["voice_mix[0].weight", "voice_mix[0].voice"]),
    ],
)
def test_what_keeps_voices_from_being_mixed_is_named(
    shares: list[tuple[str, float]], fields: list[str]
) -> None:
    assert _faults(voice_mix=tuple(VoiceShare(*share) for share in shares)) == fields


def test_beside_a_mix_there_is_neither_a_voice_nor_a_style() -> None:
    assert _faults(voice_mix=_MIX, voice="ben", style="neutral") == ["voice", "style"]


def test_an_uploaded_voice_is_not_mixed_without_an_engine() -> None:
    catalog = Catalog([*_CATALOG.select(), _voice("w2", EngineTraits(), "de", engine="")])
    with pytest.raises(NotPossible) as caught:
        resolve_request(
            SynthesisRequest("Hi.", voice_mix=(VoiceShare("waiting", 1), VoiceShare("w2", 1))),
            catalog,
            default_voice="",
            max_text_characters=10,
        )
    assert caught.value.reason == "NO_CLONING_ENGINE"


def test_a_server_without_a_default_voice_asks_for_one() -> None:
    assert _faults() == ["voice"]


@pytest.mark.parametrize(
    ("request_format", "fields"),
    [
        (
            {"encoding": Encoding.PCM_S16LE, "sample_rate_hz": 7, "bitrate_bps": 1, "frame_ms": 3},
            ["format.sample_rate_hz", "format.bitrate_bps", "format.frame_ms"],
        ),
        ({"bitrate_bps": 1, "frame_ms": 101}, ["format.bitrate_bps", "format.frame_ms"]),
        ({"sample_rate_hz": 1, "bitrate_bps": 64_000}, ["format.sample_rate_hz"]),
        # A bitrate and a length that other rates take are nobody's fault.
        ({"sample_rate_hz": 44_000, "bitrate_bps": 320_000}, ["format.sample_rate_hz"]),
        (
            {"encoding": Encoding.AAC_ADTS, "sample_rate_hz": 47_000, "frame_ms": 128},
            ["format.sample_rate_hz"],
        ),
        (
            {"sample_rate_hz": 44_000, "bitrate_bps": 1},
            ["format.sample_rate_hz", "format.bitrate_bps"],
        ),
        # Of a rate that MPEG-2 has, which takes no 320 kbit/s.
        ({"sample_rate_hz": 16_000, "bitrate_bps": 320_000}, ["format.bitrate_bps"]),
    ],
)
def test_all_fields_of_a_format_that_are_at_fault_are_named(
    request_format: dict[str, Any], fields: list[str]
) -> None:
    assert _faults(voice="ben", **request_format) == fields
    assert _faults(voice="ben", text="", **request_format) == ["text", *fields]
