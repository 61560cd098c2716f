"""Kept speech as both clients and the command meet it."""

import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from protos.tts.v1 import tts_pb2 as pb
from tests.contract.client_command import tts
from tests.contract.client_faces import FACES, Face
from tests.contract.client_server import ScriptedServer, fail, header_event, whole_stream
from tests.server_process import ServerProcess, running_server
from tts_client import (
    CacheMode,
    CacheStatus,
    InvalidArgument,
    NotCached,
    NotFound,
    RetryPolicy,
)

QUICK = RetryPolicy(initial_backoff_ms=10, max_backoff_ms=20)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest, server: ScriptedServer) -> Face:
    return FACES[request.param](server.address, retry=QUICK)


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The real server with its cache, for tests that speak texts of their own."""
    folder = tmp_path_factory.mktemp("keeper")
    with running_server(folder, "--engine", "tone", keeps_speech=True) as server:
        yield server


@pytest.fixture(params=FACES)
def kept(request: pytest.FixtureRequest, keeper: ServerProcess) -> Face:
    """A client of the server that keeps speech."""
    return FACES[request.param](keeper.address)


@pytest.fixture
def text(request: pytest.FixtureRequest) -> str:
    """One that no other test speaks."""
    return f"This is for {request.node.name}."


def says(server: ScriptedServer, status: int) -> None:
    """Makes the server speak with this `cache_status`."""
    header = header_event()
    header.header.cache_status = status
    server.script = lambda _call, _context: [header, *whole_stream([b"one"])[1:]]


def keeps_nothing(server: ScriptedServer) -> None:
    """Makes the server answer as to `ONLY` without a hit."""

    def script(call, context):
        info = ErrorInfo(reason="NOT_CACHED", domain="tts.v1")
        fail(context, grpc.StatusCode.NOT_FOUND, "this is not kept", info)
        return []

    server.script = script


@pytest.mark.parametrize(
    ("cache", "sent"),
    [
        ("default", pb.CACHE_MODE_UNSPECIFIED),
        ("bypass", pb.CACHE_MODE_BYPASS),
        (CacheMode.REFRESH, pb.CACHE_MODE_REFRESH),
        (CacheMode.ONLY, pb.CACHE_MODE_ONLY),
    ],
)
def test_the_mode_reaches_the_server(
    server: ScriptedServer, face: Face, tmp_path: Path, cache: CacheMode | str, sent: int
) -> None:
    face.speak("Hello", cache=cache)
    face.save("Hello", tmp_path / "a.mp3", cache=cache)

    assert [call.request.cache for call in server.calls] == [sent, sent]


def test_an_unknown_mode_never_leaves(server: ScriptedServer, face: Face) -> None:
    with pytest.raises(InvalidArgument, match="'never'") as caught:
        face.speak("Hello", cache="never")

    assert [violation.field for violation in caught.value.violations] == ["cache"]
    assert server.calls == []


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (pb.CACHE_STATUS_UNSPECIFIED, CacheStatus.UNSPECIFIED),
        (pb.CACHE_STATUS_MISS, CacheStatus.MISS),
        (pb.CACHE_STATUS_HIT, CacheStatus.HIT),
        (pb.CACHE_STATUS_JOINED, CacheStatus.JOINED),
        (77, CacheStatus.UNSPECIFIED),
    ],
)
def test_the_header_tells_the_status_and_servers_of_other_times_tell_none(
    server: ScriptedServer, face: Face, number: int, status: CacheStatus
) -> None:
    says(server, number)

    assert face.speak("Hello").header.cache_status is status


def test_what_is_not_kept_is_told_apart_and_not_asked_for_again(
    server: ScriptedServer, face: Face, tmp_path: Path
) -> None:
    keeps_nothing(server)

    with pytest.raises(NotCached, match="this is not kept") as caught:
        face.save("Hello", tmp_path / "a.mp3", cache="only", request_id="order-66")

    assert (caught.value.reason, caught.value.request_id) == ("NOT_CACHED", "order-66")
    assert len(server.calls) == 1
    assert os.listdir(tmp_path) == []


def test_a_retry_asks_for_the_same(server: ScriptedServer, face: Face) -> None:
    def script(call, context):
        if len(server.calls) == 1:
            fail(context, grpc.StatusCode.UNAVAILABLE, "not yet")
        return whole_stream([b"one"])

    server.script = script
    face.speak("Hello", cache=CacheMode.REFRESH, seed=7)

    first, second = (call.request for call in server.calls)
    assert first == second
    assert second.cache == pb.CACHE_MODE_REFRESH


def test_what_was_spoken_is_answered_from_the_cache(kept: Face, text: str) -> None:
    with pytest.raises(NotCached):
        kept.speak(text, cache="only")

    first = kept.speak(text)
    again = kept.speak(text)
    only = kept.speak(text, cache=CacheMode.ONLY)

    assert first.header.cache_status is CacheStatus.MISS
    assert again.header.cache_status is only.header.cache_status is CacheStatus.HIT
    assert first.frames == again.frames == only.frames
    assert first.header.request_id != again.header.request_id


def test_bypass_keeps_nothing(kept: Face, text: str) -> None:
    assert kept.speak(text, cache="bypass").header.cache_status is CacheStatus.MISS
    with pytest.raises(NotCached):
        kept.speak(text, cache="only")


def test_refresh_speaks_anew_and_keeps(kept: Face, text: str) -> None:
    for _ in range(2):
        assert kept.speak(text, cache="refresh").header.cache_status is CacheStatus.MISS
    assert kept.speak(text).header.cache_status is CacheStatus.HIT


def test_an_unknown_voice_is_not_found_in_each_mode(kept: Face, text: str) -> None:
    for mode in CacheMode:
        with pytest.raises(NotFound) as caught:
            kept.speak(text, voice="zoe", cache=mode)
        assert caught.value.resource_name == "zoe"


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        ([], pb.CACHE_MODE_UNSPECIFIED),
        (["--cache", "bypass"], pb.CACHE_MODE_BYPASS),
        (["--cache", "REFRESH"], pb.CACHE_MODE_REFRESH),
        (["--cache", "only"], pb.CACHE_MODE_ONLY),
    ],
)
def test_the_commands_mode_reaches_the_server(
    server: ScriptedServer, tmp_path: Path, words: list[str], sent: int
) -> None:
    result = tts(server, "say", "Hi", "-o", str(tmp_path / "a.mp3"), *words)

    assert result.exit_code == 0, result.output
    assert server.calls[0].request.cache == sent


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (pb.CACHE_STATUS_UNSPECIFIED, "x real time\n"),
        (pb.CACHE_STATUS_MISS, "x real time\n"),
        (pb.CACHE_STATUS_HIT, "x real time, from the cache\n"),
        (pb.CACHE_STATUS_JOINED, "x real time, spoken for another call too\n"),
    ],
)
def test_the_command_tells_where_speech_that_was_not_made_for_it_comes_from(
    server: ScriptedServer, tmp_path: Path, status: int, end: str
) -> None:
    says(server, status)

    result = tts(server, "say", "Hi", "-o", str(tmp_path / "a.mp3"))

    assert result.stderr.endswith(end)
    assert result.stderr.count("\n") == 1


def test_the_command_tells_what_is_not_kept_and_leaves_no_file(
    server: ScriptedServer, tmp_path: Path
) -> None:
    keeps_nothing(server)

    result = tts(server, "say", "Hi", "-o", str(tmp_path / "a.mp3"), "--cache", "only")

    assert result.exit_code == 2
    assert result.stderr == ("Error: this is not kept\nWithout --cache only it would be spoken.\n")
    assert os.listdir(tmp_path) == []
