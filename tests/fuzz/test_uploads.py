"""Uploads that mean harm: each is refused or decoded, and nothing else happens."""

import asyncio
import io
import os
import struct
import tempfile
import zipfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest

from audio_codec import Sandbox, SandboxLimits, SandboxRefusedError, SandboxResult
from tests.audio_files import CONTAINER_KINDS, AudioFileKind, audio_file, tone

_MIB = 1024 * 1024
_LIMITS = SandboxLimits(cpu_s=10, wall_s=30)
_TIGHT_LIMITS = SandboxLimits(cpu_s=10, wall_s=30, memory_bytes=32 * _MIB)
_BULK_LIMITS = SandboxLimits(cpu_s=60, wall_s=110, memory_bytes=256 * _MIB)
_CANARY_HZ = 3000.0

pytestmark = pytest.mark.usefixtures("no_process_stays")


async def _run(
    function: str,
    *uploads: bytes,
    job: dict[str, object] | None = None,
    limits: SandboxLimits = _LIMITS,
) -> SandboxResult:
    """Spools the uploads and runs a function over them, as the service does."""
    name = f"tests.fuzz.upload_functions:{function}"
    with ExitStack() as spool:
        files = [spool.enter_context(tempfile.TemporaryFile()) for _ in uploads]
        for file, data in zip(files, uploads, strict=True):
            file.write(data)
            file.seek(0)
        async with await Sandbox.start(name, limits) as sandbox:
            return await sandbox.run(job or {}, files)


def _counts(result: SandboxResult) -> dict[str, int]:
    outcomes = result.report["outcomes"]
    assert isinstance(outcomes, dict)
    return outcomes


async def _outcome(data: bytes) -> str:
    result = await _run("decode_measured", data)
    return str(result.report["outcome"])


def _small_files() -> list[bytes]:
    """One of each container, a few kilobytes each."""
    files = []
    for kind in CONTAINER_KINDS:
        seconds = 0.3 if kind is AudioFileKind.WAV else 1.0
        files.append(audio_file(kind, tone(seconds, 8_000), 8_000, bitrate_bps=16_000))
    return files


def _flac_of_silence(seconds: int) -> bytes:
    return audio_file(AudioFileKind.FLAC, np.zeros(seconds * 48_000, np.float32), 48_000)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """An audio file that no upload may reach."""
    path = tmp_path / "canary.flac"
    path.write_bytes(audio_file(AudioFileKind.FLAC, tone(1, 8_000, frequency_hz=_CANARY_HZ), 8_000))
    return path


async def test_an_honest_upload_passes() -> None:
    data = audio_file(AudioFileKind.FLAC, tone(2, 44_100, channels=2), 44_100)
    result = await _run("decode", data)
    assert result.report == {"sample_rate_hz": 44_100, "channels": 2}
    samples = np.frombuffer(result.blobs[0], np.float32).reshape(2, -1)
    assert np.abs(samples - tone(2, 44_100, channels=2)).max() <= 2**-15


