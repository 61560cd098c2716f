"""Whatever ends a process that writes a store, a voice is wholly there or wholly absent."""

import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.faults import voice_store_functions as functions
from tests.faults.own_mounts import needs_own_mounts, with_own_mounts
from tests.voice_data import audited, embedding, files_in, sound
from voice_store import VoiceStore, check_store, failpoints

# Children begin as copies of a process that has imported everything: some ms instead of half
# a second each.
_CHILDREN = multiprocessing.get_context("forkserver")
_CHILDREN.set_forkserver_preload(["__main__", functions.__name__])

_RANDOM_KILLS = 60


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def _run(function: Callable[..., None], *args: object) -> int | None:
    """Runs a function in a process of its own; returns its exit code, -9 if it was killed."""
    process = _CHILDREN.Process(target=function, args=args)
    process.start()
    process.join()
    return process.exitcode


def _steps(monkeypatch: pytest.MonkeyPatch, action: str, root: Path) -> list[str]:
    """The steps that an action takes on a copy of the store."""
    names: list[str] = []
    copy = root.with_name("copy")
    if root.exists():
        shutil.copytree(root, copy)
    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "reach", names.append)
        getattr(functions, action)(copy)
    shutil.rmtree(copy)
    return names


def _state(root: Path) -> str:
    """Opens the store as the next process does, checks all of it, and says what is there."""
    with VoiceStore.open(root) as store:
        assert store.broken == ()
        assert check_store(root, repair=False) == []
        assert files_in(root / "staging") == []
        log = audited(root)
        if not store.list():
            assert files_in(root / "voices") == []
            assert log in ([], [("created", "zoe"), ("deleted", "zoe")])
            return "absent"
        assert log == [("created", "zoe")]
        assert np.array_equal(store.samples("zoe", "neutral"), sound(1))
        assert np.array_equal(store.samples("zoe", "sad"), sound(2))
        assert store.embedding("zoe", "sad", "tone", "1") == embedding(2)
        first, second = (store.embedding("zoe", "neutral", "tone", model) for model in "12")
        return {
            (embedding(1), None): "there",
            (embedding(3), None): "there, embedding replaced",
            (embedding(1), embedding(4)): "there, embedding added",
        }[first, second]


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("create", "absent", "there"),
        ("replace_embedding", "there", "there, embedding replaced"),
        ("add_embedding", "there", "there, embedding added"),
        ("delete", "there", "absent"),
    ],
)
def test_killed_at_each_step(
    root: Path, monkeypatch: pytest.MonkeyPatch, action: str, before: str, after: str
) -> None:
    """And killed again at each step of clearing away, wherever there was something to clear."""
    if before == "there":
        functions.create(root)
    spare = root.with_name("spare")
    seen = []
    for step, name in enumerate(_steps(monkeypatch, action, root)):
        if root.exists():
            shutil.copytree(root, spare)
        assert _run(functions.run_to_step, action, spare, step) == -signal.SIGKILL, name
        _kill_while_clearing(monkeypatch, spare)
        seen.append(_state(spare))
        shutil.rmtree(spare)
    # The change happens at one step, and is never undone by a later one.
    change = seen.index(after)
    assert seen == [before] * change + [after] * (len(seen) - change)


def _kill_while_clearing(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    if not (root / "staging").exists() or not files_in(root / "staging"):
        return
    second = root.with_name("second")
    for step, name in enumerate(_steps(monkeypatch, "repair", root)):
        shutil.copytree(root, second)
        assert _run(functions.run_to_step, "repair", second, step) == -signal.SIGKILL, name
        _state(second)
        shutil.rmtree(second)


def test_of_creators_in_many_processes_one_wins(root: Path) -> None:
    for _ in range(5):
        processes = [
            _CHILDREN.Process(target=functions.create_one_of_many, args=(root, seed))
            for seed in range(4)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        codes = [process.exitcode for process in processes]
        assert sorted(codes) == [0, 3, 3, 3]
        with VoiceStore.open(root) as store:
            assert np.array_equal(store.samples("zoe", "neutral"), sound(codes.index(0)))
            assert check_store(root, repair=False) == []
            assert files_in(root / "staging") == []
            store.delete("zoe")
    assert audited(root) == [("created", "zoe"), ("deleted", "zoe")] * 5


@pytest.mark.parametrize("max_file_bytes", [0, 1, 1000, None])
def test_without_room_nothing_is_kept(root: Path, max_file_bytes: int | None) -> None:
    """Without a number only the log is too long, in the midst of the line about the voice."""
    with VoiceStore.open(root):
        pass
    line = '{"action": "deleted", "voice_id": "mia", "time": "2026-01-01T00:00:00+00:00", '
    log = root / "audit.jsonl"
    log.write_text((line + '"content_fingerprint": ""}\n') * 150)
    before, paths = log.read_bytes(), files_in(root)
    if max_file_bytes is None:
        max_file_bytes = len(before) + 10
    assert _run(functions.create_with_limited_files, root, max_file_bytes) == 3
    assert files_in(root) == paths
    assert log.read_bytes() == before
    assert _run(functions.create, root) == 0


@needs_own_mounts
def test_a_full_disk_keeps_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, tests.faults.voice_store_functions as functions\n"
        "functions.create_on_a_full_disk(pathlib.Path(sys.argv[1]))"
    )
    mount = 'mount -t tmpfs -o size=256k tmpfs "$0"'
    command = with_own_mounts(mount, tmp_path, sys.executable, "-c", code)
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    *full, stored, deleted = process.stdout.splitlines()
    empty = "[] audit.jsonl staging voices"
    assert len(full) > 5
    assert set(full) == {f"full {empty}"}
    assert stored.startswith(f"stored {empty} voices/zoe ")
    assert deleted == f"deleted {empty}"


def test_killed_at_any_time(root: Path) -> None:
    chance = random.Random(20)
    for seed in range(_RANDOM_KILLS):
        process = _CHILDREN.Process(target=functions.work_until_killed, args=(root, seed))
        process.start()
        time.sleep(chance.uniform(0.005, 0.06))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        with VoiceStore.open(root) as store:
            assert check_store(root, repair=False) == []
            assert files_in(root / "staging") == []
            for voice in store.list():
                samples = store.samples(voice.id, "neutral")
                assert any(np.array_equal(samples, sound(n)) for n in range(seed + 1))
                store.delete(voice.id)
            # Each line about a voice is there once, and they take turns.
            log = audited(root)
            assert log == [("created", "zoe"), ("deleted", "zoe")] * (len(log) // 2)
            assert files_in(root / "voices") == []
