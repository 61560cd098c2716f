"""The `tts` command: what it asks of a server, and what it tells a person."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo

from protos.tts.v1 import tts_pb2 as pb
from tests.contract.client_command import tts
from tests.contract.client_server import (
    ScriptedServer,
    audio_event,
    fail,
    header_event,
    whole_stream,
)
from tts_client import Encoding
from tts_client.command.app import app

pytestmark = pytest.mark.usefixtures("no_players")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def test_say_writes_the_file_and_one_line(server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "hello.opus"

    result = tts(server, "say", "Hello", "there", "-o", str(path))

    assert result.exit_code == 0, result.output
    assert path.read_bytes() == b"onetwo"
    assert server.calls[0].request.text == "Hello there"
    assert server.calls[0].request.format.encoding == Encoding.OGG_OPUS.value
    assert result.stdout == ""
    assert result.stderr.startswith(f"{path}: 0.1 s of audio, 0.0 kB, first after ")
    assert result.stderr.count("\n") == 1


def test_every_option_reaches_the_request(server: ScriptedServer, tmp_path: Path) -> None:
    options = "--voice ada --language en-GB --rate 22.05k --bitrate 24k --speed 1.25".split()

    result = tts(server, "say", "Hi", "-o", str(tmp_path / "x"), "--format", "MP3", *options)

    assert result.exit_code == 0, result.output
    request = server.calls[0].request
    assert (request.voice, request.language) == ("ada", "en-GB")
    assert request.format.encoding == Encoding.MP3.value
    assert (request.format.sample_rate_hz, request.format.bitrate_bps) == (22_050, 24_000)
    assert request.prosody.speed == 1.25


def test_a_mix_and_a_seed_reach_the_request_and_the_seed_is_told(
    server: ScriptedServer, tmp_path: Path
) -> None:
    header = header_event()
    header.header.seed = 42
    server.script = lambda _call, _context: [header, *whole_stream([b"one"])[1:]]
    path = tmp_path / "a.mp3"
    options = "--mix ada=0.7 --mix many:bob=3 --seed 42 --temperature 0".split()

    result = tts(server, "say", "Hi", "-o", str(path), *options)

    assert result.exit_code == 0, result.output
    request = server.calls[0].request
    assert [(share.voice, share.weight) for share in request.voice_mix] == [
        ("ada", 0.7),
        ("many:bob", 3.0),
    ]
    assert request.sampling == pb.Sampling(seed=42, temperature=0.0)
    assert result.stderr.endswith(", seed 42\n")


@pytest.mark.parametrize("how", [[], ["-"], ["-f", "-"]])
def test_the_text_may_come_from_a_pipe(
    server: ScriptedServer, tmp_path: Path, how: list[str]
) -> None:
    result = tts(server, "say", *how, "-q", "-o", str(tmp_path / "a.mp3"), stdin="Grüße\n")

    assert result.exit_code == 0, result.output
    assert server.calls[0].request.text == "Grüße\n"
    assert result.output == ""


def test_the_text_may_come_from_a_file(server: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"\xef\xbb\xbfwith a mark")

    result = tts(server, "say", "-f", str(tmp_path / "in.txt"), "-o", str(tmp_path / "a.mp3"))

    assert result.exit_code == 0, result.output
    assert server.calls[0].request.text == "with a mark"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["say", "a", "-f", "-", "-o", "x.mp3"], 2, "not both"),
        (["say", "a", "--rate", "2.5"], 2, "24000 or 24k"),
        (["say", "a", "--bitrate", "-5k"], 2, "24000 or 24k"),
        (["say", "a", "--mix", "ada"], 2, "'ada' is not ID=WEIGHT"),
        (["say", "a", "--mix", "ada=-1"], 2, "with a weight above 0"),
        (["say", "a", "--mix", "ada=nan"], 2, "with a weight above 0"),
        (["say", "a", "--mix", "ada=1", "--mix", "ada=2"], 2, "names a voice twice"),
        (["say", "a", "--format", "mp4"], 2, "'mp3', 'wav', 'opus'"),
        (["say", "a", "--cache", "none"], 2, "'bypass', 'refresh', 'only'"),
        (["say", "a", "-o", "nameless"], 2, "--format: the name 'nameless' does not tell"),
        (["say", "a\udc80", "-o", "x.mp3"], 2, "TEXT: character 1 is a lone surrogate"),
        (["say", "a", "-o", "missing/x.mp3"], 1, "No such file or directory"),
        (["say", "-f", "missing.txt"], 2, "does not exist"),
        (["say", "a"], 1, "No audio player found; looked for ffplay, mpv"),
        (["say", "a", "-o", "x.mp3", "--timeout", "nan"], 2, "'nan' is no number"),
        (["say", "a", "-o", "x.mp3", "--ca", os.devnull], 2, "holds no certificate in PEM"),
        (["sing"], 2, "No such command"),
    ],
)
def test_wrong_use_is_explained_before_any_call(
    server: ScriptedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    result = tts(server, *words)

    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert server.calls == []
    assert os.listdir(tmp_path) == ["bin"]


def test_bytes_that_are_no_text_are_refused(server: ScriptedServer, tmp_path: Path) -> None:
    result = tts(server, "say", "-o", str(tmp_path / "a.mp3"), stdin=b"ab\xff")

    assert result.exit_code == 1
    assert "standard input is not UTF-8 text (byte 2)" in result.stderr


@pytest.mark.parametrize(
    ("code", "details", "exit_code", "message"),
    [
        (
            grpc.StatusCode.INVALID_ARGUMENT,
            [
                BadRequest(
                    field_violations=[
                        BadRequest.FieldViolation(
                            field="prosody.speed", description="must be 0.5 to 2"
                        )
                    ]
                )
            ],
            2,
            "Error: --speed: must be 0.5 to 2\n",
        ),
        (
            grpc.StatusCode.INVALID_ARGUMENT,
            [
                BadRequest(
                    field_violations=[
                        BadRequest.FieldViolation(
                            field="voice_mix[1].voice", description="is unknown"
                        ),
                        BadRequest.FieldViolation(field="sampling", description="can't be had"),
                    ]
                )
            ],
            2,
            "Error: --mix 2 (voice): is unknown\n--seed and --temperature: can't be had\n",
        ),
        (
            grpc.StatusCode.NOT_FOUND,
            [ResourceInfo(resource_name="zoe")],
            2,
            "Error: as told\n`tts voices` lists the voices of this server.\n",
        ),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            [RetryInfo(retry_delay={"seconds": 2})],
            1,
            "Error: as told\nTry again in 2 s.\n",
        ),
        (grpc.StatusCode.INTERNAL, [], 1, "Error: INTERNAL: as told\n"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_servers_errors_are_told_in_a_line_or_two(
    server: ScriptedServer,
    tmp_path: Path,
    code: grpc.StatusCode,
    details: list[object],
    exit_code: int,
    message: str,
) -> None:
    def script(call, context):
        fail(context, code, "as told", ErrorInfo(reason="R", domain="tts.v1"), *details)
        return []

    server.script = script
    result = tts(server, "say", "Hello", "-o", str(tmp_path / "a.mp3"))

    assert result.exit_code == exit_code
    assert result.stderr == message
    assert not (tmp_path / "a.mp3").exists()


def test_a_stream_that_is_not_whole_leaves_no_file(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = lambda _call, _context: [header_event(), audio_event(0, b"x")]

    result = tts(server, "say", "Hello", "-o", str(tmp_path / "a.mp3"))

    assert result.exit_code == 1
    assert "not whole" in result.stderr
    assert os.listdir(tmp_path) == ["bin"]


@pytest.mark.parametrize("words", [["voices"], ["info"], ["say", "Hi", "-o", "a.mp3"]])
def test_no_server_is_said_so_with_its_own_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        result = CliRunner().invoke(app, words, env={"TTS_CLIENT_SERVER": address})

    assert result.exit_code == 3
    assert result.stderr == (
        f"Error: No server at {address}. Start one with `make run`, or name another with"
        " --server.\n"
    )


def test_a_timeout_is_told(server: ScriptedServer, tmp_path: Path) -> None:
    def script(call, context):
        yield header_event()
        call.ended.wait(5)

    server.script = script
    result = tts(server, "say", "Hi", "-o", str(tmp_path / "a.mp3"), "--timeout", "0.3")

    assert result.exit_code == 1
    assert "did not finish in the time allowed" in result.stderr


def test_a_text_without_speech_is_no_error_and_no_file(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.script = lambda _call, _context: whole_stream([])

    result = tts(server, "say", "...", "-o", str(tmp_path / "a.mp3"))

    assert result.exit_code == 0
    assert "nothing in this text" in result.stderr
    assert os.listdir(tmp_path) == ["bin"]


def test_standard_output_gets_the_audio_and_nothing_else(server: ScriptedServer) -> None:
    result = tts(server, "say", "Hello", "-o", "-")

    assert result.exit_code == 0
    assert result.stdout_bytes == b"onetwo"
    assert "standard output: 0.1 s of audio" in result.stderr
    assert server.calls[0].request.format.encoding == Encoding.MP3.value


def test_the_server_option_may_follow_the_command(server: ScriptedServer) -> None:
    result = CliRunner().invoke(app, ["voices", "--server", server.address])

    assert result.exit_code == 0
    assert "emil" in result.stdout


def test_voices_as_a_table_and_as_json(server: ScriptedServer) -> None:
    table = tts(server, "voices", "--language", "en", "--engine", "tone")
    as_json = tts(server, "voices", "--json")

    lines = table.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["ada", "bob", "cleo", "dora", "emil"]
    assert "en-US, en-GB" in lines[2]
    assert (server.list_requests[0].language, server.list_requests[0].engine) == ("en", "tone")
    voices = json.loads(as_json.stdout)
    assert voices[0]["id"] == "ada"
    assert voices[0]["origin"] == "engine"
    assert voices[0]["sample_rate_hz"] == 22_050


def test_no_voice_matches(server: ScriptedServer) -> None:
    result = tts(server, "voices", "--language", "tlh")

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "No voice matches.\n"
    assert json.loads(tts(server, "voices", "--language", "tlh", "--json").stdout) == []


def test_info_as_text_and_as_json(server: ScriptedServer) -> None:
    text = tts(server, "info").stdout
    as_json = json.loads(tts(server, "info", "--json").stdout)

    assert f"Server {server.address}, version 9.8.7" in text
    assert "20000 characters, speed 0.5 to 2" in text
    assert "8000 to 48000" in text
    assert "32000 to 128000, else 64000" in text
    assert as_json["engines"][0]["state"] == "ready"
    assert as_json["formats"][0]["encoding"] == "mp3"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["say", "voices", "info", "completion", "Exit codes", "TTS_CLIENT_SERVER"]),
        (["say"], ["Examples", "-o morning.mp3", "mp3|wav|opus", "Ctrl-C leaves none", "ffplay"]),
        (["say"], ["bypass|refresh|only", "speak anew"]),
        (["voices"], ["--json", "--voice"]),
        (["info"], ["--json"]),
        (["completion"], ["bash-completion", "fpath", "fish"]),
    ],
)
def test_help_can_be_learnt_from(words: list[str], expected: list[str]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"])

    assert result.exit_code == 0
    for word in expected:
        assert word in result.output
