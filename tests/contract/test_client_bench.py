"""`tts bench` against the real server, and against one that fails when it is told to."""

import json
import os
import pty
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from protos.tts.v1 import tts_pb2 as pb
from tests.contract.client_command import endless, read_until, start, tts, wait_for
from tests.contract.client_server import (
    ScriptedServer,
    audio_event,
    fail,
    header_event,
    summary_event,
    whole_stream,
)
from tests.server_process import ServerProcess, running_server
from tts_client.command.app import app
from tts_client.load import SENTENCES

# Long enough for several calls; what they measure is not looked at.
_SHORT = ("--duration", "0.5", "--warm-up", "0")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def bench(server: ServerProcess, *words: str) -> Result:
    return CliRunner().invoke(app, ["--server", server.address, "bench", *words])


def after_the_first_call(script: Any) -> Any:
    """The first call goes well; `script` serves the others."""
    calls: list[object] = []

    def serve(call, context):
        calls.append(call)
        yield from (whole_stream([b"one"]) if len(calls) == 1 else script(call, context))

    return serve


def refuse(_call, context):
    fail(
        context,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "too many calls",
        ErrorInfo(reason="QUEUE_FULL", domain="tts"),
    )
    yield


def test_callers_hear_a_real_server(tone_server: ServerProcess, tmp_path: Path) -> None:
    path = tmp_path / "load.json"

    result = bench(
        *(tone_server, "--callers", "3", "--json", str(path), "--format", "pcm"),
        *("--duration", "2", "--warm-up", "0.2", "--seed", "7"),
    )

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("3 callers for 2.0 s, ")
    for row in ("failed calls", "calls with underruns", "seconds of audio each second"):
        assert row in result.stdout
    assert "first audio, ms" in result.stdout
    assert "longest gap, ms" in result.stdout
    document = json.loads(path.read_text())
    assert document["server"] == tone_server.address
    assert document["server_version"]
    assert document["interrupted"] is False
    settings = document["settings"]
    assert (settings["callers"], settings["seed"], settings["duration_s"]) == (3, 7, 2)
    assert settings["texts"] == list(SENTENCES)
    assert settings["options"]["cache"] == "bypass"
    assert settings["options"]["format"] == "pcm_s16le"
    (load,) = document["loads"]
    assert load["calls"] == len(load["listenings"]) >= 3
    assert load["elapsed_s"] == 2.0
    assert load["audio_per_s"] == load["audio_s"] / 2.0 > 0
    for heard in load["listenings"]:
        assert heard["text"] in SENTENCES
        assert heard["error"] == ""
        assert heard["audio_ms"] >= 60 * len(heard["text"]) * 0.9  # a character is 60 ms
        assert 0 < heard["first_audio_ms"] <= heard["whole_ms"]
        assert 0 <= heard["longest_gap_ms"] <= heard["whole_ms"]
    assert os.listdir(tmp_path) == ["load.json"]


def test_arrivals_at_a_real_server(tone_server: ServerProcess, tmp_path: Path) -> None:
    path = tmp_path / "load.json"

    result = bench(tone_server, "Hi.", "--rate", "20", "--json", str(path), *_SHORT)

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("20 calls a second for 0.5 s, ")
    (load,) = json.loads(path.read_text())["loads"]
    assert (load["rate_per_s"], load["callers"]) == (20, 0)
    assert {heard["text"] for heard in load["listenings"]} == {"Hi."}


def test_a_server_that_speaks_too_slowly_has_time_for_nobody(tmp_path: Path) -> None:
    """Its audio takes one and a half times as long to make as to hear."""
    slow = {"TTS_TONE__REAL_TIME_FACTOR": "1.5"}
    path = tmp_path / "load.json"
    words = ("Two words.", "--ramp", "--json", str(path), *_SHORT)
    with running_server(tmp_path, "--engine", "tone", environment=slow) as server:
        result = bench(server, *words)

    assert result.exit_code == 0, result.output
    assert "0 callers heard everything in time. With 1, " in result.stdout
    assert "had an underrun" in result.stdout
    document = json.loads(path.read_text())
    assert document["callers_in_time"] == 0
    assert [load["callers"] for load in document["loads"]] == [1]
    assert document["loads"][0]["listenings"][0]["underrun_ms"] > 0


