"""What is kept comes back as it was, to the bit; what is broken does not come back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.cache.v1 import cache_pb2
from tts_service.fleet import SegmentAudio
from tts_service.synthesis.events import Frame
from tts_service.synthesis.rendition import Rendition, Totals
from tts_service.synthesis.segment_speech import SegmentSpeech

_INT64 = st.integers(0, 2**63 - 1)
_INT32 = st.integers(0, 2**31 - 1)
_SECONDS = st.floats(0, 1e12)


@st.composite
def _renditions(draw: st.DrawFn) -> Rendition:
    count = draw(st.integers(0, 5))
    frames = tuple(
        Frame(
            draw(st.binary(max_size=50)), n, draw(_INT64), draw(_INT64), draw(_INT32), draw(_INT32)
        )
        for n in range(count)
    )
    totals = Totals(
        draw(_INT64), sum(len(frame.data) for frame in frames), draw(st.integers(0, 2**32 - 1))
    )
    return Rendition(frames, totals, draw(st.none() | _INT64), draw(_SECONDS))


@given(_renditions())
def test_a_rendition_comes_back(rendition: Rendition) -> None:
    assert Rendition.from_bytes(rendition.to_bytes()) == rendition


def test_a_seed_of_zero_is_a_seed() -> None:
    for seed in (None, 0):
        kept = Rendition((), Totals(0, 0, 0), seed, 1.5).to_bytes()
        assert Rendition.from_bytes(kept).seed == seed


def test_what_is_no_rendition_is_refused() -> None:
    with pytest.raises(ValueError, match="no rendition"):
        Rendition.from_bytes(b"\xff\xff\xff")


def _speech(*runs: list[float], rate_hz: int = 24_000) -> SegmentSpeech:
    made = tuple(
        SegmentAudio(np.array(run, dtype=np.float32), n, n + 1) for n, run in enumerate(runs)
    )
    return SegmentSpeech(rate_hz, made, 12.25)


def _assert_same(one: SegmentSpeech, other: SegmentSpeech) -> None:
    assert (one.sample_rate_hz, one.made_s) == (other.sample_rate_hz, other.made_s)
    assert len(one.runs) == len(other.runs)
    for own, others in zip(one.runs, other.runs, strict=True):
        assert (own.start_character, own.end_character) == (
            others.start_character,
            others.end_character,
        )
        assert own.samples.dtype == others.samples.dtype == np.float32
        # To the bit: -0.0 and 0.0 are equal and sound the same.
        np.testing.assert_array_equal(own.samples, others.samples)


@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False), max_size=20), max_size=4),
    st.integers(1, 48_000),
)
def test_any_samples_come_back(runs: list[list[float]], rate_hz: int) -> None:
    speech = _speech(*runs, rate_hz=rate_hz)
    with np.errstate(over="ignore"):
        _assert_same(SegmentSpeech.from_bytes(speech.to_bytes()), speech)


@given(st.lists(st.integers(-32768, 32767), max_size=50))
def test_samples_of_16_bits_take_16_bits(samples: list[int]) -> None:
    speech = _speech([sample / 32768 for sample in samples])
    kept = speech.to_bytes()
    assert cache_pb2.SegmentSpeech.FromString(kept).HasField("s16")
    _assert_same(SegmentSpeech.from_bytes(kept), speech)


@pytest.mark.parametrize("sample", [1.0, -1.0000001, 0.1, 1 / 65536])
def test_other_samples_take_32_bits(sample: float) -> None:
    kept = _speech([0.5, sample]).to_bytes()
    assert cache_pb2.SegmentSpeech.FromString(kept).HasField("f32")
    _assert_same(SegmentSpeech.from_bytes(kept), _speech([0.5, sample]))


@pytest.mark.parametrize(
    "message",
    [
        cache_pb2.SegmentSpeech(s16=b"12", runs=[cache_pb2.SpokenRun(sample_count=1)]),
        cache_pb2.SegmentSpeech(sample_rate_hz=24_000, s16=b"12"),
        cache_pb2.SegmentSpeech(
            sample_rate_hz=24_000, s16=b"12", runs=[cache_pb2.SpokenRun(sample_count=2)]
        ),
        cache_pb2.SegmentSpeech(
            sample_rate_hz=24_000, s16=b"123", runs=[cache_pb2.SpokenRun(sample_count=1)]
        ),
        cache_pb2.SegmentSpeech(
            sample_rate_hz=24_000,
            s16=b"1234",
            runs=[cache_pb2.SpokenRun(sample_count=3), cache_pb2.SpokenRun(sample_count=-1)],
        ),
    ],
)
def test_what_is_no_whole_speech_is_refused(message: cache_pb2.SegmentSpeech) -> None:
    with pytest.raises(ValueError, match=r"."):
        SegmentSpeech.from_bytes(message.SerializeToString())


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(ValueError, match="no speech"):
        SegmentSpeech.from_bytes(b"\xff\xff\xff")