@pytest.mark.parametrize(
    "script",
    [
        "ffconcat version 1.0\nfile {name}\n",
        "ffconcat version 1.0\nfile file:{path}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{name}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{path}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        "<?xml version='1.0'?><MPD><Period><AdaptationSet><Representation>"
        "<BaseURL>{path}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    ],
    ids=["ffconcat", "ffconcat-url", "hls", "hls-url", "sdp", "dash"],
)
@pytest.mark.parametrize("magic", [b"", b"ID3\x04\x00\x00\x00\x00\x00\x00"])
async def test_scripts_and_playlists(
    magic: bytes, script: str, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(canary.parent)
    upload = magic + script.format(name=canary.name, path=canary).encode()
    with pytest.raises(SandboxRefusedError) as caught:
        await _run("decode", upload)
    assert caught.value.reason == "NOT_AUDIO"
    assert str(canary.parent) not in caught.value.message


async def test_scripts_in_the_guise_of_audio(canary: Path) -> None:
    script = f"\nffconcat version 1.0\nfile {canary}\n".encode()
    uploads = [data[:count] + script for data in _small_files() for count in (12, 64)]
    outcomes = await asyncio.gather(*(_outcome(upload) for upload in uploads))
    # A WAV takes any bytes for its samples; they are the script's own.
    assert set(outcomes) <= {"OK", "NOT_AUDIO", "DAMAGED"}
    assert outcomes.count("OK") <= 1


async def test_a_header_of_four_gigabytes_costs_nothing() -> None:
    """The sizes promise 4 GB, at the most that a WAV can promise."""
    samples = np.zeros(24_000, "<i2").tobytes()
    fields = (b"fmt ", 16, 1, 1, 24_000, 48_000, 2, 16, b"data", 0xFFFFFFFF)
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 0xFFFFFFFF, b"WAVE", *fields)
    result = await _run("decode_measured", head + samples, limits=_TIGHT_LIMITS)
    assert result.report["outcome"] == "OK"


@pytest.mark.parametrize("size", [0x3FFFFFFF, 0xFFFFFFF0])
@pytest.mark.parametrize("chunk", [b"fmt ", b"LIST", b"bext"])
async def test_chunks_that_lie_take_no_memory(chunk: bytes, size: int) -> None:
    """libavformat would set some aside; it gets none and the process lives on."""
    wav = audio_file(AudioFileKind.WAV, tone(0.1, 8_000), 8_000)
    head = struct.pack("<4sI8sI", chunk, size, b"INFOINAM", 0x3FFFFFFF)
    lie = wav[:12] + head + wav[12:]
    result = await _run("decode_measured", lie, limits=_TIGHT_LIMITS)
    assert result.report["outcome"] in ("DAMAGED", "NOT_AUDIO")


async def test_a_bomb_is_put_out_early() -> None:
    """Ten minutes of silence are 115 MB of samples in as good as no bytes."""
    bomb = _flac_of_silence(600)
    assert len(bomb) < 200_000
    # The 30 s that are allowed take 5.8 MB.
    result = await _run("decode_measured", bomb, limits=_TIGHT_LIMITS)
    assert result.report["outcome"] == "TOO_LONG"
    assert float(str(result.report["cpu_s"])) < 2


async def test_polyglots_are_what_they_begin_as() -> None:
    mp3 = audio_file(AudioFileKind.MP3, tone(1, 24_000), 24_000)
    wav = audio_file(AudioFileKind.WAV, tone(1, 24_000), 24_000)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme.txt", "hello")
    begin_otherwise = [
        b"%PDF-1.7\n" + mp3,
        archive.getvalue() + mp3,
        b"GIF89a" + bytes(64) + mp3,
        b"<html>" + wav,
        b"#!/bin/sh\n" + wav,
        b"\x7fELF" + wav,
    ]
    outcomes = await asyncio.gather(*(_outcome(upload) for upload in begin_otherwise))
    assert set(outcomes) == {"NOT_AUDIO"}
    # A WAV says where its samples end, and what is behind is left alone.
    assert await _outcome(wav + archive.getvalue()) == "OK"


async def test_nothing_at_all() -> None:
    for upload in (b"", b"\x00", b"RIFF", bytes(100_000)):
        assert await _outcome(upload) == "NOT_AUDIO"


async def test_every_truncation_of_every_container() -> None:
    files = _small_files()
    job: dict[str, object] = {"step_bytes": 64}
    result = await _run("decode_truncated", *files, job=job, limits=_BULK_LIMITS)
    outcomes = _counts(result)
    assert sum(outcomes.values()) == sum(-(-len(data) // 64) for data in files)
    assert set(outcomes) <= {"OK", "NOT_AUDIO", "DAMAGED", "UNSUPPORTED"}
    assert float(str(result.report["slowest_s"])) < 1


async def test_five_thousand_mutants() -> None:
    files = _small_files()
    total = 0
    for seed in (1, 2):
        job: dict[str, object] = {"seed": seed, "count": 2500}
        result = await _run("decode_mutants", *files, job=job, limits=_BULK_LIMITS)
        outcomes = _counts(result)
        total += sum(outcomes.values())
        # Neither did all fail at the door nor did the wounds go unnoticed.
        assert outcomes["OK"] > 250
        assert outcomes["DAMAGED"] > 250
        assert float(str(result.report["slowest_s"])) < 2
    assert total == 5000


async def test_the_front_stays_as_small_as_it_was() -> None:
    """A 4 MB answer, a bomb, and a refusal, again and again."""
    honest = audio_file(AudioFileKind.FLAC, tone(20, 48_000), 48_000)
    bomb = _flac_of_silence(600)
    front = psutil.Process()

    async def round_of_uploads() -> None:
        result = await _run("decode", honest)
        assert len(result.blobs[0]) == 20 * 48_000 * 4
        for upload in (bomb, os.urandom(100_000)):
            with pytest.raises(SandboxRefusedError):
                await _run("decode", upload)

    await round_of_uploads()
    before_bytes, before_files = front.memory_info().rss, front.num_fds()
    for _ in range(5):
        await round_of_uploads()
    assert front.memory_info().rss - before_bytes < 8 * _MIB
    assert front.num_fds() == before_files