def test_a_ramp_ends_where_calls_are_refused(server: ScriptedServer) -> None:
    open_calls = 0
    lock = threading.Lock()

    def script(call, context):
        nonlocal open_calls
        with lock:
            open_calls += 1
            refused = open_calls > 3
        try:
            if refused:
                yield from refuse(call, context)
            # One frame has no gaps. The pause lets all callers be there at once.
            call.ended.wait(0.05)
            yield from whole_stream([b"one"])
        finally:
            with lock:
                open_calls -= 1

    server.script = script

    result = tts(server, "bench", "--ramp", *_SHORT)

    assert result.exit_code == 1, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    steps = {line[0]: line[-1] for line in lines if line and line[-1] in ("yes", "no")}
    assert steps == {"1": "yes", "2": "yes", "3": "yes", "4": "no"}
    assert "RESOURCE_EXHAUSTED: too many calls" in result.stdout
    assert "3 callers heard everything in time. With 4, " in result.stdout
    assert result.stdout.endswith(" calls failed.\n")


def test_every_option_reaches_the_request(server: ScriptedServer) -> None:
    options = "--voice ada --language en-GB --sample-rate 22.05k --bitrate 24k --speed 1.25".split()

    result = tts(server, "bench", "One.", "Two.", "--format", "mp3", *options, *_SHORT)

    assert result.exit_code == 0, result.output
    assert {call.request.text for call in server.calls} == {"One.", "Two."}
    for call in server.calls:
        request = call.request
        assert (request.voice, request.language) == ("ada", "en-GB")
        assert request.format.encoding == pb.ENCODING_MP3
        assert (request.format.sample_rate_hz, request.format.bitrate_bps) == (22_050, 24_000)
        assert request.prosody.speed == 1.25
        assert request.cache == pb.CACHE_MODE_BYPASS


@pytest.mark.parametrize(
    ("name", "mode"),
    [("default", pb.CACHE_MODE_UNSPECIFIED), ("only", pb.CACHE_MODE_ONLY)],
)
def test_the_cache_is_used_if_one_asks_for_it(
    server: ScriptedServer, name: str, mode: "pb.CacheMode.ValueType"
) -> None:
    result = tts(server, "bench", "--cache", name, *_SHORT)

    assert result.exit_code == 0, result.output
    assert {call.request.cache for call in server.calls} == {mode}


@pytest.mark.parametrize("how", ["a file", "a pipe"])
def test_texts_may_come_line_by_line(server: ScriptedServer, tmp_path: Path, how: str) -> None:
    lines = "\ufeffGrüße an alle.\r\n\n  Bis bald.  \n"
    path = tmp_path / "texts.txt"
    path.write_text(lines)

    result = tts(
        *(server, "bench", "-f", "-" if how == "a pipe" else str(path), *_SHORT), stdin=lines
    )

    assert result.exit_code == 0, result.output
    assert {call.request.text for call in server.calls} == {"Grüße an alle.", "Bis bald."}


