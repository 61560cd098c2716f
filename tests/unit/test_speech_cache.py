"""Speech that is kept: found again, dropped for good, and no matter to anybody when it fails."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import generate_latest

from tts_service.cache import DiskTier
from tts_service.fleet import SegmentAudio
from tts_service.ops.metrics import Metrics
from tts_service.synthesis import CacheLimits, SpeechCache
from tts_service.synthesis.events import Frame
from tts_service.synthesis.marks import content_mark, voice_mark
from tts_service.synthesis.rendition import Rendition, Totals
from tts_service.synthesis.segment_memo import SegmentMemo
from tts_service.synthesis.segment_speech import SegmentSpeech

_MIB = 1 << 20
_LIMITS = CacheLimits(_MIB, _MIB, 4 * _MIB, None)
_ANNA = [voice_mark("anna"), content_mark("annas")]
_KEY = "rendition-one"


def _rendition(data: bytes = b"spoken", made_s: float = 1e11) -> Rendition:
    return Rendition((Frame(data, 0, 0, 10, 0, 1),), Totals(1, len(data), 2), 7, made_s)


def _segment(made_s: float = 1e11) -> SegmentSpeech:
    return SegmentSpeech(24_000, (SegmentAudio(np.full(5, 0.25, np.float32), 0, 1),), made_s)


class _Disk(DiskTier):
    """The real one, which can be held up between its work and its answer, or made to fail."""

    read_began: threading.Event
    may_answer: threading.Event
    failing: set[str]

    @classmethod
    def at(cls, folder: Path) -> "_Disk":
        disk = cls.open(folder, size_limit_bytes=0)
        assert isinstance(disk, cls)
        disk.read_began, disk.may_answer, disk.failing = threading.Event(), threading.Event(), set()
        disk.may_answer.set()
        return disk

    def get(self, key: str) -> bytes | None:
        self._fail("get")
        found = super().get(key)
        self.read_began.set()
        assert self.may_answer.wait(10)
        return found

    def put(self, *arguments: Any, **named: Any) -> int:
        self._fail("put")
        return super().put(*arguments, **named)

    def drop_marked(self, mark: str) -> int:
        self._fail("drop")
        return super().drop_marked(mark)

    @property
    def count(self) -> int:
        self._fail("count")
        return super().count

    def kept(self) -> set[str]:
        return {entry.key for entry in self.entries()}

    def _fail(self, what: str) -> None:
        if what in self.failing:
            raise sqlite3.OperationalError("disk I/O error")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[_Disk]:
    disk = _Disk.at(tmp_path / "cache")
    yield disk
    disk.close()


@asynccontextmanager
async def _cache(disk: DiskTier, limits: CacheLimits = _LIMITS) -> AsyncIterator[SpeechCache]:
    cache = SpeechCache(disk, limits, Metrics())
    try:
        yield cache
    finally:
        await cache.close()


async def _until(condition: Any) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never came to be")


async def test_what_is_kept_is_found_in_memory_and_later_on_disk(tmp_path: Path) -> None:
    async with _cache(_Disk.at(tmp_path)) as cache:
        cache.keep(_KEY, _rendition(), {"segment-one": _segment()}, marks=_ANNA)
        assert cache.recall(_KEY) == _rendition()
    async with _cache(_Disk.at(tmp_path)) as cache:
        assert cache.recall(_KEY) is None
        assert await cache.find(_KEY, ["segment-one"]) == (_rendition(), frozenset())
        assert cache.recall(_KEY) == _rendition()
        _, known = await cache.find("rendition-other", ["segment-one", "segment-other"])
        assert known == {"segment-one"}
        found = await cache.segment("segment-one")
        assert found is not None
        np.testing.assert_array_equal(found.runs[0].samples, _segment().runs[0].samples)


async def test_what_was_kept_a_moment_ago_goes_with_its_voice(disk: _Disk) -> None:
    async with _cache(disk) as cache:
        cache.keep("rendition-bens", _rendition(), {}, marks=[content_mark("bens")])
        cache.keep(_KEY, _rendition(), {"segment-one": _segment()}, marks=_ANNA)
        # Both are on their way to the disk by now.
        await cache.forget_content("annas")
        assert cache.recall(_KEY) is None
        assert await cache.find(_KEY, ["segment-one"]) == (None, frozenset())
        await _until(lambda: disk.kept() == {"rendition-bens"})
    disk = _Disk.at(disk._folder)
    assert disk.kept() == {"rendition-bens"}
    disk.close()


async def test_what_is_being_read_when_its_voice_goes_does_not_come_back(disk: _Disk) -> None:
    disk.put(_KEY, _rendition().to_bytes(), marks=_ANNA)
    async with _cache(disk) as cache:
        disk.may_answer.clear()
        finding = asyncio.create_task(cache.find(_KEY, []))
        await _until(disk.read_began.is_set)
        await cache.forget_content("annas")
        disk.may_answer.set()
        await finding
        assert cache.recall(_KEY) is None
        assert await cache.find(_KEY, []) == (None, frozenset())


async def test_what_is_being_read_does_not_replace_what_is_kept_meanwhile(disk: _Disk) -> None:
    disk.put(_KEY, _rendition(b"old").to_bytes())
    async with _cache(disk) as cache:
        disk.may_answer.clear()
        finding = asyncio.create_task(cache.find(_KEY, []))
        await _until(disk.read_began.is_set)
        cache.keep(_KEY, _rendition(b"new"), {}, marks=[])
        disk.may_answer.set()
        await finding
        assert cache.recall(_KEY) == _rendition(b"new")


async def test_a_voice_that_could_not_be_dropped_is_dropped_later(
    disk: _Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_TOUCH_INTERVAL_S", "_PAUSE_S"):
        monkeypatch.setattr(f"tts_service.synthesis.speech_cache.{name}", 0.01)
    disk.put("rendition-bens", _rendition().to_bytes(), marks=[content_mark("bens")])
    disk.put(_KEY, _rendition().to_bytes(), marks=_ANNA)
    contents = {"annas", "bens"}
    async with _cache(disk) as cache:
        disk.put("rendition-cleos", b"3", marks=[content_mark("cleos")])
        running = asyncio.create_task(cache.run(lambda: contents))
        # Once at the start; the next one would be in an hour.
        await _until(lambda: disk.kept() == {"rendition-bens", _KEY})
        disk.failing = {"drop"}
        contents.discard("annas")
        await cache.forget_content("annas")
        assert _KEY in disk.kept()
        disk.failing = set()
        await _until(lambda: disk.kept() == {"rendition-bens"})
        running.cancel()


async def test_at_its_start_the_speech_of_voices_that_are_gone_goes(disk: _Disk) -> None:
    disk.put("rendition-mix", b"1", marks=[*_ANNA, content_mark("bens")])
    disk.put("rendition-bens", b"2", marks=[voice_mark("ben"), content_mark("bens")])
    disk.put("rendition-engines", b"3", marks=[voice_mark("joe")])
    async with _cache(disk) as cache:
        running = asyncio.create_task(cache.run(lambda: {"bens"}))
        await _until(lambda: disk.kept() == {"rendition-bens", "rendition-engines"})
        running.cancel()


async def test_a_broken_disk_costs_hits_and_nothing_else(
    disk: _Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    cache = SpeechCache(disk, _LIMITS, metrics)
    disk.failing = {"get", "put", "count"}
    assert await cache.find("rendition-none", ["segment-one"]) == (None, frozenset())
    assert await cache.segment("segment-one") is None
    cache.keep(_KEY, _rendition(), {}, marks=[])
    assert cache.recall(_KEY) == _rendition()
    lines = generate_latest(metrics.registry).decode()
    assert 'tts_cache_failures_total{what="read"} 2.0' in lines
    assert 'tts_cache_entries{tier="disk"} NaN' in lines
    assert 'tts_cache_entries{tier="memory"} 1.0' in lines

    disk.failing = set()
    monkeypatch.setattr(cache, "_paused_until_s", 0.0)
    cache.keep(_KEY, _rendition(), {}, marks=[])
    await _until(lambda: disk.kept() == {_KEY})
    await cache.close()


async def test_what_waits_for_the_disk_is_bounded(disk: _Disk) -> None:
    size = _rendition().size_bytes
    limits = CacheLimits(_MIB, _MIB, 3 * size, None)
    async with _cache(disk, limits) as cache:
        for number in range(10):
            cache.keep(f"rendition-{number}", _rendition(), {}, marks=[])
        assert cache.recall("rendition-9") is not None
        await _until(lambda: not cache._writes)
        assert len(disk.kept()) == 3
        cache.keep("rendition-10", _rendition(), {}, marks=[])
        await _until(lambda: len(disk.kept()) == 4)


async def test_what_is_larger_than_the_limit_is_not_kept(disk: _Disk) -> None:
    limits = CacheLimits(_MIB, 1000, _MIB, None)
    async with _cache(disk, limits) as cache:
        cache.keep(_KEY, _rendition(b"x" * 1001), {"segment-one": _segment()}, marks=[])
        assert cache.recall(_KEY) is None
    disk = _Disk.at(disk._folder)
    assert disk.kept() == set()
    disk.close()


async def test_what_is_no_speech_is_a_miss_and_goes(disk: _Disk) -> None:
    disk.put(_KEY, b"\xff\xff")
    disk.put("segment-one", b"\xff\xff")
    async with _cache(disk) as cache:
        assert await cache.find(_KEY, []) == (None, frozenset())
        assert await cache.segment("segment-one") is None
        assert disk.kept() == set()


async def test_what_is_too_old_is_not_found_even_if_it_was_kept_for_longer(disk: _Disk) -> None:
    disk.put(_KEY, _rendition(made_s=1.0).to_bytes())
    disk.put("segment-one", _segment(made_s=1.0).to_bytes())
    limits = CacheLimits(_MIB, _MIB, _MIB, max_age_s=60.0)
    async with _cache(disk, limits) as cache:
        found, _ = await cache.find(_KEY, ["segment-one"])
        assert found is None
        assert await cache.segment("segment-one") is None
        cache.keep("rendition-old", _rendition(made_s=1.0), {}, marks=[])
        assert cache.recall("rendition-old") is None


async def test_what_is_known_is_not_over(disk: _Disk) -> None:
    """A row ends when its speech does, and not as long after it was written."""
    limits = CacheLimits(_MIB, _MIB, _MIB, max_age_s=60.0)
    async with _cache(disk, limits) as cache:
        now_s = time.time()
        segments = {
            "over": _segment(now_s - 60.5),
            "nearly": _segment(now_s - 59.5),
            "fresh": _segment(now_s),
        }
        cache.keep(_KEY, _rendition(made_s=now_s - 60.5), segments, marks=[])
        await _until(lambda: "fresh" in disk.kept())
        assert _KEY not in disk.kept()
        await _until(lambda: disk.known(list(segments)) == {"fresh"})
        assert await cache.segment("fresh") is not None


async def test_what_was_kept_for_longer_than_it_is_now_is_not_known(disk: _Disk) -> None:
    segments = {"segment-one": _segment(time.time())}
    async with _cache(disk) as cache:
        cache.keep(_KEY, _rendition(made_s=time.time()), segments, marks=[])
        await _until(lambda: disk.known(segments) == {"segment-one"})
    limits = CacheLimits(_MIB, _MIB, _MIB, max_age_s=0.05)
    await asyncio.sleep(0.1)
    async with _cache(disk, limits) as cache:
        assert await cache.find(_KEY, list(segments)) == (None, set())


async def test_a_memo_of_a_repeated_sentence_finds_its_own_words(disk: _Disk) -> None:
    async with _cache(disk) as cache:
        memo = SegmentMemo(cache, ["a", "b", "a"], frozenset(), collects=True)
        for number in range(2):
            assert await memo.find(number) is None
            memo.note(number, _segment())
        before = memo.is_complete
        assert await memo.find(2) is not None
        assert (before, memo.is_complete) == (False, True)
        assert set(memo.spoken) == {"a", "b"}
