"""Whatever became of a cache's database: the next start has a cache, and no wrong value in it."""

import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import diskcache.core
import pytest

from tests.faults.cache_functions import body, value_files
from tts_service.cache import CacheUnusableError, DiskTier

_PAGE_BYTES = 4096
# `make soak-cache` runs more.
_FUZZ_ROUNDS = 2 * int(os.environ.get("SOAK_ROUNDS", "40"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def _problems(tier: DiskTier) -> list[str]:
    return [finding.problem for finding in tier.check(repair=False)]


def _script(script: str) -> Callable[[Path], object]:
    """Makes another database in the place of ours."""

    def damage(database: Path) -> None:
        database.unlink()
        with closing(sqlite3.connect(database)) as connection:
            connection.executescript(script)

    return damage


def _edit(script: str) -> Callable[[Path], object]:
    def damage(database: Path) -> None:
        with closing(sqlite3.connect(database)) as connection:
            connection.executescript(script)

    return damage


def _overwrite(offset: int, data: bytes) -> Callable[[Path], object]:
    def damage(database: Path) -> None:
        with database.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    return damage


def _folder(database: Path) -> None:
    database.unlink()
    (database / "inside").mkdir(parents=True)


_DATABASE_DAMAGES: dict[str, Callable[[Path], object]] = {
    "garbage": lambda file: file.write_bytes(random.Random(4).randbytes(50_000)),
    "text": lambda file: file.write_text("no database\n" * 1000),
    "cut in the head": lambda file: os.truncate(file, 50),
    "cut in a page": lambda file: os.truncate(file, 3 * _PAGE_BYTES + 100),
    "cut to a page": lambda file: os.truncate(file, _PAGE_BYTES),
    "half of it": lambda file: os.truncate(file, file.stat().st_size // 8192 * 4096),
    "a page of zeros": _overwrite(2 * _PAGE_BYTES, bytes(_PAGE_BYTES)),
    "garbage behind the head": _overwrite(100, random.Random(5).randbytes(_PAGE_BYTES)),
    "a later version for writing": _overwrite(18, b"\3"),
    "a later version for reading": _overwrite(19, b"\3"),
    "a folder": _folder,
    "another table": _script("CREATE TABLE Cache (name, file)"),
    "another table of settings": _script("CREATE TABLE Settings (name, setting)"),
    "a view": _script("CREATE VIEW Cache AS SELECT 1 AS key"),
    "no column for files": _script(
        "CREATE TABLE Cache (rowid INTEGER PRIMARY KEY, key, raw, expire_time, access_time)"
    ),
    "a setting like a method": _edit("INSERT INTO Settings VALUES ('get', 5)"),
    "a setting for the disk": _edit("INSERT INTO Settings VALUES ('disk_door', 5)"),
    "a setting that is no pragma": _edit("INSERT INTO Settings VALUES ('sqlite_door', 5)"),
    "another sum": _edit("UPDATE Settings SET value = -1000000 WHERE key = 'size'"),
    "a broken trigger": _edit(
        "DROP TRIGGER Settings_count_delete; CREATE TRIGGER Settings_count_delete"
        " AFTER DELETE ON Cache FOR EACH ROW BEGIN UPDATE Settings SET valve = 0; END"
    ),
    "no sum": _edit("UPDATE Cache SET size = NULL WHERE key = 'key 3'"),
    "another count": _edit("UPDATE Settings SET value = 5 WHERE key = 'count'"),
}


def _make(folder: Path, count: int = 100) -> None:
    tier = DiskTier.open(folder, size_limit_bytes=0)
    for number in range(count):
        tier.put(f"key {number}", body(f"key {number}", number, 2000), marks=["mark" * 30])
    tier.close()
    assert not (folder / "cache.db-wal").exists()


@pytest.mark.parametrize("name", _DATABASE_DAMAGES)
def test_a_broken_database_is_set_aside(folder: Path, name: str) -> None:
    _make(folder)
    folder.chmod(0o755)
    (folder / "set-aside").mkdir()
    (folder / "set-aside" / "from last time").touch()
    _DATABASE_DAMAGES[name](folder / "cache.db")
    tier = DiskTier.open(folder, size_limit_bytes=0)
    assert tier.count == 0
    assert value_files(folder) == []
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "set-aside" / "cache.db").exists()
    assert not (folder / "set-aside" / "from last time").exists()
    tier.put("key", b"value")
    assert tier.get("key") == b"value"
    tier.close()
    again = DiskTier.open(folder, size_limit_bytes=0)
    assert again.get("key") == b"value"
    assert _problems(again) == []
    again.close()


@pytest.mark.parametrize("content", [None, b"", b"x"])
def test_of_no_database_nothing_is_left_but_strays(folder: Path, content: bytes | None) -> None:
    """To SQLite a byte is as good as an empty file: it makes a database of it.

    Nothing is there to be set aside. The values go with the first sweep.
    """
    _make(folder)
    (folder / "cache.db").unlink()
    if content is not None:
        (folder / "cache.db").write_bytes(content)
    tier = DiskTier.open(folder, size_limit_bytes=0)
    assert tier.get("key 1") is None
    assert len(tier.sweep(older_than_s=0)) == 100
    assert value_files(folder) == []
    assert (folder / "cache.db").exists()
    tier.close()


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
@pytest.mark.parametrize("kind", ["garbage", "empty", "cut", "folder"])
def test_a_broken_log_is_no_obstacle(folder: Path, tmp_path: Path, suffix: str, kind: str) -> None:
    """What the log held may be lost; what is found is right."""
    _make(folder)
    tier = DiskTier.open(folder, size_limit_bytes=0)
    tier.put("late", body("late", 1, 2000))
    crashed = tmp_path / "crashed"
    shutil.copytree(folder, crashed)
    tier.close()
    file = crashed / f"cache.db{suffix}"
    match kind:
        case "garbage":
            file.write_bytes(random.Random(6).randbytes(file.stat().st_size))
        case "empty":
            os.truncate(file, 0)
        case "cut":
            os.truncate(file, file.stat().st_size - 3000)
        case "folder":
            file.unlink()
            file.mkdir()
    again = DiskTier.open(crashed, size_limit_bytes=0)
    assert (crashed / "set-aside").exists() == (kind == "folder")
    for number in range(100):
        expected = None if kind == "folder" else body(f"key {number}", number, 2000)
        assert again.get(f"key {number}") == expected
    assert again.get("late") in (None, body("late", 1, 2000))
    again.sweep(older_than_s=0)
    assert len(value_files(crashed)) == again.count
    assert _problems(again) == []
    again.close()


def test_a_database_with_any_bytes_changed_gives_no_wrong_value(
    folder: Path, tmp_path: Path
) -> None:
    _make(folder, 20)
    chance = random.Random(7)
    whole = (folder / "cache.db").read_bytes()
    set_aside = found = 0
    for number in range(_FUZZ_ROUNDS):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        copy = shutil.copytree(folder, tmp_path / "copy")
        data = bytearray(whole)
        for _ in range(chance.choice([1, 1, 10])):
            data[chance.randrange(100 if number % 5 == 0 else len(data))] = chance.randrange(256)
        (copy / "cache.db").write_bytes(data)
        tier = DiskTier.open(copy, size_limit_bytes=10**9)
        set_aside += (copy / "set-aside").exists()
        for entry in range(20):
            value = tier.get(f"key {entry}")
            found += value is not None
            assert value in (None, body(f"key {entry}", entry, 2000))
        list(tier.check(repair=True))
        assert _problems(tier) == []
        tier.put("key 1", b"new")
        assert tier.get("key 1") == b"new"
        tier.drop_all()
        # Whose name was changed, its file is a stray.
        tier.sweep(older_than_s=0)
        assert (tier.count, value_files(copy)) == (0, [])
        tier.close()
    print(f"{set_aside} of {_FUZZ_ROUNDS} set aside, {found} values found")
    assert _FUZZ_ROUNDS // 15 < set_aside < _FUZZ_ROUNDS
    assert found > _FUZZ_ROUNDS


def test_a_locked_database_is_left_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """diskcache waits for a minute; here on a clock that goes a thousand times as fast."""
    _make(folder)
    before = {file: file.stat().st_mtime_ns for file in folder.glob("??/*/*")}
    hasty = SimpleNamespace(time=lambda: time.time() * 1000, sleep=time.sleep)
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with monkeypatch.context() as patch:
            patch.setattr(diskcache.core, "time", hasty)
            with pytest.raises(CacheUnusableError, match="locked"):
                DiskTier.open(folder, size_limit_bytes=0)
        connection.execute("ROLLBACK")
    assert not (folder / "set-aside").exists()
    assert {file: file.stat().st_mtime_ns for file in folder.glob("??/*/*")} == before
    tier = DiskTier.open(folder, size_limit_bytes=0)
    assert tier.count == 100
    tier.close()


def test_a_file_in_place_of_the_folder_is_left_as_it_is(folder: Path) -> None:
    folder.write_text("mine")
    with pytest.raises(CacheUnusableError):
        DiskTier.open(folder, size_limit_bytes=0)
    assert folder.read_text() == "mine"
