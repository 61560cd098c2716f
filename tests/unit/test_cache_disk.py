"""The disk tier forgets in the right order, and gives back nothing that it was not given."""

import os
import pickle
import random
import shutil
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.cache_functions import body, value_files
from tts_service.cache import DiskTier
from tts_service.cache.seal import seal

_HEAD_BYTES = 18
_PAGE_BYTES = 4096
_LIMIT_BYTES = 1_500_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def tier(folder: Path) -> Iterator[DiskTier]:
    tier = DiskTier.open(folder, size_limit_bytes=0)
    yield tier
    tier.close()


def _sql(folder: Path, statement: str, *arguments: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        return connection.execute(statement, arguments).fetchall()


def _file(folder: Path, key: str) -> Path:
    ((name,),) = _sql(folder, "SELECT filename FROM Cache WHERE key = ?", key)
    return folder / str(name)


def _problems(tier: DiskTier, *, repair: bool) -> list[str]:
    return [finding.problem for finding in tier.check(repair=repair)]


# ---- What goes, and when


def _pages_bytes(tier: DiskTier) -> int:
    """What the database itself takes of the limit."""
    return tier.size_bytes - sum(entry.size_bytes for entry in tier.entries())


def test_it_is_an_ideal_lru(folder: Path) -> None:
    """Against a dictionary in the order of use. Only the database's own pages are not foreseen.

    Uses are noted in batches before each put, as the service does. A second thread looks at the
    size all the time.
    """
    chance = random.Random(2)
    tier = DiskTier.open(folder, size_limit_bytes=_LIMIT_BYTES)
    ideal: OrderedDict[str, int] = OrderedDict()
    touched: dict[str, float] = {}
    watched: list[int] = [0]
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            watched[0] = max(watched[0], tier.size_bytes)

    watcher = threading.Thread(target=watch)
    watcher.start()
    hits = gone = puts = 0
    pages = _pages_bytes(tier)
    try:
        for number in range(4000):
            key = f"key {int(chance.triangular(0, 150, 0))}"
            if chance.random() < 0.6:
                found = tier.get(key)
                assert (found is not None) == (key in ideal)
                if found is not None:
                    hits += 1
                    touched[key] = time.time()
                    ideal.move_to_end(key)
                continue
            batch = list(touched.items())
            chance.shuffle(batch)  # the order is in the times alone
            assert tier.touch(dict(batch)) == set(touched) - set(ideal)
            touched.clear()
            size = chance.randint(1000, 60_000)
            went = tier.put(key, body(key, number, size), marks=["mark"])
            puts += 1
            ideal.pop(key, None)
            ideal[key] = size + _HEAD_BYTES
            before = list(ideal)
            kept = {entry.key for entry in tier.entries()}
            # Exactly those that were used least recently, and no more than is needed for what the
            # database took at that moment: between what it takes now and a few pages more than
            # before, as dropping gives pages back.
            assert kept == set(before[went:])
            now = _pages_bytes(tier)
            for doomed in before[:went]:
                last = sum(ideal.values())
                del ideal[doomed]
            assert sum(ideal.values()) + now == tier.size_bytes <= _LIMIT_BYTES
            if went:
                assert last > _LIMIT_BYTES - max(pages, now) - 8 * _PAGE_BYTES
            pages = now
            gone += went
    finally:
        over.set()
        watcher.join()
    assert watched[0] <= _LIMIT_BYTES + 8 * _PAGE_BYTES
    assert puts > 1500
    assert gone > 800
    assert hits > 500
    assert pages < 25 * _PAGE_BYTES
    files = [folder / name for name in value_files(folder)]
    assert sum(file.stat().st_size for file in files) == sum(ideal.values())
    tier.close()


def test_one_large_value_drives_out_just_as_much_as_it_takes(folder: Path) -> None:
    tier = DiskTier.open(folder, size_limit_bytes=300_000)
    for number in range(20):
        tier.put(f"key {number}", bytes(10_000))
    large = 300_000 - _pages_bytes(tier) - 3 * 10_018 - _HEAD_BYTES
    assert tier.put("large", bytes(large)) == 17
    assert {entry.key for entry in tier.entries()} == {"key 17", "key 18", "key 19", "large"}
    assert tier.put("too large", bytes(400_000)) == 0
    assert tier.get("too large") is None
    assert len(tier.get("large") or b"") == large
    tier.close()


def test_without_a_limit_nothing_goes(tier: DiskTier) -> None:
    assert sum(tier.put(f"key {number}", bytes(50_000)) for number in range(50)) == 0
    assert tier.count == 50


def test_what_is_over_its_time_goes(folder: Path, tier: DiskTier) -> None:
    tier.put("short", b"value", max_age_s=0.05)
    tier.put("long", b"value", max_age_s=3600)
    tier.put("replaced", b"value", max_age_s=0.05)
    tier.put("replaced", b"value")
    time.sleep(0.06)
    assert tier.get("short") is None
    assert tier.known(["short", "long", "replaced"]) == {"long", "replaced"}
    assert tier.touch({"short": time.time(), "long": time.time()}) == {"short"}
    assert tier.drop_excess() == 0
    assert {entry.key for entry in tier.entries()} == {"long", "replaced"}
    assert len(value_files(folder)) == 2


def test_a_touch_never_makes_older(tier: DiskTier) -> None:
    tier.put("key", b"value")
    (before,) = tier.entries()
    assert tier.touch({"key": 5.0, "unknown": 5.0}) == {"unknown"}
    assert list(tier.entries()) == [before]


def test_marks_and_times_choose_what_is_dropped(folder: Path, tier: DiskTier) -> None:
    tier.put("none", b"value")
    tier.put("one", b"value", marks=["a"])
    tier.put("two", b"value", marks=["a", "ab"])
    tier.put("other", b"value", marks=["ab", "A", "%", "a b"])
    assert [entry.marks for entry in tier.entries()] == [
        (),
        ("a",),
        ("a", "ab"),
        ("ab", "A", "%", "a b"),
    ]
    assert tier.drop_marked("b") == 0
    assert tier.drop_marked("a") == 2
    assert tier.drop_stored_before(time.time() - 3600) == 0
    assert tier.drop(["none", "none", "unknown"]) == 1
    assert tier.drop_stored_before(time.time() + 1) == 1
    tier.put("last", b"value")
    assert tier.drop_all() == 1
    assert value_files(folder) == []


def test_many_at_once(folder: Path, tier: DiskTier) -> None:
    keys = [f"key {number}" for number in range(600)]
    for key in keys:
        tier.put(key, key.encode(), marks=["mark"])
    assert [entry.key for entry in tier.entries()] == keys
    assert tier.known([*keys, "unknown"]) == set(keys)
    assert tier.touch({**dict.fromkeys(keys, 9e9), "unknown": 1.0}) == {"unknown"}
    assert {entry.used_s for entry in tier.entries()} == {9e9}
    assert tier.drop_marked("mark") == 600
    assert value_files(folder) == []


# ---- Broken values


def _assert_gone(folder: Path, tier: DiskTier, key: str, file: Path) -> None:
    assert tier.get(key) is None
    assert not file.exists()
    assert tier.known([key]) == set()
    assert key not in {entry.key for entry in tier.entries()}


def test_every_changed_byte_is_found(folder: Path, tier: DiskTier) -> None:
    chance = random.Random(3)
    for number in range(2000):
        key = f"key {number % 7}"
        data = body(key, number, chance.choice([8, 40, 1000, 50_000]))
        tier.put(key, data)
        file = _file(folder, key)
        value = bytearray(file.read_bytes())
        # Half of them in the head.
        position = chance.randrange(_HEAD_BYTES if number % 2 else len(value))
        value[position] ^= chance.randint(1, 255)
        file.write_bytes(value)
        _assert_gone(folder, tier, key, file)
    assert value_files(folder) == []
    assert _problems(tier, repair=False) == []


def _swap(one: Path, two: Path) -> None:
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)


