"""Loudness and peaks are what the standards say, and are set to what is asked."""

import numpy as np
import pyloudnorm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.human_speech import SAMPLE_RATE_HZ, noise, speech
from voice_store.loudness import decibels, integrated_loudness_lufs, levelled, true_peak_dbtp

_RATES_HZ = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000]


def _sine(frequency_hz: float, level_dbfs: float, seconds: float, rate_hz: int) -> np.ndarray:
    phase = 2 * np.pi * frequency_hz * np.arange(round(seconds * rate_hz)) / rate_hz
    return (10 ** (level_dbfs / 20) * np.sin(phase)).astype(np.float32)


@pytest.mark.parametrize("rate_hz", _RATES_HZ)
def test_the_standards_sine_reads_three_below_its_level(rate_hz: int) -> None:
    # BS.1770-4: 0 dBFS at 997 Hz in one channel reads -3.01.
    assert integrated_loudness_lufs(_sine(997, -20, 3, rate_hz), rate_hz) == pytest.approx(
        -23.01, abs=0.05
    )


def test_quiet_stretches_are_gated() -> None:
    # EBU Tech 3341, case 3, in one channel and half as long.
    quiet, loud = _sine(1000, -36, 5, 48_000), _sine(1000, -23, 30, 48_000)
    samples = np.concatenate([quiet, loud, quiet])
    assert integrated_loudness_lufs(samples, 48_000) == pytest.approx(-26.0, abs=0.1)


@pytest.mark.parametrize("rate_hz", _RATES_HZ)
def test_speech_reads_as_in_another_implementation(rate_hz: int) -> None:
    samples = np.concatenate([speech().samples[: 4 * rate_hz], noise(rate_hz, -50)])
    meter = pyloudnorm.Meter(rate_hz, filter_class="DeMan")
    expected = meter.integrated_loudness(samples.astype(np.float64))
    assert integrated_loudness_lufs(samples, rate_hz) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("count", [0, 1, 4_000, 48_000])
def test_silence_and_moments_have_the_lowest_loudness(count: int) -> None:
    assert integrated_loudness_lufs(np.zeros(count, np.float32), 48_000) == -70.0
    assert true_peak_dbtp(np.zeros(count, np.float32), 48_000) == -120.0


@pytest.mark.parametrize("rate_hz", _RATES_HZ)
def test_peaks_between_samples_are_seen(rate_hz: int) -> None:
    # EBU Tech 3341, case 16: a quarter of the rate at 45 degrees; no sample is above -9 dBFS.
    time = np.arange(rate_hz)
    samples = (0.5 * np.sin(np.pi / 2 * time + np.pi / 4)).astype(np.float32)
    samples *= np.hanning(rate_hz).astype(np.float32)
    assert decibels(float(np.abs(samples).max())) == pytest.approx(-9.03, abs=0.01)
    assert true_peak_dbtp(samples, rate_hz) == pytest.approx(-6.02, abs=0.1)


def test_sound_within_the_ceiling_is_only_turned_up() -> None:
    samples = noise(SAMPLE_RATE_HZ * 3, -60)
    result = levelled(samples, SAMPLE_RATE_HZ, target_lufs=-20, ceiling_dbtp=-1)
    assert result.limited_db == 0
    assert np.ptp(result.samples / samples) < 1e-3
    assert integrated_loudness_lufs(result.samples, SAMPLE_RATE_HZ) == pytest.approx(-20, abs=0.05)


@pytest.mark.parametrize("gain_db", [-40, 0, 30])
def test_speech_gets_its_loudness_under_the_ceiling(gain_db: float) -> None:
    samples = speech().samples * np.float32(10 ** (gain_db / 20))
    result = levelled(samples, SAMPLE_RATE_HZ, target_lufs=-20, ceiling_dbtp=-1)
    loudness = integrated_loudness_lufs(result.samples, SAMPLE_RATE_HZ)
    assert loudness == pytest.approx(-20, abs=0.1)
    assert true_peak_dbtp(result.samples, SAMPLE_RATE_HZ) <= -1


def test_the_limiter_touches_only_what_surrounds_a_peak() -> None:
    samples = noise(SAMPLE_RATE_HZ * 3, -40)
    at = len(samples) // 2
    knocked = samples.copy()
    knocked[at] = 1.0
    result = levelled(knocked, SAMPLE_RATE_HZ, target_lufs=-20, ceiling_dbtp=-1)
    assert result.limited_db > 3
    assert true_peak_dbtp(result.samples, SAMPLE_RATE_HZ) <= -1
    far = np.abs(np.arange(len(samples)) - at) > SAMPLE_RATE_HZ * 15 // 1000
    gains = result.samples[far] / knocked[far]
    assert np.ptp(gains) < 1e-3 * gains.mean()


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    loudest=st.floats(-50, 40),
    spikes=st.integers(0, 40),
    ceiling_dbtp=st.floats(-20, 0),
)
def test_no_signal_passes_the_ceiling(
    seed: int, loudest: float, spikes: int, ceiling_dbtp: float
) -> None:
    rng = np.random.default_rng(seed)
    samples = noise(12_000, loudest - 30, seed=seed)
    samples[rng.integers(0, len(samples), spikes)] *= 30
    result = levelled(samples, 24_000, target_lufs=-20, ceiling_dbtp=ceiling_dbtp)
    assert len(result.samples) == len(samples)
    assert true_peak_dbtp(result.samples, 24_000) <= ceiling_dbtp + 1e-6
