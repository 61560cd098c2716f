"""What was spoken, kept: finished responses in memory and on disk, segments on disk.

All work on the disk is done by threads. Whatever goes wrong there costs a hit, never a call.
"""

import asyncio
import math
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import diskcache
import structlog

from ..cache import DiskTier, MemoryTier
from ..ops.metrics import CacheResult, Metrics
from .marks import content_mark, is_content_mark
from .rendition import Rendition
from .segment_speech import SegmentSpeech

__all__ = ["CacheLimits", "SpeechCache"]

_READERS = 4
_TOUCH_INTERVAL_S = 2.0
_MAX_TOUCHED = 10_000
_SWEEP_INTERVAL_S = 3600.0
# How long nothing is written after the disk failed.
_PAUSE_S = 60.0
_FIGURE_TIMEOUT_S = 5.0
_DISK_ERRORS = (OSError, sqlite3.Error, diskcache.Timeout)

T = TypeVar("T")
Kept = TypeVar("Kept", Rendition, SegmentSpeech)


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Bounds of what is kept.

    Attributes:
        memory_bytes: of the responses in memory.
        entry_bytes: of one response, and of the segments of one response. What is larger is not
            kept.
        waiting_bytes: of what waits for the disk. What is more is not kept.
        max_age_s: how long something is kept; None for as long as there is room.
    """

    memory_bytes: int
    entry_bytes: int
    waiting_bytes: int
    max_age_s: float | None


class SpeechCache:
    """Owns both tiers and the threads of the disk. Used in one event loop.

    Args:
        disk: None keeps nothing at all.
    """

    def __init__(self, disk: DiskTier | None, limits: CacheLimits, metrics: Metrics) -> None:
        self.limits = limits
        self._disk = disk
        self._metrics = metrics
        self._memory: MemoryTier[Rendition] = MemoryTier(0 if disk is None else limits.memory_bytes)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="cache-read")
        # One, so that what is dropped for good can't be written behind.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="cache-write")
        self._writes: set[asyncio.Future[None]] = set()
        self._waiting_bytes = 0
        self._touched: dict[str, float] = {}
        self._paused_until_s = 0.0
        self._sweep_due_s = 0.0
        self._forgotten_count = 0
        metrics.watch_cache("memory", lambda: self._memory.size_bytes, lambda: len(self._memory))
        if disk is not None:
            metrics.watch_cache(
                "disk",
                lambda: self._figure(lambda: disk.size_bytes),
                lambda: self._figure(lambda: disk.count),
            )

    @property
    def is_on(self) -> bool:
        """Whether anything is kept."""
        return self._disk is not None

    def recall(self, key: str) -> Rendition | None:
        """Returns a response that is in memory."""
        found = self._memory.get(key)
        if found is None or self._is_over(found.made_s):
            return None
        self._touch(key)
        return found

    async def find(
        self, key: str, segment_keys: Sequence[str]
    ) -> tuple[Rendition | None, Set[str]]:
        """Looks on disk for a response, and for those of its segments that are there."""
        disk = self._disk
        if disk is None:
            return None, frozenset()

        def look() -> tuple[Rendition | None, Set[str]]:
            if (found := self._read(disk, key, Rendition.from_bytes)) is not None:
                return found, frozenset()
            # Rows end by the limit under which they were written, which may have been another.
            age_s = self.limits.max_age_s
            after_s = 0.0 if age_s is None else time.time() - age_s
            return None, disk.known(segment_keys, stored_after_s=after_s)

        forgotten_count = self._forgotten_count
        found, known = await self._attempt("read", self._readers, look) or (None, frozenset())
        if found is not None:
            # Neither what was dropped while it was read goes back into memory, nor what was
            # replaced.
            if forgotten_count == self._forgotten_count and self._memory.get(key) is None:
                self._memory.put(key, found, found.size_bytes)
            self._touch(key)
        return found, known

    async def segment(self, key: str) -> SegmentSpeech | None:
        """Returns the speech of a segment, or None."""
        disk = self._disk
        if disk is None:
            return None
        found = await self._attempt(
            "read", self._readers, lambda: self._read(disk, key, SegmentSpeech.from_bytes)
        )
        if found is not None:
            self._touch(key)
        return found

    def keep(
        self,
        key: str,
        rendition: Rendition,
        segments: Mapping[str, SegmentSpeech],
        *,
        marks: Sequence[str],
    ) -> None:
        """Keeps a response and the segments that were spoken for it.

        In memory at once, on disk soon.
        """
        disk = self._disk
        if disk is None or rendition.size_bytes > self.limits.entry_bytes:
            return
        self._memory.put(key, rendition, rendition.size_bytes)
        size = rendition.size_bytes + sum(speech.size_bytes for speech in segments.values())
        if time.monotonic() < self._paused_until_s:
            return
        if self._waiting_bytes + size > self.limits.waiting_bytes:
            self._metrics.cache_failures.labels("waiting").inc()
            return
        touched, self._touched = self._touched, {}

        def write() -> Set[str]:
            # The uses before this, so that the right ones go for it.
            missing = disk.touch(touched)
            gone = 0
            kept: dict[str, Rendition | SegmentSpeech] = {key: rendition, **segments}
            for each_key, speech in kept.items():
                age_s = self._remaining_s(speech.made_s)
                if age_s is None or age_s > 0:
                    gone += disk.put(each_key, speech.to_bytes(), marks=marks, max_age_s=age_s)
            self._metrics.cache_evictions.inc(gone)
            return missing

        self._in_background(write, size)

    async def forget_content(self, fingerprint: str) -> None:
        """Drops what an uploaded voice of this content fingerprint has spoken.

        If the disk fails, it goes as soon as the disk works again.
        """
        # What else is in memory comes back from the disk.
        self._memory.clear()
        disk, mark = self._disk, content_mark(fingerprint)
        if disk is None:
            return
        dropped = await self._attempt("drop", self._writer, lambda: disk.drop_marked(mark))
        if dropped is None:
            self._sweep_due_s = 0.0
        # What was read meanwhile.
        self._forgotten_count += 1
        self._memory.clear()

    async def run(self, known_contents: Callable[[], Set[str]]) -> None:
        """Keeps the tiers in step until this is cancelled.

        Args:
            known_contents: returns the fingerprints of all uploaded voices there are.
        """
        disk = self._disk
        if disk is None:
            return
        while True:
            if time.monotonic() >= max(self._sweep_due_s, self._paused_until_s):
                self._sweep_due_s = time.monotonic() + _SWEEP_INTERVAL_S
                sweep = partial(_sweep, disk, known_contents())
                if await self._attempt("sweep", self._writer, sweep) is None:
                    self._sweep_due_s = 0.0
            await asyncio.sleep(_TOUCH_INTERVAL_S)
            await self._write_touches(disk)

    async def close(self) -> None:
        """Finishes what waits for the disk, and closes it. Nobody uses it any more."""
        if self._writes:
            await asyncio.wait(self._writes)
        if self._disk is not None:
            await self._write_touches(self._disk)
            self._disk.close()
        self._readers.shutdown()
        self._writer.shutdown()

    def count(self, result: CacheResult) -> None:
        """Counts a call by where its speech came from."""
        self._metrics.cache_requests.labels(result).inc()

    def count_segment(self, *, was_kept: bool) -> None:
        """Counts a segment that was looked for by itself."""
        self._metrics.cache_segments.labels("hit" if was_kept else "miss").inc()

    def _figure(self, read: Callable[[], float]) -> float:
        """A figure of the disk, for whichever thread asks; not a number while the disk fails.

        It is read by a thread that stays. Each thread has a connection of its own to the database,
        and SQLite keeps the descriptors of one that is closed while others are open.
        """
        try:
            return self._readers.submit(read).result(_FIGURE_TIMEOUT_S)
        except (*_DISK_ERRORS, RuntimeError):  # or the threads have ended
            return math.nan

    def _read(self, disk: DiskTier, key: str, parse: Callable[[bytes], Kept]) -> Kept | None:
        data = disk.get(key)
        if data is None:
            return None
        try:
            found = parse(data)
        except ValueError as error:
            structlog.get_logger().warning("a cached value is broken", key=key, problem=str(error))
            disk.drop([key])
            return None
        return None if self._is_over(found.made_s) else found

    def _remaining_s(self, made_s: float) -> float | None:
        """How much longer speech of this age is kept: its row ends when it does."""
        age_s = self.limits.max_age_s
        return None if age_s is None else made_s + age_s - time.time()

    def _is_over(self, made_s: float) -> bool:
        remaining_s = self._remaining_s(made_s)
        return remaining_s is not None and remaining_s < 0

    def _touch(self, key: str) -> None:
        if len(self._touched) < _MAX_TOUCHED:
            self._touched[key] = time.time()

    async def _write_touches(self, disk: DiskTier) -> None:
        touched, self._touched = self._touched, {}
        if not touched or time.monotonic() < self._paused_until_s:
            return
        await self._drop_missing(self._attempt("touch", self._writer, lambda: disk.touch(touched)))

    async def _drop_missing(self, touching: Awaitable[Set[str] | None]) -> None:
        """Drops from memory what turns out to be gone from the disk: by hand, or by another
        process."""
        self._memory.drop(await touching or ())

    def _in_background(self, write: Callable[[], Set[str]], size_bytes: int) -> None:
        self._waiting_bytes += size_bytes
        # In the writer's queue before this returns: a drop that comes later comes behind it.
        attempt = self._attempt("write", self._writer, write)
        writing = asyncio.ensure_future(self._drop_missing(attempt))
        self._writes.add(writing)

        def done(_: asyncio.Future[None]) -> None:
            self._writes.discard(writing)
            self._waiting_bytes -= size_bytes

        writing.add_done_callback(done)

    def _attempt(
        self, what: str, pool: ThreadPoolExecutor, work: Callable[[], T]
    ) -> Coroutine[Any, Any, T | None]:
        """Has a thread do some work on the disk, from this moment on.

        If the disk fails, nothing is written for a while, and the result is None.
        """
        return self._outcome(what, asyncio.get_running_loop().run_in_executor(pool, work))

    async def _outcome(self, what: str, working: Awaitable[T]) -> T | None:
        try:
            return await working
        except _DISK_ERRORS as error:
            self._metrics.cache_failures.labels(what).inc()
            if time.monotonic() >= self._paused_until_s:
                structlog.get_logger().warning(
                    "the cache's disk fails; speech goes on, and nothing is kept for a while",
                    what=what,
                    problem=f"{type(error).__name__}: {error}",
                    pause_s=_PAUSE_S,
                )
            self._paused_until_s = time.monotonic() + _PAUSE_S
            return None


def _sweep(disk: DiskTier, contents: Set[str]) -> int:
    """Removes what nobody would miss: files of no entry, and the speech of voices that are gone.

    Returns:
        How much of such speech there was.
    """
    strays = disk.sweep()
    marks = {mark for entry in disk.entries() for mark in entry.marks}
    gone = {mark for mark in marks if is_content_mark(mark)} - set(map(content_mark, contents))
    dropped = sum(map(disk.drop_marked, gone))
    disk.drop_excess()
    if strays or dropped:
        structlog.get_logger().info("cache swept", stray_files=len(strays), dropped=dropped)
    return dropped
