"""`save`: a file is whole and verified, or it is not there."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.contract.client_faces import FACES, Face
from tests.contract.client_server import (
    ScriptedServer,
    audio_event,
    fail,
    header_event,
    summary_event,
    whole_stream,
)
from tts_client import (
    Completion,
    CorruptStream,
    Encoding,
    InvalidArgument,
    RetryPolicy,
    TruncatedStream,
    TtsError,
    Unavailable,
)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest, server: ScriptedServer) -> Face:
    return FACES[request.param](server.address, retry=RetryPolicy(max_attempts=1))


def test_the_file_holds_the_joined_frames_in_the_format_of_its_suffix(
    server: ScriptedServer, face: Face, tmp_path: Path
) -> None:
    path = tmp_path / "hello.flac"

    summary = face.save("Hello", path)

    assert path.read_bytes() == b"onetwo"
    assert summary.byte_count == 6
    assert server.calls[0].request.format.encoding == Encoding.FLAC.value
    assert os.listdir(tmp_path) == ["hello.flac"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_a_named_format_goes_before_the_suffix(
    server: ScriptedServer, face: Face, tmp_path: Path
) -> None:
    face.save("Hello", tmp_path / "hello.bin", format="wav")

    assert server.calls[0].request.format.encoding == Encoding.WAV.value


def truncated(call, context):
    return [header_event(), audio_event(0, b"x")]


def corrupt(call, context):
    return [header_event(), audio_event(0, b"x"), summary_event([b"y"])]


def broken(call, context):
    yield header_event()
    yield audio_event(0, b"x")
    fail(context, grpc.StatusCode.UNAVAILABLE, "the worker ended")


@pytest.mark.parametrize(
    ("script", "error"),
    [(truncated, TruncatedStream), (corrupt, CorruptStream), (broken, Unavailable)],
)
def test_a_failure_leaves_nothing_behind_and_an_older_file_alone(
    server: ScriptedServer, face: Face, tmp_path: Path, script: object, error: type[TtsError]
) -> None:
    server.script = script
    (tmp_path / "old.mp3").write_bytes(b"older")

    for name in ("new.mp3", "old.mp3"):
        with pytest.raises(error):
            face.save("Hello", tmp_path / name)

    assert os.listdir(tmp_path) == ["old.mp3"]
    assert (tmp_path / "old.mp3").read_bytes() == b"older"


def test_the_name_appears_only_at_the_end(
    server: ScriptedServer, face: Face, tmp_path: Path
) -> None:
    seen: list[bool] = []

    def script(call, context):
        for event in whole_stream([b"one", b"two"]):
            seen.append((tmp_path / "hello.mp3").exists())
            yield event

    server.script = script
    face.save("Hello", tmp_path / "hello.mp3")

    assert seen == [False] * 4
    assert (tmp_path / "hello.mp3").exists()


def test_a_text_without_speech_makes_no_file(
    server: ScriptedServer, face: Face, tmp_path: Path
) -> None:
    server.script = lambda _call, _context: whole_stream([])

    summary = face.save("...", tmp_path / "hello.mp3")

    assert summary.completion is Completion.NO_SPEAKABLE_TEXT
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "options"),
    [("hello", {}), ("hello.txt", {}), ("hello.opus", {"format": Encoding.OPUS_PACKETS})],
)
def test_a_format_that_is_unknown_or_makes_no_file_is_refused_before_the_call(
    server: ScriptedServer, face: Face, tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        face.save("Hello", tmp_path / name, **options)

    assert caught.value.violations[0].field == "format.encoding"
    assert server.calls == []
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_found_before_the_call(
    server: ScriptedServer, face: Face, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        face.save("Hello", tmp_path / "missing" / "hello.mp3")
    with pytest.raises(IsADirectoryError):
        face.save("Hello", tmp_path, format="mp3")

    assert server.calls == []


def test_a_link_stays_a_link(face: Face, tmp_path: Path) -> None:
    (tmp_path / "target.mp3").write_bytes(b"older")
    (tmp_path / "link.mp3").symlink_to("target.mp3")

    face.save("Hello", tmp_path / "link.mp3")

    assert (tmp_path / "link.mp3").is_symlink()
    assert (tmp_path / "target.mp3").read_bytes() == b"onetwo"


def test_a_pipe_is_written_to_and_not_replaced(face: Face, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp3"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        face.save("Hello", pipe)
        assert os.read(reader, 100) == b"onetwo"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
