"""Measures of recordings are near the truth, and warnings say what to do."""

import io
from dataclasses import replace

import numpy as np
import pytest
import soxr

from audio_codec import DecodeLimits, decode_audio
from tests.audio_files import AudioFileKind, audio_file
from tests.human_speech import SAMPLE_RATE_HZ, SENTENCES, noise, speech
from voice_store.quality import (
    Findings,
    bandwidth_hz,
    clipped_count,
    signal_to_noise_db,
    warnings_about,
)
from voice_store.speech import Span

_KNOWN = speech(SENTENCES[:2], lead_ms=1000, pause_ms=800)
_SPANS = tuple(
    Span(round(start * SAMPLE_RATE_HZ / 1000), round(end * SAMPLE_RATE_HZ / 1000))
    for start, end in _KNOWN.spans_ms
)
_FINE = Findings(
    speech_ms=12_000,
    kept_ms=13_000,
    shortened=False,
    loudness_lufs=-23.0,
    clipped_speech_share=0.0,
    signal_to_noise_db=50.0,
    bandwidth_hz=12_000,
    limited_db=2.0,
)


def _speech_level_db() -> float:
    spoken = np.concatenate([_KNOWN.samples[span.start : span.stop] for span in _SPANS])
    return 10 * float(np.log10(np.mean(spoken.astype(np.float64) ** 2)))


@pytest.mark.parametrize("turned_down", [1.0, 0.3])
def test_flat_tops_are_counted_at_any_level(turned_down: float) -> None:
    loud = _KNOWN.samples * np.float32(8.0)
    clipped = (loud.clip(-1, 1) * turned_down).astype(np.float32)
    found = clipped_count(clipped[None])
    # Tops of one and two samples are no evidence.
    assert 0.8 * np.sum(np.abs(loud) >= 1) <= found <= 1.02 * np.sum(np.abs(loud) >= 0.999)


def test_the_channel_that_is_clipped_most_counts() -> None:
    clean, clipped = _KNOWN.samples, (_KNOWN.samples * np.float32(8.0)).clip(-1, 1)
    assert clipped_count(np.stack([clean, clipped])) == clipped_count(clipped[None]) > 0


@pytest.mark.parametrize("peak", [0.01, 0.5, 1.0])
def test_unclipped_speech_has_no_flat_tops(peak: float) -> None:
    samples = _KNOWN.samples * np.float32(peak / np.abs(_KNOWN.samples).max())
    quantised = np.rint(samples * 32767).astype(np.float32) / np.float32(32768)
    assert clipped_count(quantised[None]) < 1e-4 * len(samples)


@pytest.mark.parametrize("ratio_db", [45, 35, 25, 15, 5])
def test_signal_to_noise_is_near_the_truth(ratio_db: float) -> None:
    samples = _KNOWN.samples + noise(len(_KNOWN.samples), _speech_level_db() - ratio_db)
    found = signal_to_noise_db([(samples, _SPANS)], SAMPLE_RATE_HZ)
    assert found == pytest.approx(ratio_db, abs=1.5)


def test_recordings_count_together() -> None:
    samples = _KNOWN.samples + noise(len(_KNOWN.samples), _speech_level_db() - 20)
    once = signal_to_noise_db([(samples, _SPANS)], SAMPLE_RATE_HZ)
    twice = signal_to_noise_db([(samples, _SPANS), (samples, _SPANS)], SAMPLE_RATE_HZ)
    assert twice == pytest.approx(once, abs=0.1)


def test_without_pauses_the_noise_is_unknown() -> None:
    span = _SPANS[0]
    spoken = _KNOWN.samples[span.start : span.stop]
    found = signal_to_noise_db([(spoken, [Span(0, len(spoken))])], SAMPLE_RATE_HZ)
    assert found is None


def test_digital_silence_gives_a_finite_ratio() -> None:
    found = signal_to_noise_db([(_KNOWN.samples, _SPANS)], SAMPLE_RATE_HZ)
    assert found is not None
    assert 60 < found < 120


@pytest.mark.parametrize(
    ("source_rate_hz", "stored_rate_hz", "expected_hz"),
    [
        (8_000, 8_000, 4_000),
        (8_000, 48_000, 4_000),
        (16_000, 44_100, 8_000),
        (8_000, 16_000, 4_000),
    ],
)
@pytest.mark.parametrize("level", [1.0, 0.05])
def test_bandwidth_is_the_sounds_not_the_files(
    source_rate_hz: int, stored_rate_hz: int, expected_hz: int, level: float
) -> None:
    telephone = soxr.resample(_KNOWN.samples * level, SAMPLE_RATE_HZ, source_rate_hz)
    telephone = telephone + noise(len(telephone), -55 + 20 * np.log10(level))
    stored = soxr.resample(telephone, source_rate_hz, stored_rate_hz)
    stored = np.rint(stored * 32768).astype(np.float32) / np.float32(32768)
    assert bandwidth_hz(stored, stored_rate_hz) == pytest.approx(expected_hz, rel=0.07)


def test_bandwidth_of_an_mp3_is_what_its_encoder_left() -> None:
    sound = np.stack([noise(44_100 * 4, -30, seed=1), noise(44_100 * 4, -30, seed=2)])
    mp3 = audio_file(AudioFileKind.MP3, sound, 44_100, bitrate_bps=128_000)
    decoded = decode_audio(io.BytesIO(mp3), DecodeLimits()).samples[0]
    assert 15_000 < bandwidth_hz(decoded, 44_100) < 18_000
    assert bandwidth_hz(sound[0], 44_100) > 21_000


def test_bandwidth_of_a_moment_is_known_as_well() -> None:
    assert 0 < bandwidth_hz(noise(100, -20), 48_000) <= 24_000


def test_good_recordings_have_no_warnings() -> None:
    assert warnings_about(_FINE) == ()


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"signal_to_noise_db": 18.2}, "BACKGROUND_NOISE", "18 dB below the voice"),
        ({"signal_to_noise_db": -3.0}, "BACKGROUND_NOISE", "as loud as the voice"),
        ({"clipped_speech_share": 0.021}, "CLIPPING", "2.1% of the speech"),
        ({"bandwidth_hz": 4_000}, "LOW_BANDWIDTH", "4.0 kHz"),
        ({"speech_ms": 4_200}, "SHORT", "4.2 s of speech"),
        ({"loudness_lufs": -47.0}, "QUIET", "-47 LUFS"),
        ({"limited_db": 9.0}, "LOUD_PEAKS", "9 dB"),
        ({"shortened": True, "speech_ms": 74_000, "kept_ms": 30_000}, "SHORTENED", "of 74 s"),
    ],
)
def test_each_flaw_has_its_warning(changes: dict[str, float], code: str, words: str) -> None:
    (warning,) = warnings_about(replace(_FINE, **changes))
    assert warning.code == code
    assert words in warning.message


def test_unknown_noise_is_no_flaw() -> None:
    assert warnings_about(replace(_FINE, signal_to_noise_db=None)) == ()
