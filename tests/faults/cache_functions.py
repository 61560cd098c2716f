"""What processes and threads do with a cache, for the tests beside this file."""

import hashlib
import os
import random
import resource
import shutil
import sqlite3
import time
from pathlib import Path

import diskcache

from tests.faults.full_disk import fill
from tts_service.cache import CacheUnusableError, DiskTier

KEYS = [f"key {number}" for number in range(60)]
MAX_BODY_BYTES = 40_000
SIZE_LIMIT_BYTES = 600_000

_DISK_ERRORS = (OSError, sqlite3.Error, diskcache.Timeout)


def body(key: str, seed: int, size_bytes: int) -> bytes:
    """Returns one of the values that may lie under a key."""
    head = seed.to_bytes(8)
    return head + hashlib.shake_256(head + key.encode()).digest(max(0, size_bytes - len(head)))


def is_body(key: str, data: bytes) -> bool:
    """Whether it is one of them."""
    return data == body(key, int.from_bytes(data[:8]), len(data))


def use_once(tier: DiskTier, chance: random.Random, *, reads: float = 0.4) -> None:
    """Does one thing to the cache; raises AssertionError if a value is not right."""
    key = chance.choice(KEYS)
    action = chance.random()
    if action < reads:
        data = tier.get(key)
        assert data is None or is_body(key, data), key
    elif action < reads + 0.1 * (1 - reads):
        tier.drop(chance.sample(KEYS, chance.randint(1, 5)))
    elif action < reads + 0.3 * (1 - reads):
        tier.touch({key: time.time() for key in chance.sample(KEYS, 10)})
    elif action < reads + 0.32 * (1 - reads):
        tier.drop_marked(f"mark {chance.randrange(20)}")
    else:
        size = chance.randint(8, MAX_BODY_BYTES)
        marks = [f"mark {chance.randrange(20)}", "all"]
        age_s = chance.choice([None, None, None, 0.01, 60.0])
        tier.put(key, body(key, chance.getrandbits(60), size), marks=marks, max_age_s=age_s)


def work_until_killed(folder: Path, seed: int, reads: float) -> None:
    """Uses the cache without end."""
    chance = random.Random(seed)
    tier = DiskTier.open(folder, size_limit_bytes=SIZE_LIMIT_BYTES)
    while True:
        use_once(tier, chance, reads=reads)


def work_for(folder: Path, seed: int, duration_s: float) -> None:
    """Uses the cache for a while."""
    tier = DiskTier.open(folder, size_limit_bytes=SIZE_LIMIT_BYTES)
    work_on(tier, seed, duration_s)


def work_on(tier: DiskTier, seed: int, duration_s: float) -> int:
    """Uses an open cache for a while; returns how often."""
    chance = random.Random(seed)
    end_s = time.monotonic() + duration_s
    count = 0
    while time.monotonic() < end_s:
        use_once(tier, chance)
        count += 1
    return count


def put_with_limited_files(folder: Path, max_file_bytes: int) -> None:
    """Exits with 3 if there was no room for a value in files so long, and nothing came of it."""
    tier = DiskTier.open(folder, size_limit_bytes=0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, limits[1]))
    before = value_files(folder)
    try:
        tier.put("new", body("new", 1, MAX_BODY_BYTES))
    except _DISK_ERRORS:
        pass
    else:
        os._exit(0)
    assert value_files(folder) == before
    assert tier.get("new") is None
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    # The same connection works, and holds no lock against another.
    for again in (tier, DiskTier.open(folder, size_limit_bytes=0)):
        again.put("new", body("new", 2, MAX_BODY_BYTES))
        assert again.get("new") == body("new", 2, MAX_BODY_BYTES)
        again.drop(["new"])
    assert value_files(folder) == before
    os._exit(3)


def put_on_a_full_disk(disk: Path) -> None:
    """Puts a value with 0, 1, 2, … pages free, until it goes well.

    Prints a line for each try.
    """
    folder, filler = disk / "cache", disk / "filler"
    tier = DiskTier.open(folder, size_limit_bytes=0)
    tier.put("old", body("old", 1, 5000))
    other = DiskTier.open(folder, size_limit_bytes=0)
    for pages in range(64):
        tier.drop(["new"])
        before = value_files(folder)
        fill(filler)
        os.truncate(filler, filler.stat().st_size - pages * resource.getpagesize())
        try:
            tier.put("new", body("new", pages, MAX_BODY_BYTES))
            outcome = "stored"
        except _DISK_ERRORS as error:
            outcome = f"full {type(error).__name__}"
            assert value_files(folder) == before
            assert tier.get("new") is None
        assert tier.get("old") == body("old", 1, 5000)
        filler.unlink()
        # With room again it goes on at once, and here nobody waits for a lock.
        other.put("next", body("next", pages, MAX_BODY_BYTES))
        tier.put("next", body("next", pages, MAX_BODY_BYTES))
        assert other.get("next") == body("next", pages, MAX_BODY_BYTES)
        assert list(tier.check(repair=False)) == []
        assert len(value_files(folder)) == tier.count
        print(outcome, flush=True)
        if outcome == "stored":
            return


def open_on_a_full_disk(disk: Path) -> None:
    """Opens caches with 0, 1, 2, … pages free, a new and an old one.

    Prints a line for each try.
    """
    old, filler = disk / "old", disk / "filler"
    tier = DiskTier.open(old, size_limit_bytes=0)
    tier.put("old", body("old", 1, 5000))
    tier.close()
    for pages in range(0, 200, 2):
        fill(filler)
        os.truncate(filler, filler.stat().st_size - pages * resource.getpagesize())
        outcomes = []
        for folder in (old, disk / f"new {pages}"):
            try:
                DiskTier.open(folder, size_limit_bytes=0).close()
                outcomes.append("open")
            except CacheUnusableError:
                outcomes.append("unusable")
        filler.unlink()
        assert not (old / "set-aside").exists()
        tier = DiskTier.open(old, size_limit_bytes=0)
        assert tier.get("old") == body("old", 1, 5000)
        tier.close()
        shutil.rmtree(disk / f"new {pages}")
        print(*outcomes, flush=True)
        if outcomes == ["open", "open"]:
            return


def open_read_only(disk: Path) -> None:
    """Prints whether a folder on a disk without writing can be used, and one that isn't there."""
    for folder in (disk / "cache", disk / "new"):
        try:
            DiskTier.open(folder, size_limit_bytes=0)
            print("open", flush=True)
        except CacheUnusableError:
            print("unusable", flush=True)


def value_files(folder: Path) -> list[str]:
    """Names of all files of values, whole or not."""
    return sorted(
        file.relative_to(folder).as_posix() for file in folder.glob("??/**/*") if file.is_file()
    )