def test_failed_calls_are_told_by_status_and_not_tried_again(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.script = after_the_first_call(refuse)
    path = tmp_path / "load.json"

    result = tts(server, "bench", "--json", str(path), *_SHORT)

    assert result.exit_code == 1, result.output
    assert "RESOURCE_EXHAUSTED: too many calls" in result.stdout
    (load,) = json.loads(path.read_text())["loads"]
    assert load["errors"] == {"RESOURCE_EXHAUSTED": load["calls"]}
    assert load["first_audio_ms"]["p95"] is None
    assert len(server.calls) == 1 + load["calls"]


def test_a_stream_that_is_cut_off_is_a_failed_call(server: ScriptedServer) -> None:
    server.script = after_the_first_call(lambda *_: whole_stream([b"one", b"two"])[:-1])

    result = tts(server, "bench", *_SHORT)

    assert result.exit_code == 1, result.output
    assert "TruncatedStream" in result.stdout


def test_calls_beyond_the_limit_and_calls_beyond_their_time(server: ScriptedServer) -> None:
    server.script = after_the_first_call(endless)

    result = tts(
        *(server, "bench", "--rate", "50", "--in-flight-limit", "2", "--timeout", "1", *_SHORT)
    )

    assert result.exit_code == 1, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["DEADLINE_EXCEEDED", "2"] in rows
    (not_started,) = [int(row[1]) for row in rows if row[:1] == ["NOT_STARTED"]]
    assert ["failed", "calls", str(not_started + 2)] in rows
    assert len(server.calls) == 3


def test_what_the_server_refuses_ends_it_before_the_clock_starts(
    server: ScriptedServer, tmp_path: Path
) -> None:
    def script(_call, context):
        violation = BadRequest.FieldViolation(field="format.sample_rate_hz", description="no")
        detail = BadRequest(field_violations=[violation])
        fail(context, grpc.StatusCode.INVALID_ARGUMENT, "bad", detail)
        yield

    server.script = script

    result = tts(server, "bench", "--json", str(tmp_path / "load.json"))

    assert result.exit_code == 2
    assert result.stderr == "Error: --sample-rate: no\n"
    assert len(server.calls) == 1
    assert os.listdir(tmp_path) == []


def test_no_server_is_told_as_everywhere() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        result = CliRunner().invoke(app, ["--server", address, "bench"])
    assert result.exit_code == 3
    assert f"No server at {address}" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--callers", "2", "--rate", "3"], 2, "one of --callers, --rate and --ramp"),
        (["--callers", "1", "--ramp"], 2, "one of --callers, --rate and --ramp"),
        (["--rate", "3", "--play-out"], 2, "--play-out is for --callers and --ramp"),
        (["--callers", "0"], 2, "--callers"),
        (["--rate", "24k"], 2, "--rate"),
        (["--rate", "24000"], 2, "--rate"),
        (["--duration", "0"], 2, "--duration"),
        (["--duration", "nan"], 2, "'nan' is no number"),
        (["--warm-up", "inf"], 2, "'inf' is no number"),
        (["--timeout", "0"], 2, "--timeout"),
        (["--cache", "none"], 2, "'default', 'bypass', 'refresh', 'only'"),
        (["Hi.", "-f", "-"], 2, "not both"),
        (["-f", "-"], 2, "no text in the file"),
        (["--json", "missing/load.json"], 1, "No such file or directory"),
    ],
)
def test_wrong_use_is_explained_before_any_call(
    server: ScriptedServer, words: list[str], code: int, message: str
) -> None:
    result = tts(server, "bench", *words)

    assert result.exit_code == code
    assert message in result.output
    assert server.calls == []


@pytest.mark.parametrize("how", [["--callers", "2"], ["--rate", "50"], ["--ramp"]])
def test_an_interrupt_reports_what_was_measured(
    server: ScriptedServer, tmp_path: Path, how: list[str]
) -> None:
    server.script = script_of_short_calls_then_endless_ones(4)
    path = tmp_path / "load.json"
    words = ("bench", *how, "--warm-up", "0", "--json", str(path))

    with start(*words, server=server, stdout=subprocess.PIPE) as process:
        wait_for(lambda: sum(call.ended.is_set() for call in server.calls) >= 4)
        wait_for(lambda: len(server.calls) > 4)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)

    assert process.returncode == 130, err
    assert err == b"Interrupted.\n"
    assert b"cut off" in out
    if "--ramp" in how:
        assert b"0 callers heard everything in time." in out
        assert b"It was interrupted with 1 caller." in out
    document = json.loads(path.read_text())
    assert document["interrupted"] is True
    (load,) = document["loads"]
    assert 1 <= load["calls"] <= 3  # the first one of all is not measured
    assert load["unfinished"] >= 1
    assert load["errors"] == {}
    wait_for(lambda: all(call.ended.is_set() for call in server.calls))


def script_of_short_calls_then_endless_ones(count: int) -> Any:
    calls: list[object] = []

    def script(call, context):
        calls.append(call)
        yield from (whole_stream([b"one"]) if len(calls) <= count else endless(call, context))

    return script


def test_an_interrupt_before_the_clock_starts_ends_it(server: ScriptedServer) -> None:
    server.script = endless
    with start("bench", server=server, stdout=subprocess.PIPE) as process:
        wait_for(lambda: server.calls)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert (out, err) == (b"", b"Interrupted.\n")


def test_a_terminal_sees_how_it_is_going(server: ScriptedServer) -> None:
    def script(call, _context):
        yield header_event()
        yield audio_event(0, b"one")
        call.ended.wait(0.01)
        yield summary_event([b"one"])

    server.script = script
    ours, theirs = pty.openpty()
    try:
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
        words = ("bench", "--callers", "2", "--duration", "2", "--warm-up", "0")
        with start(
            *words, server=server, stderr=theirs, stdout=subprocess.PIPE, env=environment
        ) as process:
            seen = read_until(ours, b"first audio p95")
            assert b"2 callers, " in seen
            assert b"failed 0, underruns 0" in seen
            assert process.wait(10) == 0
            assert process.stdout is not None
            assert process.stdout.read().startswith(b"2 callers for 2.0 s, ")
    finally:
        os.close(ours)
        os.close(theirs)
