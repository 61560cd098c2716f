"""Ways to run the `tts` command in tests, and to wait for what it does."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from click.testing import CliRunner, Result

from tests.contract.client_server import (
    ScriptedServer,
    audio_event,
    header_event,
)
from tts_client.command.app import app


def tts(server: ScriptedServer, *words: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["--server", server.address, *words], input=stdin)


def start(*words: str, server: ScriptedServer, **options: object) -> "subprocess.Popen[bytes]":
    """The command as a program of its own."""
    # The shell that runs the tests may have had SIGINT ignored, which children inherit.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import tts_client.__main__"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, "--server", server.address, *words],
        **{"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, **options},  # type: ignore[call-overload]
    )


def install(folder: Path, program: str, body: str) -> None:
    """Puts a player on PATH that does what `body`, Python, says."""
    path = folder / program
    path.write_text(f"#!{sys.executable}\nimport pathlib, sys\n{body}\n")
    path.chmod(0o755)


def endless(call, context):
    """Frames until the caller leaves."""
    yield header_event()
    for sequence in range(3_000):
        yield audio_event(sequence, b"x" * 100, end_character=3)
        if call.ended.wait(0.01):
            return


def wait_for(condition, timeout_s: float = 60.0) -> None:
    """Waits until `condition()` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.01)


def read_until(terminal: int, wanted: bytes, timeout_s: float = 60.0) -> bytes:
    """What the terminal shows up to and including `wanted`."""
    seen = b""
    while wanted not in seen:
        ready, _, _ = select.select([terminal], [], [], timeout_s)
        if not ready:
            raise AssertionError(f"{wanted!r} did not come; seen: {seen!r}")
        seen += os.read(terminal, 4096)
    return seen
