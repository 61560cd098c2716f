"""The speech in a recording is found, wholly and without much around it."""

from itertools import pairwise

import numpy as np
import pytest
import soxr

from tests.human_speech import SAMPLE_RATE_HZ, SENTENCES, KnownSpeech, noise, speech
from voice_store.speech import Span, Speech, find_speech

# What whoever cuts leaves around speech.
_MARGIN_MS = 250
_KNOWN = speech(SENTENCES[:2], lead_ms=1000, pause_ms=1200)
_LEVEL = np.float32(2.0)  # brings it to about -20 LUFS


def _spans_ms(spans: tuple[Span, ...], rate_hz: int) -> list[tuple[float, float]]:
    return [(span.start * 1000 / rate_hz, span.stop * 1000 / rate_hz) for span in spans]


def _uncovered_ms(known: KnownSpeech, found: list[tuple[float, float]]) -> float:
    """How much of the sentences lies outside of what was found and its margins."""
    return sum(
        sum(
            not any(start - _MARGIN_MS <= at < end + _MARGIN_MS for start, end in found)
            for at in range(round(first), round(last))
        )
        for first, last in known.spans_ms
    )


@pytest.mark.parametrize("ratio_db", [60, 30, 20, 10])
def test_speech_lies_within_the_margins_at_any_noise(ratio_db: int) -> None:
    samples = _KNOWN.samples * _LEVEL
    samples = samples + noise(len(samples), -20 - ratio_db)
    speech_found = find_speech(samples, SAMPLE_RATE_HZ)
    found = _spans_ms(speech_found.phrases, SAMPLE_RATE_HZ)
    assert _uncovered_ms(_KNOWN, found) == 0
    found_ms = speech_found.sample_count * 1000 / SAMPLE_RATE_HZ
    assert found_ms == pytest.approx(_KNOWN.speech_ms, rel=0.1)
    assert all(before[1] < after[0] for before, after in pairwise(found))


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 48_000])
def test_borders_do_not_depend_on_the_rate(rate_hz: int) -> None:
    samples = soxr.resample(_KNOWN.samples * _LEVEL, SAMPLE_RATE_HZ, rate_hz)
    found = _spans_ms(find_speech(samples, rate_hz).phrases, rate_hz)
    expected = _spans_ms(
        find_speech(_KNOWN.samples * _LEVEL, SAMPLE_RATE_HZ).phrases, SAMPLE_RATE_HZ
    )
    assert np.abs(np.array(found) - np.array(expected)).max() <= 30


def test_one_recording_leaves_nothing_behind_for_the_next() -> None:
    samples = _KNOWN.samples * _LEVEL
    first = find_speech(samples, SAMPLE_RATE_HZ)
    find_speech(samples[: len(samples) // 3], SAMPLE_RATE_HZ)
    assert find_speech(samples, SAMPLE_RATE_HZ) == first


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(48_000, np.float32),
        noise(48_000, -20),
        np.sin(np.arange(48_000) / 10).astype(np.float32),
        np.full(1, 0.5, np.float32),
        np.zeros(0, np.float32),
    ],
    ids=["silence", "noise", "tone", "one sample", "nothing"],
)
def test_what_is_no_speech_has_none(samples: np.ndarray) -> None:
    assert find_speech(samples, 24_000) == Speech((), 0)
