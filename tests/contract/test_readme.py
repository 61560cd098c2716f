"""The README's lines do what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server_process import ServerProcess

_ROOT = Path(__file__).parents[2]
_TEXT = (_ROOT / "README.md").read_text()
_BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", _TEXT, re.M | re.S)


def _find(word: str) -> str:
    (block,) = [body for _, body in _BLOCKS if word in body]
    return str(block)


def _run(command: list[str], folder: Path) -> str:
    tools = Path(sys.executable).parent
    process = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def _decodes(file: Path) -> None:
    for command in (
        ["ffmpeg", "-v", "error", "-xerror", "-i", str(file), "-f", "null", "-"],
        ["mpg123", "-q", "-t", str(file)],
    ):
        if command[0] == "ffmpeg" or file.suffix == ".mp3":
            process = subprocess.run(command, capture_output=True, text=True, check=True)
            assert process.stderr == ""


@pytest.mark.external
def test_the_tts_line_makes_a_file(speech_server: ServerProcess, tmp_path: Path) -> None:
    line = _find(".venv/bin/tts say").replace(".venv/bin/tts", "tts")
    line = line.replace("tts say", f"tts --server {speech_server.address} say")
    _run(["sh", "-eu", "-c", line], tmp_path)
    _decodes(tmp_path / "hello.mp3")


@pytest.mark.external
def test_the_python_lines_work(speech_server: ServerProcess, tmp_path: Path) -> None:
    code = _find("from tts_client import Client")
    output = _run(
        [sys.executable, "-c", code.replace("127.0.0.1:50051", speech_server.address)], tmp_path
    )
    assert output.splitlines()[0].startswith("0 ")
    assert output.splitlines()[-1].endswith("ms of audio")
    _decodes(tmp_path / "table.opus")


@pytest.mark.external
def test_the_grpcurl_lines_make_a_file(speech_server: ServerProcess, tmp_path: Path) -> None:
    line = _find("grpcurl -plaintext").replace("127.0.0.1:50051", speech_server.address)
    _run(["sh", "-eu", "-c", line], tmp_path)
    _decodes(tmp_path / "hello-grpcurl.mp3")


def test_the_make_targets_exist() -> None:
    makefile = (_ROOT / "Makefile").read_text()
    targets = re.findall(r"\bmake ([a-z-]+)", _TEXT)
    assert {"run", "test", "check", "bench"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target


@pytest.mark.parametrize(
    "page", ["README.md", "SECURITY.md", *(f"docs/{p.name}" for p in (_ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(page: str) -> None:
    file = _ROOT / page
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", file.read_text()):
        assert (file.parent / target).exists(), f"{page}: {target}"


def test_every_setting_is_a_setting() -> None:
    """Each name in backquotes in docs/operating.md that looks like a setting is one."""
    from tts_service.config import describe_settings

    names = {line.split()[0] for line in describe_settings()}
    page = (_ROOT / "docs" / "operating.md").read_text()
    groups = "piper|xtts|connections|uploads"
    mentioned = set(re.findall(rf"`((?:(?:{groups})\.)?[a-z]+_[a-z_]+)`", page))
    assert mentioned
    assert mentioned <= names
