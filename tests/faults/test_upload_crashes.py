"""The front is killed at each step that an upload and a deletion take on the disk."""

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from protos.tts.v1 import tts_pb2
from protos.tts.v1.tts_pb2_grpc import TextToSpeechStub
from tests.audio_files import AudioFileKind, audio_file
from tests.contract.test_voices import upload_parts
from tests.human_speech import SAMPLE_RATE_HZ, speech
from tests.server_process import running_server
from tests.speech import speak
from voice_store import check_store

# Shell patterns of steps; voice_store's own tests kill a process at every single one.
_UPLOAD_STEPS = [
    "draft: neutral.flac created",
    "draft: neutral.flac synced",
    "*.safetensors written",
    "draft: voice.json written",
    "draft: voice.json synced",
    "staging to voices: moved",
    "audit: written",
]
_DELETE_STEPS = ["voices to staging: moved", "audit: written"]


def _recording() -> bytes:
    return audio_file(AudioFileKind.FLAC, speech().samples, SAMPLE_RATE_HZ)


def _upload(stub: TextToSpeechStub) -> None:
    stub.UploadVoice(upload_parts(_recording(), voice_id="anna"))


def _delete(stub: TextToSpeechStub) -> None:
    stub.DeleteVoice(tts_pb2.DeleteVoiceRequest(voice="anna"))


def _crash(folder: Path, step: str, call: Callable[[TextToSpeechStub], None]) -> None:
    environment = {"VOICE_STORE_FAILPOINT": step}
    with (
        running_server(folder, "--engine", "tone", environment=environment) as server,
        server.stub() as stub,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(stub)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert server.process.wait(5) == -9


@pytest.mark.parametrize("step", _UPLOAD_STEPS)
def test_a_voice_is_there_wholly_or_not_at_all(tmp_path: Path, step: str) -> None:
    _crash(tmp_path, step, _upload)
    with running_server(tmp_path, "--engine", "tone") as server, server.stub() as stub:
        voices = [voice.id for voice in stub.ListVoices(tts_pb2.ListVoicesRequest()).voices]
        if "anna" in voices:
            speak(stub, text="All of me", voice="anna")
        else:
            _upload(stub)
    assert check_store(tmp_path / "data" / "voices", repair=False) == []


@pytest.mark.parametrize("step", _DELETE_STEPS)
def test_a_deletion_is_finished_after_a_crash(tmp_path: Path, step: str) -> None:
    with running_server(tmp_path, "--engine", "tone") as server, server.stub() as stub:
        _upload(stub)
    _crash(tmp_path, step, _delete)
    with running_server(tmp_path, "--engine", "tone") as server, server.stub() as stub:
        voices = [voice.id for voice in stub.ListVoices(tts_pb2.ListVoicesRequest()).voices]
        assert "anna" not in voices
    assert check_store(tmp_path / "data" / "voices", repair=False) == []
    assert list((tmp_path / "data").rglob("*.flac")) == []
