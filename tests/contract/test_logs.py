"""The log as programs read it: a JSON object a line, whatever happens."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.tts.v1 import tts_pb2
from tests.server_process import ServerProcess, running_server
from tests.speech import speak
from tests.waiting import wait_until
from tts_service.errors import RenderFailed
from tts_service.fleet import Connection, SegmentJob, Speaker

_LONG = "This goes on for a good while, and nobody has to listen to it, " * 20


def _objects(log: str) -> list[dict[str, Any]]:
    """Each line as an object, and each with what every line has."""
    lines = [json.loads(line) for line in log.splitlines()]
    for line in lines:
        assert {"event", "level", "timestamp", "process"} <= line.keys(), line
    return lines


def test_each_line_of_a_life_is_json(tmp_path: Path) -> None:
    """Start, calls, refusals, a worker that is killed, the end."""
    environment = {"TTS_TONE__REAL_TIME_FACTOR": "1", "TTS_LOG_LEVEL": "debug"}
    flags = ("--engine", "tone")
    with running_server(tmp_path, *flags, environment=environment) as server, server.stub() as stub:
        speak(stub, text="One")
        with pytest.raises(grpc.RpcError):
            speak(stub, text="", voice="nobody\n{}")
        call = stub.Synthesize(tts_pb2.SynthesizeRequest(text=_LONG))
        next(call)
        (worker,) = server.workers()
        worker.kill()
        with pytest.raises(grpc.RpcError):
            list(call)
        speak(stub, text="Two")
        left = stub.Synthesize(tts_pb2.SynthesizeRequest(text=_LONG))
        next(left)
        left.cancel()
    assert server.process.returncode == 0
    lines = _objects(server.log)
    events = {line["event"] for line in lines}
    assert {"engine ready", "worker was killed", "call"} <= events
    assert any(event.startswith("stopping") for event in events)
    assert {line["process"] for line in lines} == {"front", "worker:tone"}


def test_piper_and_its_libraries_write_json(speech_server: ServerProcess) -> None:
    with speech_server.stub() as stub:
        speak(stub, text="One")
    # What comes meanwhile may not be there yet to its end.
    whole, _, _ = speech_server.log.rpartition("\n")
    assert "worker:piper" in {line["process"] for line in _objects(whole)}


@pytest.mark.parametrize(
    ("flags", "environment", "words"),
    [
        (["--listen", "192.0.2.1:50051"], {}, "192.0.2.1:50051"),
        (["--engine", "piper"], {"TTS_PIPER__VOICES_DIR": "/nonexistent"}, "/nonexistent"),
    ],
)
def test_a_start_that_fails_says_why_in_json(
    tmp_path: Path, flags: list[str], environment: dict[str, str], words: str
) -> None:
    server = running_server(tmp_path, "--engine", "tone", *flags, environment=environment)
    with pytest.raises(RuntimeError, match="not ready"), server:
        pass
    log = (tmp_path / "server.log").read_text()
    assert any(words in str(line.get("problem")) for line in _objects(log))


_UNCAUGHT = """
import asyncio, gc, threading, warnings
from tts_service.ops.logging import configure_logging
configure_logging("info", "json", process="front")
async def fail():
    raise RuntimeError("in a\\ntask")
async def main():
    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
asyncio.run(main())
def fail_in_thread():
    raise RuntimeError("in a thread")
thread = threading.Thread(target=fail_in_thread, name="worker-bee")
thread.start()
thread.join()
class Odd:
    def __del__(self):
        raise RuntimeError("in a finalizer")
Odd()
warnings.warn("a warning", stacklevel=1)
raise RuntimeError("at the end")
"""


def test_what_nobody_caught_is_one_line_each() -> None:
    process = subprocess.run(
        [sys.executable, "-c", _UNCAUGHT], capture_output=True, text=True, check=False, timeout=30
    )
    assert process.returncode == 1
    lines = _objects(process.stderr)
    told = [(line["level"], line.get("exception", line["event"])) for line in lines]
    for words in ("in a\ntask", "in a thread", "in a finalizer", "a warning", "at the end"):
        assert sum(words in text for _, text in told) == 1, words
    assert told[-1][0] == "critical"
    assert any("never retrieved" in line["event"] for line in lines)


_BREAKING_ENGINE = """
import structlog
from tts_service.engines.tone import ToneEngine

class BreakingRender:
    sample_count = None

    def __iter__(self):
        return self

    def __next__(self):
        structlog.get_logger().warning("about to break")
        raise RuntimeError("broken")

    def cancel(self):
        pass

class BreakingEngine(ToneEngine):
    def render(self, job):
        return BreakingRender()
"""


async def test_a_workers_lines_name_the_request(tmp_path: Path) -> None:
    """Also those that an engine writes in its own threads."""
    (tmp_path / "breaking.py").write_text(_BREAKING_ENGINE)
    info = tmp_path / "breaking-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: breaking\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[tts_service.engines]\nbreaking = breaking:BreakingEngine\n"
    )
    address = f"unix:{tmp_path}/socket"
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from tts_service.engines.worker import main\n"
        f"sys.exit(main(['--engine=breaking', '--listen={address}', '--log-format=json']))"
    )
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stderr=asyncio.subprocess.PIPE
    )
    try:
        connection = Connection("breaking", address)
        await connection.wait_until_warm()
        job = SegmentJob("Hello", (Speaker("tone-low"),), "en")
        with pytest.raises(RenderFailed):
            async with connection.render(job, request_id="find-me"):
                pass
        await connection.close()
    finally:
        worker.terminate()
        _, log = await asyncio.wait_for(worker.communicate(), 30)
    lines = _objects(log.decode())
    for event in ("about to break", "render failed"):
        (line,) = (line for line in lines if line["event"] == event)
        assert line["request_id"] == "find-me"
    assert worker.returncode == 0


def test_texts_are_logged_if_somebody_wants_that(tmp_path: Path) -> None:
    environment = {"TTS_LOG_TEXT": "true"}
    with running_server(tmp_path, "--engine", "tone", environment=environment) as server:
        with server.stub() as stub:
            speak(stub, text="Mellon friend")
        assert wait_until(lambda: '"event": "call"' in server.log, 10)
    lines = _objects(server.log)
    assert any(line["level"] == "warning" and "log_text" in line["event"] for line in lines)
    (text,) = (line for line in lines if line["event"] == "text")
    (call,) = (line for line in lines if line["event"] == "call")
    assert text["text"] == "Mellon friend"
    assert text["request_id"] == call["request_id"]
    assert "text" not in call
