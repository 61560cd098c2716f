"""Which fields of a request are in the keys: the contract, docs/cache.md and the code agree."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor

from protos.tts.v1 import tts_pb2 as pb
from tts_service.api.convert import synthesis_request
from tts_service.synthesis import Utterance, resolve_request
from tts_service.synthesis.keys import rendition_key, segment_keys
from tts_service.voices import Catalog, EngineTraits, Voice
from voice_store import StoredVoice

_DOCS = Path(__file__).parents[2] / "docs" / "cache.md"
_ROW = re.compile(r"\| `([a-z_.]+)` \| (yes|no) \| (yes|no) \|")

_TRAITS = EngineTraits(
    "f", 250, can_change_speed=True, can_sample=True, can_mix=True, mix_sample_rate_hz=24_000
)
_STORED = StoredVoice(
    id="anna",
    display_name="Anna",
    language="en",
    styles=("glad", "neutral"),
    create_time=datetime(2026, 1, 1, tzinfo=UTC),
    request_id="",
    consent=None,
    quality=(),
    content_fingerprint="content",
)


def _voice(voice_id: str, stored: StoredVoice | None = None, **changes: Any) -> Voice:
    own = "" if stored else voice_id
    voice = Voice(voice_id, "", "xtts", own, ("en", "de"), 24_000, "model", _TRAITS, stored)
    return replace(voice, **changes)


_VOICES = [_voice("anna", _STORED), _voice("ben"), _voice("cleo"), _voice("dora")]

_BASE = pb.SynthesizeRequest(
    text="One two. Three four.",
    voice="anna",
    language="en",
    format=pb.AudioFormat(
        encoding=pb.ENCODING_MP3, sample_rate_hz=24_000, bitrate_bps=64_000, frame_ms=24
    ),
    prosody=pb.Prosody(speed=1.25),
    style="glad",
    sampling=pb.Sampling(temperature=0.5, top_k=10, top_p=0.5, repetition_penalty=2.0, seed=7),
)
_BASE_MIX = pb.SynthesizeRequest(
    text=_BASE.text,
    voice_mix=[pb.VoiceShare(voice="ben", weight=1), pb.VoiceShare(voice="cleo", weight=3)],
)
# Another value for each field, on top of one of the two.
_CHANGES = {
    "text": pb.SynthesizeRequest(text="One two. Three five."),
    "voice": pb.SynthesizeRequest(voice="ben", style=""),
    "language": pb.SynthesizeRequest(language="de"),
    "format.encoding": pb.SynthesizeRequest(format=pb.AudioFormat(encoding=pb.ENCODING_AAC_ADTS)),
    "format.sample_rate_hz": pb.SynthesizeRequest(format=pb.AudioFormat(sample_rate_hz=16_000)),
    "format.bitrate_bps": pb.SynthesizeRequest(format=pb.AudioFormat(bitrate_bps=32_000)),
    "format.frame_ms": pb.SynthesizeRequest(format=pb.AudioFormat(frame_ms=96)),
    "prosody.speed": pb.SynthesizeRequest(prosody=pb.Prosody(speed=1.5)),
    "style": pb.SynthesizeRequest(style="neutral"),
    "sampling.temperature": pb.SynthesizeRequest(sampling=pb.Sampling(temperature=0.25)),
    "sampling.top_k": pb.SynthesizeRequest(sampling=pb.Sampling(top_k=11)),
    "sampling.top_p": pb.SynthesizeRequest(sampling=pb.Sampling(top_p=0.25)),
    "sampling.repetition_penalty": pb.SynthesizeRequest(
        sampling=pb.Sampling(repetition_penalty=3.0)
    ),
    "sampling.seed": pb.SynthesizeRequest(sampling=pb.Sampling(seed=8)),
    "cache": pb.SynthesizeRequest(cache=pb.CACHE_MODE_REFRESH),
}
_MIX_CHANGES = {
    "voice_mix.voice": [("ben", 1), ("dora", 3)],
    "voice_mix.weight": [("ben", 1), ("cleo", 2)],
}


def _resolve(message: pb.SynthesizeRequest, voices: list[Voice] = _VOICES) -> Utterance:
    return resolve_request(
        synthesis_request(message), Catalog(voices), default_voice="", max_text_characters=1000
    )


def _keys(
    message: pb.SynthesizeRequest, voices: list[Voice] = _VOICES
) -> tuple[str, tuple[str, ...]]:
    utterance = _resolve(message, voices)
    return rendition_key(utterance), segment_keys(utterance)


def _documented() -> dict[str, tuple[bool, bool]]:
    rows = _ROW.findall(_DOCS.read_text())
    return {name: (response == "yes", segment == "yes") for name, response, segment in rows}


def _fields(descriptor: Descriptor, prefix: str = "") -> Iterator[str]:
    for field in descriptor.fields:
        if field.message_type is None:
            yield prefix + field.name
        else:
            yield from _fields(field.message_type, f"{prefix}{field.name}.")


def test_every_field_of_the_contract_is_in_the_table_and_is_tried() -> None:
    fields = set(_fields(pb.SynthesizeRequest.DESCRIPTOR))
    assert set(_documented()) == fields
    assert {*_CHANGES, *_MIX_CHANGES} == fields


@pytest.mark.parametrize("field", [*_CHANGES, *_MIX_CHANGES])
def test_a_field_is_in_the_keys_that_the_table_says(field: str) -> None:
    if field in _CHANGES:
        base, changed = _BASE, pb.SynthesizeRequest()
        changed.CopyFrom(_BASE)
        changed.MergeFrom(_CHANGES[field])
        if field == "voice":
            changed.style = ""
    else:
        base, changed = _BASE_MIX, pb.SynthesizeRequest(text=_BASE_MIX.text)
        for voice, weight in _MIX_CHANGES[field]:
            changed.voice_mix.add(voice=voice, weight=weight)
    response, segments = _keys(base)
    other_response, other_segments = _keys(changed)
    in_response, in_segments = _documented()[field]
    assert (response != other_response) is in_response
    # The segments of the text that didn't change are the same.
    assert (segments != other_segments) is in_segments


def test_defaults_are_what_they_stand_for() -> None:
    resolved = _resolve(pb.SynthesizeRequest(text="Hello.", voice="anna"))
    spelled_out = pb.SynthesizeRequest(
        text="Hello.",
        voice="anna",
        language="en",
        style="neutral",
        format=pb.AudioFormat(
            encoding=pb.ENCODING_MP3,
            sample_rate_hz=resolved.audio_format.sample_rate_hz,
            bitrate_bps=resolved.audio_format.bitrate_bps,
        ),
        prosody=pb.Prosody(speed=1.0),
    )
    assert _keys(spelled_out) == _keys(pb.SynthesizeRequest(text="Hello.", voice="anna"))


def test_shares_count_and_not_weights() -> None:
    small, large = (
        pb.SynthesizeRequest(
            text="Hello.",
            voice_mix=[
                pb.VoiceShare(voice="ben", weight=factor),
                pb.VoiceShare(voice="cleo", weight=2 * factor),
            ],
        )
        for factor in (1, 8)
    )
    assert _keys(small) == _keys(large)


def test_space_around_a_text_is_in_no_key_and_within_it_in_the_responses() -> None:
    plain, around, within = (
        _keys(pb.SynthesizeRequest(text=text, voice="ben"))
        for text in ("One two.", "One two. \n", "One  two.")
    )
    assert plain == around
    assert plain[1] == within[1]
    assert plain[0] != within[0]


def test_a_segment_is_the_same_in_every_text() -> None:
    _, alone = _keys(pb.SynthesizeRequest(text="Your order has shipped.", voice="ben"))
    _, behind = _keys(pb.SynthesizeRequest(text="Hello Anna. Your order has shipped.", voice="ben"))
    assert alone[0] in behind


@pytest.mark.parametrize(
    "voice",
    [
        _voice("anna", replace(_STORED, content_fingerprint="another recording")),
        _voice("anna", _STORED, model_fingerprint="another model"),
        _voice("anna", _STORED, engine="another engine"),
    ],
)
def test_other_content_under_the_same_names_is_another_key(voice: Voice) -> None:
    before, after = _keys(_BASE), _keys(_BASE, [voice])
    assert before[0] != after[0]
    assert not set(before[1]) & set(after[1])


def test_a_voice_by_another_name_is_the_same_voice() -> None:
    renamed = replace(_STORED, id="hanna", display_name="Hanna")
    message = pb.SynthesizeRequest(text="Hello.", voice="hanna", style="glad")
    same = pb.SynthesizeRequest(text="Hello.", voice="anna", style="glad")
    assert _keys(message, [_voice("hanna", renamed)]) == _keys(same)


def test_a_seed_that_the_server_draws_is_in_no_key() -> None:
    message = pb.SynthesizeRequest(text="Hello.", voice="ben")
    one, other = _resolve(message), _resolve(message)
    assert one.sampling.seed != other.sampling.seed
    assert rendition_key(one) == rendition_key(other)
    assert segment_keys(one) == segment_keys(other)
