"""Nothing gets out of a sandbox but an answer, and no process of it stays."""

import asyncio
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import psutil
import pytest

from audio_codec import (
    Sandbox,
    SandboxDiedError,
    SandboxLimits,
    SandboxRefusedError,
    SandboxResult,
    SandboxStartError,
)
from tests.audio_files import AudioFileKind, audio_file, tone

_LIMITS = SandboxLimits(cpu_s=5, wall_s=20)

pytestmark = pytest.mark.usefixtures("no_process_stays")


def _opened(path: Path) -> BinaryIO:
    return open(path, "r+b")


async def _run(
    function: str,
    job: dict[str, object] | None = None,
    files: Sequence[int | BinaryIO] = (),
    *,
    limits: SandboxLimits = _LIMITS,
) -> SandboxResult:
    name = f"tests.faults.sandbox_functions:{function}"
    async with await Sandbox.start(name, limits) as sandbox:
        return await sandbox.run(job or {}, files)


async def test_job_and_files_go_in_and_the_answer_comes_out(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"1" * 1_000_000)
    (tmp_path / "two").write_bytes(b"")
    with _opened(tmp_path / "one") as one, _opened(tmp_path / "two") as two:
        result = await _run("read_files", {"name": "Zoë", "n": [1, None]}, [one, two.fileno()])
    assert result.report["job"] == {"name": "Zoë", "n": [1, None]}
    assert result.report["threads"] == "1"
    assert result.blobs == [b"1" * 1_000_000, b""]


async def test_a_large_job_arrives_whole() -> None:
    limits = SandboxLimits(max_report_bytes=4_000_000)
    result = await _run("read_files", {"text": "x" * 2_000_000}, limits=limits)
    assert result.report["job"] == {"text": "x" * 2_000_000}


async def test_a_refusal_keeps_its_reason() -> None:
    with pytest.raises(SandboxRefusedError) as caught:
        await _run("refuse")
    assert caught.value.reason == "TOO_LONG"
    assert caught.value.message == "The audio is longer than 3 s."
    with pytest.raises(SandboxRefusedError) as caught:
        await _run("refuse_at_length")
    assert len(caught.value.message) == 1000


async def test_every_door_is_barred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "mellon")
    canary = tmp_path / "canary.flac"
    canary.write_bytes(audio_file(AudioFileKind.FLAC, tone(1, 8000), 8000))
    upload = tmp_path / "upload"
    upload.write_bytes(b"as it was")
    with _opened(upload) as file:
        result = await _run("try_doors", {"canary": str(canary)}, [file])
    outcomes = result.report["outcomes"]
    assert isinstance(outcomes, dict)
    assert outcomes.pop("write into the upload") == "EFBIG"
    # It asks for a number past the limit.
    assert outcomes.pop("duplicate") in ("EINVAL", "EMFILE")
    assert set(outcomes.values()) == {"EMFILE"}, outcomes
    assert upload.read_bytes() == b"as it was"
    assert sorted(os.listdir(tmp_path)) == ["canary.flac", "upload"]
    assert "mellon" not in str(result.report["environment"])
    assert result.report["folder"] == "/"


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("fail", "LookupError: a bug of ours"),
        ("allocate", "MemoryError"),
        ("recurse", "RecursionError"),
        ("report_nan", "ValueError"),
        ("abort", "SIGABRT"),
        ("crash", "SIGSEGV"),
        ("leave", "status 0"),
        ("answer_at_length", "blobs of 100000000 bytes"),
        ("report_at_length", "a report of 100000"),
        ("answer_in_pieces", "report of|too many blobs"),
        ("no_such_function", "AttributeError"),
    ],
)
async def test_failures_are_told_and_contained(function: str, told: str) -> None:
    rss_before = psutil.Process().memory_info().rss
    with pytest.raises(SandboxDiedError, match=told):
        await _run(function)
    assert psutil.Process().memory_info().rss - rss_before < 8_000_000


@pytest.mark.parametrize("warm_up", ["fail_early", "leave_early", "no_such_function"])
async def test_a_job_is_not_blamed_for_a_start_that_fails(warm_up: str) -> None:
    functions = "tests.faults.sandbox_functions"
    sandbox = await Sandbox.start(
        f"{functions}:read_files", _LIMITS, warm_up=f"{functions}:{warm_up}"
    )
    with pytest.raises(SandboxStartError):
        await sandbox.run({})


async def test_an_endless_loop_ends_at_the_cpu_limit() -> None:
    began = time.monotonic()
    with pytest.raises(SandboxDiedError, match="SIGXCPU"):
        await _run("loop", limits=SandboxLimits(cpu_s=1, wall_s=20))
    assert time.monotonic() - began < 15


async def test_a_sleeper_ends_at_the_wall_limit() -> None:
    began = time.monotonic()
    with pytest.raises(SandboxDiedError, match=r"longer than 0\.3 s"):
        await _run("sleep", limits=SandboxLimits(wall_s=0.3))
    assert time.monotonic() - began < 10