_VALUE_DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "cut by one": lambda one, two: os.truncate(one, one.stat().st_size - 1),
    "cut in the head": lambda one, two: os.truncate(one, 17),
    "empty": lambda one, two: os.truncate(one, 0),
    "one byte more": lambda one, two: one.write_bytes(one.read_bytes() + b"\0"),
    "twice": lambda one, two: one.write_bytes(one.read_bytes() * 2),
    "another key's": lambda one, two: shutil.copy(two, one),
    "swapped": _swap,
    "missing": lambda one, two: one.unlink(),
    "its folder is missing": lambda one, two: shutil.rmtree(one.parent),
    "of a version to come": lambda one, two: one.write_bytes(
        one.read_bytes()[:4] + b"\0\2" + one.read_bytes()[6:]
    ),
    "a pickle": lambda one, two: one.write_bytes(pickle.dumps("value")),
}


@pytest.mark.parametrize("name", _VALUE_DAMAGES)
@pytest.mark.parametrize("by_check", [False, True])
def test_a_broken_value_is_a_miss_and_is_removed(
    folder: Path, tier: DiskTier, name: str, by_check: bool
) -> None:
    for key in ("one", "two", "three"):
        tier.put(key, key.encode() * 100)
    one, two = _file(folder, "one"), _file(folder, "two")
    _VALUE_DAMAGES[name](one, two)
    broken = 2 if name == "swapped" else 1
    if by_check:
        assert len(_problems(tier, repair=False)) == broken
        assert tier.count == 3
        assert len(_problems(tier, repair=True)) == broken
    _assert_gone(folder, tier, "one", one)
    if name == "swapped":
        _assert_gone(folder, tier, "two", two)
    else:
        assert tier.get("two") == b"two" * 100
    assert tier.get("three") == b"three" * 100
    assert _problems(tier, repair=False) == []
    tier.put("one", b"new")
    assert tier.get("one") == b"new"


