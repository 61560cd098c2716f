"""The `tts` command as a program: completion, signals, pipes and terminals."""

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.contract.client_command import endless, read_until, start, wait_for
from tests.contract.client_server import (
    ScriptedServer,
    audio_event,
    header_event,
    summary_event,
)
from tts_client.command.app import app


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_the_command_back(
    shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    result = CliRunner().invoke(app, ["completion", shell])

    assert result.exit_code == 0
    assert f"_TTS_COMPLETE={shell}_complete" in result.stdout
    assert "tts" in result.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tts say --voice d", "dora"),
        ("tts say --format o", "opus"),
        ("tts say --cache re", "refresh"),
        ("tts vo", "voices"),
    ],
)
def test_completion_offers_commands_formats_and_the_servers_voices(
    server: ScriptedServer, typed: str, offered: str
) -> None:
    environment = {
        **os.environ,
        "_TTS_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
        "TTS_CLIENT_SERVER": server.address,
    }
    result = subprocess.run(
        [sys.executable, "-m", "tts_client"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.splitlines() == [f"plain,{offered}"]


def test_the_module_runs_as_the_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tts_client", "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0
    assert result.stdout.startswith("tts ")


def test_without_its_extra_the_command_says_what_to_install() -> None:
    code = (
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'click' else real(name, *a)\n"
        "import tts_client.__main__"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert (
        result.stderr == "tts: the command needs an extra: pip install 'PATH_OF_THE_CLONE[cli]'\n"
    )


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_an_interrupt_cancels_the_call_and_leaves_no_file(
    server: ScriptedServer,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    request: pytest.FixtureRequest,
) -> None:
    # `nohup` has whoever it starts ignore one of them, and those who these start.
    before = signal.signal(number, signal.SIG_DFL)
    request.addfinalizer(lambda: signal.signal(number, before))
    server.script = endless
    with start("say", "Hi", "-o", str(tmp_path / "a.mp3"), server=server) as process:
        wait_for(lambda: any(name.endswith(".part") for name in os.listdir(tmp_path)))
        wait_for(lambda: server.calls)
        process.send_signal(number)
        assert process.wait(10) == code
    assert os.listdir(tmp_path) == []
    assert server.calls[0].ended.wait(2)
    assert server.calls[0].cancelled


def test_a_name_of_standard_output_is_written_to(server: ScriptedServer) -> None:
    with start(
        *("say", "Hi", "--format", "mp3", "-o", "/dev/stdout"),
        server=server,
        stdout=subprocess.PIPE,
    ) as process:
        audio, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert audio == b"onetwo"


def test_a_token_that_is_none_is_explained(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTS_CLIENT_TOKEN", "Bearer tts_abc")
    with start("info", server=server) as process:
        assert process.wait(20) == 2
        assert process.stderr is not None
        errors = process.stderr.read().decode()
    assert "the token is not one" in errors
    assert "Traceback" not in errors
    assert "tts_abc" not in errors


def test_a_proxy_is_not_asked_for_a_server_of_this_machine(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with start("say", "Hi", "-o", os.devnull, "--format", "mp3", server=server) as process:
        assert process.wait(20) == 0


def test_a_reader_of_the_pipe_that_leaves_ends_it_quietly(server: ScriptedServer) -> None:
    server.script = endless
    with start("say", "Hi", "-o", "-", server=server, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(10) == b"x" * 10
        process.stdout.close()
        assert process.wait(10) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_audio_is_kept_from_a_terminal(server: ScriptedServer) -> None:
    ours, theirs = pty.openpty()
    try:
        with start("say", "Hi", "-o", "-", server=server, stdout=theirs) as process:
            assert process.wait(60) == 2
            assert process.stderr is not None
            assert b"would fill the terminal" in process.stderr.read()
    finally:
        os.close(ours)
        os.close(theirs)
    assert server.calls == []


def test_a_terminal_sees_a_bar_with_the_share_of_the_text(
    server: ScriptedServer, tmp_path: Path
) -> None:
    go_on = threading.Event()

    def script(call, context):
        yield header_event()
        yield audio_event(0, b"one", end_character=2)
        go_on.wait(10)
        yield audio_event(1, b"two", end_character=4)
        yield summary_event([b"one", b"two"])

    server.script = script
    path = tmp_path / "a.mp3"
    ours, theirs = pty.openpty()
    try:
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
        words = ("say", "Four", "-o", str(path))
        with start(*words, server=server, stderr=theirs, env=environment) as process:
            seen = read_until(ours, b"50%")
            assert b"0.0 s of audio" in seen or b"x real time" in seen
            go_on.set()
            seen = read_until(ours, b"first after")
            assert process.wait(10) == 0
    finally:
        os.close(ours)
        os.close(theirs)
    assert path.read_bytes() == b"onetwo"
