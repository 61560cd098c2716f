"""Readers that nobody here wrote, for files that somebody here did."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

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


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(tmp_path)
