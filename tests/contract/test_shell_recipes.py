"""The commands of `clients/shell/README.md`, run as they are written there."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

README = Path(__file__).parents[2] / "clients" / "shell" / "README.md"
ADDRESS = "127.0.0.1:50051"
HEADED_BLOCK = re.compile(
    r"^## (?P<heading>.+?)$(?:(?!^## ).)*?^```sh\n(?P<script>.*?)^```$", re.M | re.S
)
RECIPES = {match["heading"]: match["script"] for match in HEADED_BLOCK.finditer(README.read_text())}

# What each must print, or the file that it must make.
EXPECTED = {
    "List the services": "tts.v1.TextToSpeech\n",
    "Describe the service": "rpc Synthesize",
    "Describe a request": "string text = 1;",
    "Is it healthy?": '"status": "SERVING"',
    "Who can speak?": '"languages"',
    "Speak into a file": Path("hello.mp3"),
    "Choose format and speed": Path("hello.opus"),
    "Speak it anew": Path("anew.mp3"),
    "Keep it only if it is whole": Path("whole.mp3"),
    "List the methods with buf": "tts.v1.TextToSpeech/Synthesize",
    "Is it healthy? Asked with buf": '"status": "SERVING"',
    "Speak with buf": Path("buf.mp3"),
}


class Listening(Protocol):
    """A server that is up."""

    address: str


def run(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs a recipe with the tools that were installed beside the interpreter."""
    tools = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "BUF_CACHE_DIR": str(folder / ".buf"),
    }
    return subprocess.run(
        ["sh", "-eu", "-c", script],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_every_recipe_is_expected_here() -> None:
    assert list(RECIPES) == list(EXPECTED)
    assert README.read_text().count("```sh") == len(RECIPES)


def test_what_was_cut_off_is_not_kept(tmp_path: Path) -> None:
    """Pasted line by line, too, where nothing ends at the first error."""
    event = '{"audio": {"data": "SUQz"}}'
    script = RECIPES["Keep it only if it is whole"]
    fake = f"grpcurl() {{ echo '{event}'; }}\n"
    run(f"set +e\n{fake}{script}", tmp_path)
    assert (tmp_path / "events.json").read_text() == f"{event}\n"
    assert not (tmp_path / "whole.mp3").exists()


@pytest.mark.parametrize("tool", ["grpcurl", "buf"])
def test_the_tools_are_there(tool: str) -> None:
    assert (Path(sys.executable).parent / tool).exists(), f"install {tool}: pip install -e '.[dev]'"


@pytest.mark.external
@pytest.mark.parametrize("heading", RECIPES)
def test_a_recipe_does_what_it_says(heading: str, speech_server: Listening, tmp_path: Path) -> None:
    result = run(RECIPES[heading].replace(ADDRESS, speech_server.address), tmp_path)

    assert (result.returncode, result.stderr) == (0, "")
    expected = EXPECTED[heading]
    if isinstance(expected, str):
        assert expected in result.stdout
    else:
        assert duration_s(tmp_path / expected) > 0.3


def duration_s(path: Path) -> float:
    """Length of what ffmpeg decodes from `path` without a complaint."""
    assert shutil.which("ffmpeg"), "install ffmpeg: `make tools`"
    rate_hz = 8_000
    decoded = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", path, "-f", "s16le", "-ac", "1", "-ar", str(rate_hz), "-"],
        check=True,
        capture_output=True,
    )
    assert decoded.stderr == b""
    return len(decoded.stdout) / 2 / rate_hz


FRAMES = [b"\xff\xfb\x90", b"a", b"bc", b"", bytes(range(256)), b"\x00"]


@pytest.mark.parametrize("layout", [{"indent": 2}, {}, {"separators": (",", ":")}])
@pytest.mark.parametrize(
    "heading", [heading for heading, script in RECIPES.items() if "base64" in script]
)
def test_frames_of_any_length_are_joined_byte_for_byte(
    heading: str, layout: dict[str, object], tmp_path: Path
) -> None:
    events = [
        {"header": {"voice": "ada", "format": {"encoding": "ENCODING_MP3"}}},
        *(
            {"audio": {"data": base64.b64encode(frame).decode(), "sequence": str(number)}}
            for number, frame in enumerate(FRAMES)
        ),
        {"summary": {"byteCount": "263", "crc32c": 1}},
    ]
    (tmp_path / "scripted.json").write_text("\n".join(json.dumps(e, **layout) for e in events))
    # The call gives way to its scripted answer; what follows it stays as it is.
    script, calls = re.subn(
        r"^(grpcurl|buf curl) .*?Synthesize",
        "cat scripted.json",
        RECIPES[heading],
        flags=re.M | re.S,
    )
    assert calls == 1

    result = run(script, tmp_path)

    assert (result.returncode, result.stderr) == (0, "")
    expected = EXPECTED[heading]
    assert isinstance(expected, Path)
    assert (tmp_path / expected).read_bytes() == b"".join(FRAMES)