def test_a_folder_in_place_of_a_value_is_a_miss(folder: Path, tier: DiskTier) -> None:
    tier.put("key", b"value")
    file = _file(folder, "key")
    file.unlink()
    file.mkdir()
    assert tier.get("key") is None
    assert tier.count == 0


def test_files_of_no_entry_are_found_and_swept(folder: Path, tier: DiskTier) -> None:
    tier.put("key", b"value")
    file = _file(folder, "key")
    stray, kept = file.with_name("0" * 28 + ".val"), file.with_name("notes.txt")
    stray.write_bytes(seal("key", b"value"))
    kept.touch()
    assert tier.sweep() == []
    assert _problems(tier, repair=True) == []
    os.utime(stray, (1, 1))
    os.utime(file, (1, 1))
    name = stray.relative_to(folder).as_posix()
    assert [(f.what, f.problem) for f in tier.check(repair=False)] == [
        (name, "belongs to no entry")
    ]
    assert tier.sweep() == [name]
    assert kept.exists()
    assert tier.get("key") == b"value"


# ---- Pickle


class _Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._marker),)


def _plant(folder: Path, **columns: object) -> None:
    row: dict[str, object] = {
        "key": "planted",
        "raw": 1,
        "store_time": time.time(),
        "access_time": time.time(),
        "size": 100,
        "mode": 2,
        "tag": "mark",
        **columns,
    }
    marks = ",".join("?" * len(row))
    _sql(folder, f"INSERT INTO Cache ({','.join(row)}) VALUES ({marks})", *row.values())


_NAME = f"ab/cd/{'0' * 28}.val"


@pytest.mark.parametrize("way", ["get", "check", "sweep", "limit", "all", "mark"])
@pytest.mark.parametrize(
    "case",
    [
        *("pickle in the row", "pickle in a file", "pickled key", "bytes as key"),
        *("number as key", "no raw", "text in a file", "bytes in the row", "text in the row"),
        *("above", "absolute", "above, behind a name", "the database", "nothing", "number"),
    ],
)
def test_nothing_planted_is_run_or_read(folder: Path, tmp_path: Path, case: str, way: str) -> None:
    marker, outside = tmp_path / "marker", tmp_path / "outside.val"
    bomb = pickle.dumps(_Bomb(marker))
    assert pickle.loads(bomb) is None
    marker.rmdir()  # it works
    tier = DiskTier.open(folder, size_limit_bytes=200_000)
    tier.put("good", b"value")
    (folder / "ab/cd").mkdir(parents=True, exist_ok=True)
    (folder / _NAME).write_bytes(bomb)
    outside.write_bytes(seal("planted", b"secret"))
    planted: dict[str, dict[str, object]] = {
        "pickle in the row": {"mode": 4, "value": bomb},
        "pickle in a file": {"mode": 4, "filename": _NAME},
        "pickled key": {"key": bomb, "raw": 0, "mode": 4, "value": bomb},
        "bytes as key": {"key": b"planted", "filename": _NAME},
        "number as key": {"key": 5, "filename": _NAME},
        "no raw": {"raw": None, "filename": _NAME},
        "text in a file": {"mode": 3, "filename": _NAME},
        "bytes in the row": {"mode": 1, "value": seal("planted", b"secret")},
        "text in the row": {"mode": 1, "value": "text"},
        "above": {"filename": "../outside.val"},
        "absolute": {"filename": str(outside)},
        "above, behind a name": {"filename": f"{_NAME}/../../../../outside.val"},
        "the database": {"filename": "cache.db"},
        "nothing": {"filename": None},
        "number": {"filename": None, "mode": 5, "tag": b"\xff"},
    }
    _plant(folder, **planted[case])
    match way:
        case "get":
            assert tier.get("planted") is None
        case "check":
            assert len(_problems(tier, repair=False)) == 1
            assert len(_problems(tier, repair=True)) == 1
            assert tier.count == 1
        case "sweep":
            tier.sweep(older_than_s=0)
            assert len(list(tier.entries())) in (1, 2)
        case "limit":
            tier.put("large", bytes(190_000))
        case "all":
            assert tier.drop_all() == 2
        case "mark":
            assert tier.drop_marked("mark") == (case != "number")
    tier.put("planted", b"mine")
    assert tier.get("planted") == b"mine"
    list(tier.check(repair=True))
    assert _problems(tier, repair=False) == []
    assert tier.touch({"planted": time.time()}) == set()
    tier.close()
    again = DiskTier.open(folder, size_limit_bytes=0)
    assert again.get("planted") == b"mine"
    again.close()
    assert not (folder / "set-aside").exists()
    assert not marker.exists()
    assert outside.read_bytes() == seal("planted", b"secret")
