"""`tts say` with a player, or without one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.client_command import endless, install, tts, wait_for
from tests.contract.client_server import (
    ScriptedServer,
    whole_stream,
)
from tts_client.command.player import PLAYERS, Player

pytestmark = pytest.mark.usefixtures("no_players")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def test_playing_begins_before_the_speech_is_complete(
    server: ScriptedServer, no_players: Path, tmp_path: Path
) -> None:
    begun, heard, file = tmp_path / "begun", tmp_path / "heard", tmp_path / "a.mp3"
    install(
        no_players,
        "mpg123",
        f"first = sys.stdin.buffer.read(3); pathlib.Path({str(begun)!r}).write_bytes(first)\n"
        f"pathlib.Path({str(heard)!r}).write_bytes(first + sys.stdin.buffer.read())",
    )

    def script(call, context):
        events = whole_stream([b"one", b"two"])
        yield from events[:2]
        wait_for(begun.exists)
        yield from events[2:]

    server.script = script
    result = tts(server, "say", "Hi", "-o", str(file), "--play")

    assert result.exit_code == 0, result.output
    assert begun.read_bytes() == b"one"
    assert heard.read_bytes() == file.read_bytes() == b"onetwo"


@pytest.mark.parametrize("player", PLAYERS, ids=lambda player: player.program)
def test_each_player_gets_a_format_that_it_plays(
    server: ScriptedServer, no_players: Path, tmp_path: Path, player: Player
) -> None:
    heard, words = tmp_path / "heard", tmp_path / "words"
    source = "open(sys.argv[-1], 'rb')" if player.needs_file else "sys.stdin.buffer"
    install(
        no_players,
        player.program,
        f"pathlib.Path({str(heard)!r}).write_bytes({source}.read())\n"
        f"pathlib.Path({str(words)!r}).write_text(' '.join(sys.argv[1:]))",
    )

    result = tts(server, "say", "Hi")

    assert result.exit_code == 0, result.output
    assert heard.read_bytes() == b"onetwo"
    assert server.calls[0].request.format.encoding == player.encodings[0].value
    assert "{" not in words.read_text()
    if player.program == "paplay":
        assert "--rate=22050" in words.read_text()


def test_a_player_that_cannot_play_the_format_is_passed_over(
    server: ScriptedServer, no_players: Path, tmp_path: Path
) -> None:
    install(no_players, "mpg123", "sys.exit(9)")

    result = tts(server, "say", "Hi", "-o", str(tmp_path / "a.wav"), "--play")

    assert result.exit_code == 1
    assert "No player here plays wav while it comes; found mpg123" in result.stderr
    assert server.calls == []


def test_a_player_that_fails_is_told_and_the_file_is_kept(
    server: ScriptedServer, no_players: Path, tmp_path: Path
) -> None:
    install(no_players, "mpg123", "sys.exit(9)")

    result = tts(server, "say", "Hi", "-o", str(tmp_path / "a.mp3"), "--play")

    assert result.exit_code == 1
    assert "mpg123 failed with code 9" in result.stderr
    assert (tmp_path / "a.mp3").read_bytes() == b"onetwo"


def test_closing_the_player_ends_the_synthesis(server: ScriptedServer, no_players: Path) -> None:
    server.script = endless
    install(no_players, "mpg123", "sys.stdin.buffer.read(1000)")

    result = tts(server, "say", "Hi", "--play")

    assert result.exit_code == 0, result.output
    assert server.calls[0].ended.wait(2)
    assert server.calls[0].cancelled
