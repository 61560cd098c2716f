"""A rambling model is cut, and what it leaves behind its last word isn't heard."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tts_service.engines.xtts.guards import TailGate, code_ceiling, fade_out

RATE_HZ = 24_000
MAX_CODES = 605

Samples = NDArray[np.float32]


def sound(ms: int, level: float = 0.3, seed: int = 0) -> Samples:
    """Noise that is nowhere quiet."""
    count = RATE_HZ * ms // 1000
    noise = np.random.default_rng(seed).uniform(0.5, 1.0, count)
    signs = np.where(np.arange(count) % 40 < 20, 1.0, -1.0)
    return (level * noise * signs).astype(np.float32)


def silence(ms: int, level: float = 1e-4, seed: int = 1) -> Samples:
    """What a vocoder makes of a pause: next to nothing."""
    return sound(ms, level, seed)


def joined(*parts: Samples) -> Samples:
    return np.concatenate(parts)


def passed(samples: Samples, *, cut: bool = False, ends: list[int] | None = None) -> Samples:
    """What a gate lets through of samples that come in pieces."""
    gate = TailGate(RATE_HZ)
    pieces = np.split(samples, ends or [])
    return joined(*(gate.push(piece) for piece in pieces), gate.finish(cut=cut))


def test_a_longer_text_may_take_more_codes() -> None:
    ceilings = [code_ceiling(characters, MAX_CODES) for characters in range(400)]
    assert ceilings == sorted(ceilings)
    assert len(set(ceilings[:234])) == 234


def test_no_text_may_take_more_than_the_model_can() -> None:
    assert code_ceiling(10_000, MAX_CODES) == MAX_CODES
    assert code_ceiling(10_000, 100) == 100


@pytest.mark.parametrize(("characters", "seconds"), [(1, 2), (10, 3), (60, 8), (250, 27)])
def test_the_ceiling_leaves_time_for_a_slow_reader(characters: int, seconds: float) -> None:
    """At 21.53 codes a second."""
    assert code_ceiling(characters, MAX_CODES) >= 21.53 * seconds
    assert code_ceiling(characters, MAX_CODES) <= 21.53 * (seconds + 2)


def test_a_fade_ends_at_zero_and_leaves_the_rest_alone() -> None:
    samples = sound(100)
    before = samples.copy()
    faded = fade_out(samples, RATE_HZ)
    fade = RATE_HZ * 5 // 1000
    assert faded.dtype == np.float32
    assert faded.shape == samples.shape
    assert faded[-1] == 0.0
    assert np.array_equal(faded[:-fade], samples[:-fade])
    shares = faded[-fade:] / samples[-fade:]
    assert (np.diff(shares) < 0).all()
    assert shares[0] == 1.0
    assert np.array_equal(samples, before)


@pytest.mark.parametrize("count", [0, 1, 2, 60])
def test_a_fade_of_less_than_5_ms_ends_at_zero_too(count: int) -> None:
    faded = fade_out(np.ones(count, dtype=np.float32), RATE_HZ)
    assert len(faded) == count
    assert not faded[-1:].any()


@pytest.mark.parametrize(
    "samples",
    [
        sound(1_000),
        joined(silence(300), sound(500), silence(300), sound(700), silence(300)),
        joined(sound(500), silence(390), sound(50)),
        joined(sound(300, level=0.9), sound(300, level=0.02)),
        silence(2_000),
        np.zeros(48_123, dtype=np.float32),
        np.zeros(0, dtype=np.float32),
        sound(10)[:37],
        sound(1_000)[:-37],
    ],
    ids=[
        "speech",
        "short pauses",
        "a short word behind a pause",
        "loud then soft",
        "all of one quiet level",
        "zeros",
        "nothing",
        "less than a frame",
        "not whole frames",
    ],
)
def test_speech_without_a_long_silence_passes_unchanged(samples: Samples) -> None:
    assert np.array_equal(passed(samples), samples)


def test_speech_passes_at_once() -> None:
    gate = TailGate(RATE_HZ)
    samples = sound(1_000)
    heard = gate.push(samples)
    assert np.array_equal(heard, samples[: len(heard)])
    assert len(samples) - len(heard) <= RATE_HZ // 100


@pytest.mark.parametrize("click_ms", [0, 50])
@pytest.mark.parametrize("cut", [False, True])
def test_behind_five_seconds_of_silence_nothing_is_heard(click_ms: int, cut: bool) -> None:
    speech = sound(800)
    quiet = joined(silence(3_000), sound(click_ms), silence(2_300))
    samples = joined(speech, quiet, sound(2_000))
    heard = passed(samples, cut=cut)
    assert np.array_equal(heard[: len(speech)], speech)
    assert len(heard) == len(speech) + RATE_HZ // 10
    ends = list(range(0, len(samples), 4_321))
    assert np.array_equal(passed(samples, cut=cut, ends=ends), heard)


def test_a_gate_says_when_nothing_will_be_heard() -> None:
    gate = TailGate(RATE_HZ)
    gate.push(joined(sound(500), silence(4_900)))
    assert not gate.is_over
    gate.push(silence(200))
    assert gate.is_over


def test_a_short_pause_passes_with_the_sound_behind_it() -> None:
    gate = TailGate(RATE_HZ)
    before = len(gate.push(joined(sound(500), silence(300)))) * 1000 / RATE_HZ
    assert 490 <= before <= 500
    behind = len(gate.push(sound(20))) * 1000 / RATE_HZ
    assert 810 <= before + behind <= 820


@pytest.mark.parametrize("click_ms", [1, 10, 50, 180])
@pytest.mark.parametrize("behind_ms", [0, 100, 600])
def test_a_click_behind_a_long_silence_is_not_heard(click_ms: int, behind_ms: int) -> None:
    speech = sound(800)
    heard = passed(joined(speech, silence(600), sound(click_ms), silence(behind_ms)))
    assert np.array_equal(heard[: len(speech)], speech)
    kept_ms = (len(heard) - len(speech)) * 1000 / RATE_HZ
    assert 50 <= kept_ms <= 100
    assert np.abs(heard[len(speech) :]).max() < 1e-3
    assert heard[-1] == 0.0


def test_a_long_silence_at_the_end_is_shortened() -> None:
    heard = passed(joined(sound(800), silence(3_000)))
    assert len(heard) == RATE_HZ * 900 // 1000


@pytest.mark.parametrize("word_ms", [210, 300, 1_000])
@pytest.mark.parametrize("pause_ms", [400, 700, 2_000])
def test_a_last_word_behind_a_pause_is_heard(pause_ms: int, word_ms: int) -> None:
    samples = joined(sound(800), silence(pause_ms), sound(word_ms), silence(200))
    assert np.array_equal(passed(samples), samples)


def test_a_last_word_with_the_closure_of_a_consonant_is_heard() -> None:
    word = joined(sound(120), silence(100), sound(120))
    samples = joined(sound(800), silence(500), word, silence(200))
    assert np.array_equal(passed(samples), samples)


def test_two_clicks_do_not_add_up_to_a_word() -> None:
    clicks = joined(sound(150), silence(300), sound(150))
    assert len(passed(joined(sound(800), silence(500), clicks))) == RATE_HZ * 900 // 1000


def test_nothing_is_lost_between_words_and_pauses_of_three_seconds() -> None:
    parts = [sound(300)]
    for number, pause_ms in enumerate((50, 390, 400, 410, 900, 3_000)):
        parts += [silence(pause_ms, seed=number), sound(20 + 250 * (number % 2), seed=number)]
    samples = joined(*parts, sound(500, seed=9))
    assert np.array_equal(passed(samples), samples)


def test_a_click_between_two_words_is_kept_with_them() -> None:
    """Only at the end is it told from a word."""
    samples = joined(sound(500), silence(500), sound(20), silence(500), sound(500))
    assert np.array_equal(passed(samples), samples)


def test_a_cut_end_is_faded() -> None:
    samples = sound(500)
    heard = passed(samples, cut=True)
    assert np.array_equal(heard[:-120], samples[:-120])
    assert heard[-1] == 0.0


def test_a_cut_end_is_faded_in_what_was_held() -> None:
    samples = joined(sound(500), silence(250, level=2e-3))
    heard = passed(samples, cut=True)
    assert len(heard) == len(samples)
    assert heard[-1] == 0.0
    assert np.array_equal(heard[:-120], samples[:-120])


@st.composite
def _signals(draw: st.DrawFn) -> Samples:
    lengths_ms = draw(st.lists(st.integers(1, 700), min_size=1, max_size=8))
    parts = [
        sound(ms, level, seed=number)
        for number, ms in enumerate(lengths_ms)
        for level in (draw(st.sampled_from((0.3, 0.05, 1e-3, 1e-4, 0.0))),)
    ]
    return joined(*parts)


_MANY = settings(max_examples=200, deadline=None, derandomize=True)


@_MANY
@given(samples=_signals(), cut=st.booleans(), data=st.data())
def test_the_pieces_make_no_difference(samples: Samples, cut: bool, data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.integers(0, len(samples)), max_size=20).map(sorted))
    assert np.array_equal(passed(samples, cut=cut, ends=ends), passed(samples, cut=cut))


@_MANY
@given(samples=_signals())
def test_what_is_heard_is_the_beginning_and_only_quiet_or_short_ends_are_missing(
    samples: Samples,
) -> None:
    heard = passed(samples)
    fade = RATE_HZ * 5 // 1000
    body = max(0, len(heard) - fade)
    assert np.array_equal(heard[:body], samples[:body])
    missing = samples[len(heard) :]
    frames = missing[: len(missing) // 240 * 240].reshape(-1, 240)
    loud = np.sqrt(np.mean(np.square(frames), axis=1)) >= 0.01 * np.abs(samples).max()
    runs = "".join("#" if one else " " for one in loud).split()
    assert all(len(run) < 20 for run in runs)
