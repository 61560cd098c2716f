"""Readers that nobody here wrote for files that somebody here did; a server that asks who calls."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.identity import Authority, Tokens, asking_server
from tests.server_process import ServerProcess

_PACKAGES = {
    "ffmpeg": "ffmpeg",
    "flac": "flac",
    "mp3val": "mp3val",
    "mpg123": "mpg123",
    "opusinfo": "opus-tools",
    "sox": "sox",
}


class Tools:
    """Runs the command line tools of other projects."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        name = command[0]
        if shutil.which(name) is None:
            pytest.fail(f"{name} is missing; install the Debian package {_PACKAGES[name]}")
        return subprocess.run(
            command, capture_output=True, check=False, timeout=30, cwd=self._folder
        )

    def file(self, data: bytes, suffix: str) -> str:
        """Writes a file and returns its path."""
        path = self._folder / f"audio.{suffix}"
        path.write_bytes(data)
        return str(path)

    def decode(
        self,
        data: bytes,
        suffix: str,
        sample_rate_hz: int,
        *,
        input_options: Sequence[str] = (),
        strict: bool = True,
    ) -> NDArray[np.float64]:
        """Decodes a file with ffmpeg to samples in -1 to 1. `strict` allows no complaint."""
        result = self.run(
            *("ffmpeg", "-nostdin", "-v", "error", *(["-xerror"] if strict else [])),
            *(*input_options, "-i", self.file(data, suffix)),
            *("-f", "s16le", "-ac", "1", "-ar", str(sample_rate_hz), "-"),
        )
        if strict:
            assert result.stderr == b""
            assert result.returncode == 0
        return np.frombuffer(result.stdout, "<i2") / 32768.0


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs certificates."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """Tokens, good and bad, of `tls_server`."""
    return Tokens.of_all_kinds(tmp_path_factory.mktemp("tokens") / "tokens.jsonl")


@pytest.fixture(scope="session")
def tls_server(
    authority: Authority, tokens: Tokens, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server with TLS and tokens."""
    folder = tmp_path_factory.mktemp("tls-server")
    with asking_server(folder, authority.server().settings, tokens.settings) as server:
        yield server


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(tmp_path)


@pytest.fixture
def no_players(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that is all of PATH: what a test puts there is all that is installed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("TTS_CLIENT_SERVER", raising=False)
    return folder
