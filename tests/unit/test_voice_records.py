"""What is kept of a voice comes back as it was, or not at all."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tests.voice_data import CONSENT, quality
from voice_store import Consent, InvalidRecordError, StoredVoice, StyleQuality

_VOICE = StoredVoice(
    id="zoe",
    display_name="Zoë",
    language="en-GB",
    styles=("cheerful", "neutral"),
    create_time=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    request_id="r-1",
    consent=CONSENT,
    quality=(quality("cheerful"), quality("neutral")),
    content_fingerprint="ab" * 32,
)


def test_a_voice_comes_back_from_json() -> None:
    assert StoredVoice.from_json(json.loads(json.dumps(_VOICE.to_json()))) == _VOICE
    without = dataclasses.replace(_VOICE, consent=None, request_id="")
    assert StoredVoice.from_json(without.to_json()) == without


def test_times_are_kept_in_utc() -> None:
    there = timezone(timedelta(hours=2))
    document = dataclasses.replace(CONSENT, consent_time=datetime(2026, 1, 1, tzinfo=there))
    assert document.to_json()["consent_time"] == "2025-12-31T22:00:00+00:00"
    with pytest.raises(InvalidRecordError):
        dataclasses.replace(CONSENT, consent_time=datetime(2026, 1, 1)).to_json()


@pytest.mark.parametrize("key", list(_VOICE.to_json()))
def test_a_missing_key_is_refused(key: str) -> None:
    document = _VOICE.to_json()
    del document[key]
    with pytest.raises(InvalidRecordError, match=f"^{key}: "):
        StoredVoice.from_json(document)


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"id": 3},
        {"id": None},
        {"styles": "neutral"},
        {"styles": ["neutral", 3]},
        {"create_time": 1767322800},
        {"create_time": "1767322800"},
        {"create_time": "2026-01-02T03:04:05"},
        {"create_time": "2026-01-02T03:04:05+02:00"},
        {"consent": {**CONSENT.to_json(), "more": 1}},
        {"consent": {"person": "Zoë"}},
        {"consent": []},
        {"quality": [{**quality("neutral").to_json(), "bandwidth_hz": 1.5}]},
        {"quality": [{**quality("neutral").to_json(), "recording_count": True}]},
        {"quality": [{**quality("neutral").to_json(), "clipped_share": "0.5"}]},
        {"quality": [{**quality("neutral").to_json(), "clipped_share": float("nan")}]},
        {"quality": [{**quality("neutral").to_json(), "warnings": [{"code": "X"}]}]},
    ],
)
def test_what_is_not_the_record_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecordError):
        StoredVoice.from_json({**_VOICE.to_json(), **change})


@pytest.mark.parametrize("document", [None, 3, "x", [], {}, [_VOICE.to_json()], {"id": object()}])
def test_what_is_no_document_is_refused(document: object) -> None:
    with pytest.raises(InvalidRecordError):
        StoredVoice.from_json(document)


def test_what_could_not_be_read_back_is_not_written() -> None:
    for bad in (
        dataclasses.replace(quality("neutral"), clipped_share=float("inf")),
        dataclasses.replace(quality("neutral"), style=3),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidRecordError):
            bad.to_json()


def test_each_record_can_be_written_alone() -> None:
    assert Consent.from_json(CONSENT.to_json()) == CONSENT
    assert StyleQuality.from_json(quality("neutral").to_json()) == quality("neutral")
