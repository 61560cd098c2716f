"""`tts-service` as an operator meets it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, running_server

_SERVICE = [sys.executable, "-m", "tts_service"]


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_SERVICE, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **environment},
    )


def test_help_says_how_to_begin() -> None:
    assert "serve" in _run("--help").stdout
    text = _run("serve", "--help").stdout
    assert "--listen" in text
    assert "TTS_PIPER__VOICES_DIR" in text


def test_help_loads_neither_grpc_nor_numpy() -> None:
    code = (
        "import sys; sys.argv = ['tts-service', '--help']\n"
        "from tts_service.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'grpc', 'numpy', 'av', 'pydantic'} & set(sys.modules)), file=sys.stderr)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert process.stderr.strip() == "[]"


def test_the_front_loads_neither_torch_nor_onnxruntime(tone_server: ServerProcess) -> None:
    maps = Path(f"/proc/{tone_server.process.pid}/maps").read_text()
    assert "grpc" in maps
    assert "onnxruntime" not in maps
    assert "torch" not in maps


def test_all_settings_are_listed() -> None:
    listing = _run("settings").stdout
    assert "piper.voices_dir" in listing
    assert "xtts.checkpoint_dir" in listing
    assert "max_text_characters" in listing


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--listen", "nowhere"], {}, ["listen"]),
        (["--listen", "127.0.0.1:99999"], {}, ["127.0.0.1:99999"]),
        (
            ["--listen", "192.0.2.1:50051"],
            {"TTS_TLS__PLAINTEXT_ON_NETWORK": "1", "TTS_AUTH__ANONYMOUS_ON_NETWORK": "1"},
            ["can't listen on 192.0.2.1:50051", "--listen"],
        ),
        (["--listen", "unix:/" + "x" * 200], {}, ["can't listen on unix:/xxx"]),
        (["--engine", "bark"], {}, ["engines", "bark"]),
        (["--engine", "tone", "--engine", "tone"], {}, ["engines", "twice"]),
        ([], {"TTS_LISEN": "x"}, ["TTS_LISEN", "TTS_LISTEN"]),
        ([], {"TTS_MAX_TEXT_CHARACTERS": "0"}, ["max_text_characters", "'0'"]),
        ([], {"TTS_PIPER__VOICES_DIR": "/nonexistent"}, ["piper", "/nonexistent"]),
        ([], {"TTS_XTTS__DEVICE": "cuda:x"}, ["xtts.device", "cuda:x", "cuda:N"]),
        ([], {"TTS_XTTS__PRECISION": "int8"}, ["xtts.precision", "bfloat16"]),
        ([], {"TTS_XTTS__SLOTS": "257"}, ["xtts.slots", "256"]),
        ([], {"TTS_XTTS__WAITING_LIMIT": "-1"}, ["xtts.waiting_limit"]),
        ([], {"TTS_XTTS__RUN_AHEAD_S": "0.5"}, ["xtts.run_ahead_s"]),
        (["--config", "/nonexistent.toml"], {}, ["--config", "/nonexistent.toml"]),
        (["--data-dir", "/proc/no"], {}, ["data_dir", "/proc/no"]),
        ([], {"TTS_CACHE__SIZE_LIMIT_BYTES": ""}, ["cache.size_limit_bytes"]),
        (["--engine", "tone"], {"TTS_DEFAULT_VOICE": "nobody"}, ["default_voice", "nobody"]),
    ],
)
def test_settings_that_cant_be_used_are_refused(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], words: list[str]
) -> None:
    free = ("--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"))
    process = _run("serve", *free, *arguments, **environment)
    assert process.returncode == 2
    assert process.stdout == ""
    assert "Traceback" not in process.stderr
    for word in words:
        assert word in process.stderr


@pytest.mark.parametrize(
    "body", ["nothing_such = 1", "[piper]\nvoices = 1", "listen =", "listen = 5"]
)
def test_a_bad_file_is_refused(tmp_path: Path, body: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(body)
    process = _run("serve", "--data-dir", str(tmp_path / "data"), "--config", str(file))
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    assert process.stderr.strip()


def test_a_taken_port_is_refused(tone_server: ServerProcess, tmp_path: Path) -> None:
    process = _run("serve", "--listen", tone_server.address, "--data-dir", str(tmp_path))
    assert process.returncode == 2
    assert "in use" in process.stderr


def test_flags_win_over_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('engines = ["piper"]\nmax_text_characters = 5\ndefault_voice = "tone-low"\n')
    environment = {
        "TTS_ENGINES": "piper,tone",
        "TTS_MAX_TEXT_CHARACTERS": "7",
        "TTS_CONFIG": str(file),
        "TTS_CLIENT_SERVER": "not the server's business",
        "TTS_SERVICE_HOST": "10.0.0.1",
        "TTS_PORT_50051_TCP_ADDR": "10.0.0.1",
        "TTS_SERVICE_SERVICE_HOST": "10.0.0.1",
        "TTS_SERVICE_PORT_50051_TCP_PROTO": "tcp",
    }
    with (
        running_server(tmp_path, "--engine", "tone", environment=environment) as server,
        server.stub() as stub,
    ):
        from protos.tts.v1 import tts_pb2

        info = stub.GetServerInfo(tts_pb2.GetServerInfoRequest())
    assert [engine.name for engine in info.engines] == ["tone"]
    assert info.limits.max_text_characters == 7
    assert info.default_voice == "tone-low"


def test_a_unix_socket_will_do(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/tts.sock"
    with running_server(tmp_path, "--engine", "tone", "--listen", address) as server:
        assert server.address == address
        with server.stub() as stub:
            from tests.speech import speak

            second = _run("serve", "--listen", address, "--data-dir", str(tmp_path / "second"))
            assert second.returncode == 2
            assert "in use" in second.stderr
            speak(stub, text="Over a socket")


def test_voices_are_checked_where_the_settings_say(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f'data_dir = "{tmp_path}/elsewhere"\n')
    for arguments, environment in ((["--config", str(file)], {}), ([], {"TTS_CONFIG": str(file)})):
        process = _run("voices", "check", *arguments, **environment)
        assert process.returncode == 2
        assert f"{tmp_path}/elsewhere/voices" in process.stderr
