"""`tts voices`: adding, showing and removing voices, and what a person is told."""

import array
import json
import math
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo

from protos.tts.v1 import tts_pb2 as pb
from tests.contract.client_command import read_until, start, tts, wait_for
from tests.contract.client_server import (
    ReceivedUpload,
    ScriptedServer,
    audio_event,
    fail,
    header_event,
    stored_voice,
    summary_event,
    whole_stream,
)
from tts_client.command.app import app
from tts_client.command.picture import levels_dbfs

NAMED = ("--name", "Zoe", "--language", "en-GB")
RATE_HZ = 22_050


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with three recordings in it."""
    for name, content in (("calm.wav", b"calm"), ("glad.mp3", b"glad"), ("sad=b.wav", b"sad")):
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(text: str) -> dict[str, list[str]]:
    """The rows of a printed table by their first cell."""
    rows = [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.split("\n")
    ]
    return {row[0]: row[1:] for row in rows if row}


def test_add_uploads_and_prints_the_report(server: ScriptedServer) -> None:
    result = tts(server, "voices", "add", "calm.wav", *NAMED, "--id", "zoe")

    assert result.exit_code == 0, result.output
    (upload,) = server.uploads
    assert upload.recordings == [("", b"calm")]
    assert (upload.metadata.display_name, upload.metadata.language) == ("Zoe", "en-GB")
    assert upload.metadata.voice_id == "zoe"
    assert upload.metadata.request_id
    assert not upload.metadata.HasField("consent")
    rows = table(result.stdout)
    assert rows["voice"] == ["zoe"]
    assert rows["stored"] == ["2026-01-02 03:04:05 UTC"]
    assert rows["recordings of"] == ["neutral"]
    assert rows["length"] == ["15.2 s"]
    assert rows["loudness before"] == ["-31.2 LUFS"]
    assert rows["loudness kept"] == ["-20.0 LUFS"]
    assert rows["clipped"] == ["0.012%"]
    assert rows["signal to noise"] == ["28 dB"]
    assert "Warning (neutral): background noise: -28 dB; record in a quieter room" in result.stdout
    assert 'tts say --voice zoe "Hello."' in result.stderr


def test_styles_are_given_for_all_files_or_each(server: ScriptedServer) -> None:
    words = ("calm.wav", "sung=glad.mp3", "sad=b.wav", "sad=sad=b.wav")

    result = tts(server, "voices", "add", *words, *NAMED, "--style", "calm")

    assert result.exit_code == 0, result.output
    # A file whose own name looks like STYLE=FILE is taken by its name.
    assert server.uploads[0].recordings == [
        ("calm", b"calm"),
        ("calm", b"sad"),
        ("sung", b"glad"),
        ("sad", b"sad"),
    ]
    rows = table(result.stdout)
    assert rows["recordings of"] == ["calm", "sad", "sung"]
    assert rows["signal to noise"] == ["28 dB", "28 dB", "no pauses to tell"]


def test_a_consent_is_given_now(server: ScriptedServer) -> None:
    result = tts(
        server,
        *("voices", "add", "calm.wav", *NAMED),
        *("--consent-person", "Zoe Lee", "--consent-statement", "May speak."),
        *("--attested-by", "Ann Ray"),
    )

    assert result.exit_code == 0, result.output
    consent = server.uploads[0].metadata.consent
    assert (consent.person, consent.statement) == ("Zoe Lee", "May speak.")
    assert consent.attested_by == "Ann Ray"
    age = datetime.now(UTC) - consent.consent_time.ToDatetime(UTC)
    assert 0 <= age.total_seconds() < 60


def test_add_as_json(server: ScriptedServer) -> None:
    result = tts(server, "voices", "add", "calm.wav", *NAMED, "--json")

    voice = json.loads(result.stdout)
    assert voice["id"] == "made-by-server"
    assert voice["origin"] == "uploaded"
    assert voice["create_time"] == "2026-01-02T03:04:05+00:00"
    assert voice["quality"][0]["warnings"][0]["code"] == "BACKGROUND_NOISE"
    assert json.loads(tts(server, "voices", "show", voice["id"], "--json").stdout) == voice
    assert json.loads(tts(server, "voices", "--json").stdout)[-1] == voice


def test_a_voice_that_no_engine_speaks_yet_is_told_so(server: ScriptedServer) -> None:
    def script(upload: ReceivedUpload, context: Any) -> Any:
        response = stored_voice(upload, context)
        response.voice.engine = ""
        response.voice.sample_rate_hz = 0
        return response

    server.upload_script = script
    result = tts(server, "voices", "add", "calm.wav", *NAMED)

    assert table(result.stdout)["engine"] == ["none yet: no engine that clones is connected"]
    assert result.stderr == ""
    assert "none yet" in tts(server, "voices").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["add", "none.wav", *NAMED], "there is no file 'none.wav'"),
        (["add", "sad=none.wav", *NAMED], "there is no file 'none.wav'"),
        (["add", ".", *NAMED], "there is no file '.'"),
        (["add", *NAMED], "Missing argument"),
        (["add", "calm.wav", "--name", "Zoe"], "Missing option '--language'"),
        (["add", "calm.wav", "--language", "en"], "Missing option '--name'"),
        (["add", "calm.wav", *NAMED, "--attested-by", "Ann"], "needs all of --consent-person"),
        (["--json", "list"], "Options of `list` stand after it"),
        (["show", "zoe", "--plot", "zoe.gif"], "'zoe.gif' must end in .png, .svg, .pdf"),
        (["show"], "Missing argument 'ID'"),
        (["sing"], "No such command"),
    ],
)
def test_wrong_use_is_explained_before_any_call(
    server: ScriptedServer, words: list[str], message: str
) -> None:
    result = tts(server, "voices", *words)

    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert server.uploads == []


@pytest.mark.parametrize(
    ("code", "details", "exit_code", "message"),
    [
        (
            grpc.StatusCode.ALREADY_EXISTS,
            [ResourceInfo(resource_name="zoe")],
            2,
            "Error: as told\nChoose another id with --id.\n",
        ),
        (
            grpc.StatusCode.INVALID_ARGUMENT,
            [
                BadRequest(
                    field_violations=[
                        {"field": "metadata.consent", "description": "is required here"},
                        {"field": "metadata.voice_id", "description": "must begin with a letter"},
                        {"field": "recording.style", "description": "is too long"},
                    ]
                )
            ],
            2,
            "Error: --consent-person, --consent-statement and --attested-by: is required here\n"
            "--id: must begin with a letter\n--style: is too long\n",
        ),
        (grpc.StatusCode.INVALID_ARGUMENT, [ErrorInfo(reason="SILENT")], 2, "Error: as told\n"),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            [ErrorInfo(reason="STORAGE_FULL")],
            1,
            "Error: as told\n",
        ),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            [ErrorInfo(reason="BUSY"), RetryInfo(retry_delay={"seconds": 2})],
            1,
            "Error: as told\nTry again in 2 s.\n",
        ),
    ],
    ids=["taken", "fields", "silent", "disk full", "busy"],
)
def test_refusals_are_told_in_words_that_help(
    server: ScriptedServer, code: grpc.StatusCode, details: list[Any], exit_code: int, message: str
) -> None:
    def script(upload: ReceivedUpload, context: Any) -> Any:
        upload.read_all()
        fail(context, code, "as told", *details)

    server.upload_script = script
    result = tts(server, "voices", "add", "calm.wav", *NAMED)

    assert (result.exit_code, result.stdout, result.stderr) == (exit_code, "", message)


def test_no_server_has_its_own_exit_code() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        words = ("voices", "add", "calm.wav", *NAMED)
        result = CliRunner().invoke(app, ["--server", address, *words])

    assert result.exit_code == 3
    assert f"No server at {address}" in result.stderr


def test_list_is_what_voices_alone_does(server: ScriptedServer) -> None:
    server.voices[4].styles.extend(["neutral", "sad"])
    words = ("--language", "en", "--engine", "tone")

    alone = tts(server, "voices", *words)
    spelled_out = tts(server, "voices", "list", *words)

    assert alone.exit_code == 0
    assert alone.stdout == spelled_out.stdout
    assert table(alone.stdout)["emil"][-1] == "neutral, sad"
    assert {(r.language, r.engine) for r in server.list_requests} == {("en", "tone")}
    as_json = tts(server, "voices", "list", "--json").stdout
    assert [voice["id"] for voice in json.loads(as_json)] == ["ada", "bob", "cleo", "dora", "emil"]


def test_show_one_voice_or_none(server: ScriptedServer) -> None:
    shown = tts(server, "voices", "show", "bob")
    none = tts(server, "voices", "show", "nobody")

    assert table(shown.stdout)["languages"] == ["en-US, en-GB"]
    assert "recordings" not in shown.stdout, "an engine's voice has none"
    assert none.exit_code == 2
    assert (
        none.stderr == "Error: no voice 'nobody'\n`tts voices` lists the voices of this server.\n"
    )


def test_remove_without_asking(server: ScriptedServer) -> None:
    tts(server, "voices", "add", "calm.wav", *NAMED, "--id", "zoe")

    result = tts(server, "voices", "remove", "zoe", "--yes")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "zoe: deleted\n")
    assert server.deleted == ["zoe"]
    again = tts(server, "voices", "remove", "zoe", "--yes")
    assert again.exit_code == 2
    assert "no voice 'zoe'" in again.stderr
    engines = tts(server, "voices", "remove", "ada", "--yes")
    assert (engines.exit_code, engines.stderr) == (1, "Error: ada is the engine's\n")


def test_remove_deletes_nothing_when_nobody_can_be_asked(server: ScriptedServer) -> None:
    tts(server, "voices", "add", "calm.wav", *NAMED, "--id", "zoe")

    result = tts(server, "voices", "remove", "zoe", stdin="y\n")

    assert result.exit_code == 2
    assert "give --yes" in result.stderr
    assert server.deleted == []


@pytest.mark.parametrize(("answer", "deleted"), [(b"y\n", ["zoe"]), (b"n\n", []), (b"\n", [])])
def test_remove_asks_on_a_terminal(
    server: ScriptedServer, answer: bytes, deleted: list[str]
) -> None:
    tts(server, "voices", "add", "calm.wav", *NAMED, "--id", "zoe")
    ours, theirs = pty.openpty()
    try:
        words = ("voices", "remove", "zoe")
        with start(*words, server=server, stdin=theirs, stderr=theirs) as process:
            read_until(ours, b"Delete zoe (Zoe) for good? [y/N]")
            os.write(ours, answer)
            assert process.wait(10) == (0 if deleted else 1)
    finally:
        os.close(ours)
        os.close(theirs)
    assert server.deleted == deleted


def test_a_terminal_sees_how_far_the_upload_has_come(server: ScriptedServer, files: Path) -> None:
    (files / "long.wav").write_bytes(bytes(20_000_000))
    go_on, finish = threading.Event(), threading.Event()

    def script(upload: ReceivedUpload, context: Any) -> Any:
        while sum(upload.piece_sizes) < 1_000_000:
            upload.read()
        go_on.wait(10)
        upload.read_all()
        finish.wait(10)
        return stored_voice(upload, context)

    server.upload_script = script
    ours, theirs = pty.openpty()
    try:
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
        words = ("voices", "add", "long.wav", *NAMED, "--json")
        with start(
            *words, server=server, stderr=theirs, stdout=subprocess.PIPE, env=environment
        ) as process:
            read_until(ours, b"of 20.0 MB sent")
            go_on.set()
            read_until(ours, b"20.0 MB sent, the server is at work")
            finish.set()
            assert process.stdout is not None
            assert json.loads(process.stdout.read())["id"] == "made-by-server"
            assert process.wait(10) == 0
    finally:
        os.close(ours)
        os.close(theirs)


def test_an_interrupt_gives_the_upload_up(server: ScriptedServer) -> None:
    def script(upload: ReceivedUpload, context: Any) -> Any:
        upload.read_all()
        upload.ended.wait(10)
        return stored_voice(upload, context)

    server.upload_script = script
    with start("voices", "add", "calm.wav", *NAMED, server=server) as process:
        wait_for(lambda: server.uploads and server.uploads[0].recordings)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b"Interrupted.\n"
    assert server.uploads[0].ended.wait(5)


def spoken_tone(call: Any, _context: Any) -> Iterator[pb.SynthesizeResponse]:
    """A quarter of silence, then half a full-scale sine of 1 kHz."""
    count = 2 * RATE_HZ
    samples = array.array(
        "h",
        (
            round(16_384 * math.sin(2 * math.pi * 1_000 * i / RATE_HZ)) if i > count // 4 else 0
            for i in range(count)
        ),
    )
    data = samples.tobytes()
    yield header_event(encoding=pb.ENCODING_PCM_S16LE)
    yield audio_event(0, data, end_character=5)
    yield summary_event([data])


def pixels(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG whose chunks are all sound (ISO/IEC 15948)."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, kinds = 8, []
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        body = png[at + 4 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(body),)
        kinds.append(body[:4])
        at += 12 + length
    assert kinds[-1] == b"IEND"
    width, height = struct.unpack_from(">II", png, 16)
    return width, height


def test_show_draws_what_the_voice_says(server: ScriptedServer, files: Path) -> None:
    server.script = spoken_tone
    server.voices[0].languages[:] = ["de-AT", "en"]

    result = tts(server, "voices", "show", "ada", "--plot", "ada.png")

    assert result.exit_code == 0, result.output
    request = server.calls[0].request
    assert (request.voice, request.format.encoding) == ("ada", pb.ENCODING_PCM_S16LE)
    assert request.text.startswith("Zwölf Boxkämpfer")
    width, height = pixels((files / "ada.png").read_bytes())
    assert width >= 600
    assert height >= 600
    assert table(result.stdout)["voice"] == ["ada"]
    assert result.stderr == "ada.png: how ada sounds\n"


def test_a_picture_may_be_a_drawing(server: ScriptedServer, files: Path) -> None:
    server.script = spoken_tone
    server.voices[0].languages[:] = ["tlh"]
    server.voices[0].id = "a$b$"

    result = tts(server, "voices", "show", "a$b$", "--plot", "a.SVG")

    assert result.exit_code == 0, result.output
    assert "quick brown fox" in server.calls[0].request.text
    assert b"<svg" in (files / "a.SVG").read_bytes()


def test_a_voice_that_does_not_speak_makes_no_picture(server: ScriptedServer, files: Path) -> None:
    def refuse(_call: Any, context: Any) -> Any:
        fail(context, grpc.StatusCode.FAILED_PRECONDITION, "no engine clones")

    for script, message in (
        (refuse, "no engine clones"),
        (lambda _call, _context: whole_stream([]), "ada did not say enough for a picture."),
        (lambda _call, _context: [header_event(), audio_event(0, b"xx")], "not whole"),
    ):
        server.script = script
        result = tts(server, "voices", "show", "ada", "--plot", "ada.png")
        assert result.exit_code == 1
        assert message in result.stderr
        assert table(result.stdout)["voice"] == ["ada"]
    assert "ada.png" not in os.listdir(files)


def test_without_its_extra_a_picture_says_what_to_install(server: ScriptedServer) -> None:
    code = (
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'matplotlib' else real(name, *a)\n"
        "import tts_client.__main__"
    )
    words = ["--server", server.address, "voices", "show", "ada", "--plot", "ada.png"]
    result = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert (
        result.stderr == "Error: A picture needs an extra: pip install 'PATH_OF_THE_CLONE[plot]'\n"
    )


def test_levels_are_those_of_known_signals() -> None:
    sine = [math.sin(2 * math.pi * 10 * i / 1_000) for i in range(1_000)]
    quiet = [sample / 10 for sample in sine]

    assert levels_dbfs([1.0, -1.0] * 50, 100) == pytest.approx([0])
    assert levels_dbfs(sine + quiet, 1_000) == pytest.approx([-3.0103, -23.0103], abs=1e-3)
    assert levels_dbfs([0.0] * 250, 100) == pytest.approx([-100, -100])


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tts voices re", ["plain,remove"]),
        ("tts voices show d", ["plain,dora"]),
        ("tts voices remove d", []),
        ("tts voices remove z", ["plain,zoe"]),
        ("tts voices add cal", ["file,cal"]),
    ],
)
def test_completion_offers_commands_voices_and_files(
    server: ScriptedServer, typed: str, offered: list[str]
) -> None:
    tts(server, "voices", "add", "calm.wav", *NAMED, "--id", "zoe")
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
    assert result.stdout.split() == offered


def test_say_takes_a_style(server: ScriptedServer) -> None:
    result = tts(server, "say", "Hi", "--voice", "zoe", "--style", "sad", "-q", "-o", "a.mp3")

    assert result.exit_code == 0, result.output
    assert (server.calls[0].request.voice, server.calls[0].request.style) == ("zoe", "sad")


def test_info_tells_the_limits_of_uploads(server: ScriptedServer) -> None:
    assert "uploads of 50.0 MB with consent" in tts(server, "info").stdout


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, tts_client.command.app\n"
        "print({m.split('.')[0] for m in sys.modules} & {'numpy', 'matplotlib', 'rich'})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["add", "list", "remove", "show", "--language en", "tts say --voice me"]),
        (["add"], ["[STYLE=]FILE...", "--consent-person", "neutral=calm.flac", "quiet room"]),
        (["show"], ["--plot me.png", "the voice speaks a short sentence", "extra `plot`"]),
        (["remove"], ["--yes", "asked first"]),
        (["list"], ["--json", "--engine"]),
    ],
)
def test_help_can_be_learnt_from(words: list[str], expected: list[str]) -> None:
    result = CliRunner().invoke(app, ["voices", *words, "--help"])

    assert result.exit_code == 0
    for word in expected:
        assert word in " ".join(result.output.split())
