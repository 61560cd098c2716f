"""The resampler neither loses nor invents samples, and does not wait for long."""

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from audio_codec import StreamClosedError, StreamResampler

USUAL_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def noise(sample_count: int) -> NDArray[np.float32]:
    random = np.random.default_rng(7)
    return (random.standard_normal(sample_count) * 0.2).astype(np.float32)


def resample(
    samples: NDArray[np.float32], source_hz: int, target_hz: int, cuts: list[int]
) -> NDArray[np.float32]:
    resampler = StreamResampler(source_hz, target_hz)
    parts = [resampler.process(part) for part in np.split(samples, sorted(cuts))]
    return np.concatenate([*parts, resampler.flush()])


@settings(deadline=None, max_examples=60)
@given(
    source_hz=st.sampled_from(USUAL_HZ) | st.integers(8000, 48000),
    target_hz=st.sampled_from(USUAL_HZ) | st.integers(8000, 48000),
    sample_count=st.integers(0, 12_000),
    data=st.data(),
)
def test_length_is_exact_and_cuts_do_not_matter(
    source_hz: int, target_hz: int, sample_count: int, data: st.DataObject
) -> None:
    samples = noise(sample_count)
    cuts = data.draw(st.lists(st.integers(0, sample_count), max_size=8))
    whole = resample(samples, source_hz, target_hz, [])
    assert whole.dtype == np.float32
    assert len(whole) == int(sample_count * target_hz / source_hz + 0.5)
    assert np.array_equal(resample(samples, source_hz, target_hz, cuts), whole)


def soxr_after_silence(
    samples: NDArray[np.float32], source_hz: int, target_hz: int
) -> NDArray[np.float32]:
    """soxr gets a few samples wrong where a stream begins loud; a second of silence helps."""
    silence = np.zeros(source_hz, np.float32)
    padded = np.concatenate([silence, samples])
    resampled: NDArray[np.float32] = soxr.resample(padded, source_hz, target_hz, quality="HQ")
    return resampled[target_hz:]


@pytest.mark.parametrize("source_hz", [16000, 22050, 24000, 48000])
@pytest.mark.parametrize("target_hz", [8000, 12000, 16000, 22050, 24000, 44100, 48000])
def test_it_is_soxr(source_hz: int, target_hz: int) -> None:
    samples = noise(source_hz // 2 + 1)
    got = resample(samples, source_hz, target_hz, [1000, 1001, 5000])
    assert np.abs(got - soxr_after_silence(samples, source_hz, target_hz)).max() < 2e-6


@pytest.mark.parametrize(("source_hz", "target_hz"), [(22050, 44101), (16000, 11025)])
def test_it_is_soxr_at_odd_ratios_too(source_hz: int, target_hz: int) -> None:
    samples = noise(source_hz // 2 + 1)
    samples[:100] = 0
    got = resample(samples, source_hz, target_hz, [1000, 1001, 5000])
    assert np.abs(got - soxr_after_silence(samples, source_hz, target_hz)).max() < 1e-4


@pytest.mark.parametrize(
    ("source_hz", "target_hz", "limit_ms"),
    [(22050, 24000, 26), (22050, 48000, 26), (24000, 48000, 26), (24000, 8000, 34)],
)
def test_little_is_held_back(source_hz: int, target_hz: int, limit_ms: float) -> None:
    resampler = StreamResampler(source_hz, target_hz)
    step = source_hz // 1000
    put_out = 0
    for position in range(0, source_hz // 2, step):
        put_out += len(resampler.process(np.zeros(step, np.float32)))
        held_ms = (position + step) / source_hz * 1000 - put_out / target_hz * 1000
        assert held_ms <= limit_ms


def test_equal_rates_pass_through() -> None:
    resampler = StreamResampler(24000, 24000)
    samples = noise(100)
    assert np.array_equal(resampler.process(samples), samples)
    assert len(resampler.flush()) == 0


def test_a_flushed_stream_is_over() -> None:
    resampler = StreamResampler(24000, 8000)
    resampler.flush()
    with pytest.raises(StreamClosedError):
        resampler.process(noise(1))
    with pytest.raises(StreamClosedError):
        resampler.flush()


@pytest.mark.parametrize("rates", [(0, 8000), (8000, 0), (-1, 8000)])
def test_impossible_rates(rates: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        StreamResampler(*rates)