def test_a_limit_that_holds_already_is_not_raised() -> None:
    # In a process of its own, for what is lowered stays so. Root might raise it.
    code = (
        "import resource; from audio_codec.sandbox_child import _limit; "
        "resource.setrlimit(resource.RLIMIT_CPU, (500, 500)); "
        "_limit(resource.RLIMIT_CPU, 1000, 1001); "
        "assert resource.getrlimit(resource.RLIMIT_CPU) == (500, 500); "
        "_limit(resource.RLIMIT_CPU, 100, 101); "
        "assert resource.getrlimit(resource.RLIMIT_CPU) == (100, 101)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_a_slow_start_ends_at_its_limit() -> None:
    sandbox = await Sandbox.start(
        "tests.faults.sandbox_functions:read_files",
        SandboxLimits(start_s=0.3),
        warm_up="tests.faults.sandbox_functions:dawdle",
    )
    with pytest.raises(SandboxStartError, match=r"not ready within 0\.3 s"):
        await sandbox.run({})
    assert not psutil.pid_exists(sandbox.pid)


async def test_the_warm_up_still_has_its_freedom() -> None:
    async with await Sandbox.start(
        "tests.faults.sandbox_functions:try_doors",
        _LIMITS,
        warm_up="tests.faults.sandbox_functions:remember",
    ) as sandbox:
        with _opened(Path(os.devnull)) as file:
            result = await sandbox.run({"canary": os.devnull}, [file])
    environment = result.report["environment"]
    assert isinstance(environment, dict)
    assert environment["WARM"] == "yes"


def _frame(body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + body


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xff\xff\xff",
        b"\x00",
        _frame(b""),
        _frame(b"no json"),
        _frame(b"\xff\xfe{}"),
        _frame(b"[" * 100_000),
        _frame(b"[]"),
        _frame(b"{}"),
        _frame(b'{"report": 1, "blob_bytes": []}'),
        _frame(b'{"report": {}, "blob_bytes": [-1]}'),
        _frame(b'{"report": {}, "blob_bytes": [true]}'),
        _frame(b'{"report": {}, "blob_bytes": ["1"]}'),
        _frame(b'{"report": {}, "blob_bytes": [1e3]}'),
        _frame(b'{"report": {}, "blob_bytes": [99999999999999999999]}'),
        _frame(b'{"report": {}, "blob_bytes": [100]}') + b"x",
        _frame(b'{"refused": {"reason": 5, "message": null}}'),
    ],
    ids=range(16),
)
async def test_answers_that_are_none(raw: bytes) -> None:
    with pytest.raises(SandboxDiedError, match=r"malformed|ended with status 0"):
        await _run("write_raw", {"hex": raw.hex(), "leave": True})


async def test_an_answer_that_never_ends_is_waited_for_no_longer_than_is_allowed() -> None:
    raw = _frame(b'{"report": {}, "blob_bytes": [100]}') + b"x"
    job: dict[str, object] = {"hex": raw.hex(), "leave": False}
    with pytest.raises(SandboxDiedError, match=r"longer than 0\.3 s"):
        await _run("write_raw", job, limits=SandboxLimits(wall_s=0.3))


async def test_a_cancelled_run_leaves_nothing() -> None:
    sandbox = await Sandbox.start("tests.faults.sandbox_functions:sleep", _LIMITS)
    run = asyncio.create_task(sandbox.run({}))
    await asyncio.sleep(0.1)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert not psutil.pid_exists(sandbox.pid)


async def test_closing_while_it_runs_ends_the_run() -> None:
    sandbox = await Sandbox.start("tests.faults.sandbox_functions:sleep", _LIMITS)
    run = asyncio.create_task(sandbox.run({}))
    await asyncio.sleep(0.1)
    await sandbox.close()
    with pytest.raises(SandboxDiedError, match="SIGKILL"):
        await run


async def test_closing_unused_and_again() -> None:
    sandbox = await Sandbox.start("tests.faults.sandbox_functions:sleep", _LIMITS)
    await sandbox.close()
    assert not psutil.pid_exists(sandbox.pid)
    await sandbox.close()
    with pytest.raises(RuntimeError, match="once"):
        await sandbox.run({})


async def test_a_sandbox_runs_once() -> None:
    async with await Sandbox.start("tests.faults.sandbox_functions:read_files", _LIMITS) as sandbox:
        await sandbox.run({})
        with pytest.raises(RuntimeError, match="once"):
            await sandbox.run({})


@pytest.mark.parametrize("function", ["sleep", "loop"])
def test_no_sandbox_outlives_its_parent(function: str) -> None:
    code = (
        "import asyncio, sys\n"
        "from audio_codec import Sandbox, SandboxLimits\n"
        "async def main():\n"
        f"    name = 'tests.faults.sandbox_functions:{function}'\n"
        "    sandbox = await Sandbox.start(name, SandboxLimits())\n"
        "    run = asyncio.create_task(sandbox.run({}))\n"
        "    await asyncio.sleep(1)\n"
        "    print(sandbox.pid, flush=True)\n"
        "    await run\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    gone, _ = psutil.wait_procs([child], timeout=5)
    assert gone
