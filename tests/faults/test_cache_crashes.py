"""Whatever ends a process that uses a cache: what is found is right, and the rest goes away.

`make soak-cache` runs this for longer.
"""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults import cache_functions as functions
from tests.faults.own_mounts import needs_own_mounts, with_own_mounts
from tts_service.cache import DiskTier

# Children begin as copies of a process that has imported everything.
_CHILDREN = multiprocessing.get_context("forkserver")
_CHILDREN.set_forkserver_preload(["__main__", functions.__name__])

_ROUNDS = int(os.environ.get("SOAK_ROUNDS", "40"))
_DURATION_S = float(os.environ.get("SOAK_SECONDS", "4"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def _open(folder: Path) -> DiskTier:
    return DiskTier.open(folder, size_limit_bytes=functions.SIZE_LIMIT_BYTES)


def _assert_all_right(tier: DiskTier) -> int:
    """Reads all there is; returns how much."""
    count = 0
    for entry in tier.entries():
        data = tier.get(entry.key)
        if data is not None:
            assert functions.is_body(entry.key, data)
            assert entry.marks[-1] == "all"
            count += 1
    return count


def test_killed_at_any_time(folder: Path) -> None:
    chance = random.Random(31)
    found = strays = lost = 0
    for number in range(_ROUNDS):
        children = [
            _CHILDREN.Process(
                target=functions.work_until_killed, args=(folder, 3 * number + i, reads)
            )
            for i, reads in enumerate((0.1, 0.3, 1.0))
        ]
        for child in children:
            child.start()
        time.sleep(chance.uniform(0.1, 0.5))
        # The others go on for a moment beside the dead.
        for child in chance.sample(children, len(children)):
            child.kill()
            time.sleep(chance.choice([0, chance.uniform(0, 0.03)]))
        for child in children:
            child.join()
            assert child.exitcode == -signal.SIGKILL
        tier = _open(folder)
        assert not (folder / "set-aside").exists()
        lost += len(list(tier.check(repair=False)))
        found += _assert_all_right(tier)
        strays += len(tier.sweep(older_than_s=0))
        list(tier.check(repair=True))
        assert list(tier.check(repair=False)) == []
        tier.drop_excess()
        assert tier.size_bytes <= functions.SIZE_LIMIT_BYTES
        assert len(functions.value_files(folder)) == tier.count
        tier.put("key 0", functions.body("key 0", number, 100), marks=["all"])
        assert tier.get("key 0") == functions.body("key 0", number, 100)
        tier.close()
    assert found > _ROUNDS
    print(f"{found} values found, {strays} stray files, {lost} rows without a file")


def test_processes_share_a_folder(folder: Path) -> None:
    children = [
        _CHILDREN.Process(target=functions.work_for, args=(folder, seed, _DURATION_S))
        for seed in range(4)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    tier = _open(folder)
    assert tier.size_bytes <= functions.SIZE_LIMIT_BYTES + functions.MAX_BODY_BYTES
    assert _assert_all_right(tier) > 5
    assert list(tier.check(repair=False)) == []
    assert tier.sweep(older_than_s=0) == []


def test_threads_share_a_tier(folder: Path) -> None:
    tier = _open(folder)
    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(functions.work_on, tier, seed, _DURATION_S) for seed in range(8)]
    assert all(run.result() > 10 for run in runs)
    assert tier.size_bytes <= functions.SIZE_LIMIT_BYTES + functions.MAX_BODY_BYTES
    assert _assert_all_right(tier) > 5
    assert list(tier.check(repair=False)) == []
    assert tier.sweep(older_than_s=0) == []


@pytest.mark.parametrize("max_file_bytes", [0, 1, 1000, 4096, 39_000, 45_000])
def test_without_room_nothing_is_kept(folder: Path, max_file_bytes: int) -> None:
    """With 45,000 bytes there is room for the value's file, and none in the database's log."""
    tier = _open(folder)
    # The log is long now: what comes next stands behind 45,000 bytes.
    for number in range(20):
        tier.put(f"key {number}", functions.body(f"key {number}", 1, 100))
    child = _CHILDREN.Process(
        target=functions.put_with_limited_files, args=(folder, max_file_bytes)
    )
    child.start()
    child.join()
    assert child.exitcode == 3
    for number in range(20):
        assert tier.get(f"key {number}") == functions.body(f"key {number}", 1, 100)
    tier.close()


def _run_on_small_disk(function: Callable[[Path], None], disk: Path, *prepare: str) -> list[str]:
    """Runs a function in a process that has its own disk of a megabyte; returns its lines."""
    code = (
        "import sys, pathlib, tests.faults.cache_functions as functions\n"
        f"functions.{function.__name__}(pathlib.Path(sys.argv[1]))"
    )
    script = " && ".join(['mount -t tmpfs -o size=1m tmpfs "$0"', *prepare])
    command = with_own_mounts(script, disk, sys.executable, "-c", code)
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert process.returncode == 0
    # Warnings are on the same stream.
    return [line for line in process.stdout.splitlines() if "[warning" not in line]


@needs_own_mounts
def test_a_full_disk_keeps_nothing(tmp_path: Path) -> None:
    *full, stored = _run_on_small_disk(functions.put_on_a_full_disk, tmp_path)
    assert len(full) > 10
    assert all(line.startswith("full ") for line in full)
    assert stored == "stored"


@needs_own_mounts
def test_on_a_full_disk_no_database_is_set_aside(tmp_path: Path) -> None:
    outcomes = _run_on_small_disk(functions.open_on_a_full_disk, tmp_path)
    assert "unusable unusable" in outcomes
    assert outcomes[-1] == "open open"


@needs_own_mounts
def test_a_read_only_disk_is_left_as_it_is(tmp_path: Path) -> None:
    old = tmp_path / "old"
    tier = _open(old)
    tier.put("key", b"value")
    tier.close()
    disk = tmp_path / "disk"
    disk.mkdir()
    before = shutil.copytree(old, tmp_path / "copy")
    outcomes = _run_on_small_disk(
        functions.open_read_only, disk, f'cp -r "{old}" "$0/cache"', 'mount -o remount,ro "$0"'
    )
    assert outcomes == ["unusable", "unusable"]
    assert functions.value_files(old) == functions.value_files(before)
