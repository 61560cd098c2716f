"""All series that Prometheus may read of the front."""

import asyncio
import math
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from ... import __version__
from ..resident_memory import resident_bytes
from .calls import CallMetrics
from .speech import SpeechMetrics
from .uploads import UploadMetrics

__all__ = ["CacheResult", "Metrics"]

CacheResult = Literal["memory", "disk", "segments", "joined", "miss", "bypass"]

_LAGS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_LOOK_INTERVAL_S = 0.25


class Metrics:
    """All series. One for a server.

    Labels have few values: engines, methods, statuses, reasons, encodings. Nothing that a caller
    makes up, such as a voice's id, is ever one.

    Attributes:
        registry: what is read.
        calls, speech, uploads: of these subjects.
        shed: calls that were refused for want of room, by engine and reason; reasons that begin
            with `quota_` are a caller's own limits.
        worker_restarts: workers that were lost, by engine and reason.
    """

    def __init__(self) -> None:
        # Prometheus finds out by itself when a counter began anew.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        Info("tts_build", "The version that runs", registry=self.registry).info(
            {"version": __version__}
        )
        self.calls = CallMetrics(self.registry)
        self.speech = SpeechMetrics(self.registry)
        self.uploads = UploadMetrics(self.registry)
        self._make_cache_series()
        self.shed = Counter(
            "tts_shed",
            "Calls that were refused for want of room",
            ["engine", "reason"],
            registry=self.registry,
        )
        self.worker_restarts = Counter(
            "tts_worker_restarts",
            "Workers that were lost and replaced",
            ["engine", "reason"],
            registry=self.registry,
        )
        self._slots = self._gauge(
            "tts_admission_slots", "Calls that an engine takes at once", "engine"
        )
        self._active = self._gauge(
            "tts_admission_active", "Calls that an engine is at work for", "engine"
        )
        self._queued = self._gauge(
            "tts_admission_queued", "Calls that wait for an engine", "engine"
        )
        self._worker_up = self._gauge("tts_worker_up", "Whether the worker is ready", "engine")
        self._worker_state = self._gauge(
            "tts_worker_state", "1 for the state that the worker is in", "engine", "state"
        )
        self._worker_memory = self._gauge(
            "tts_worker_resident_memory_bytes", "What the worker holds in memory", "engine"
        )
        self._voices = self._gauge("tts_voices", "Voices that callers may ask for", "kind")
        self._disk_free = self._gauge(
            "tts_data_disk_free_bytes", "Room on the disk that the data folder lies on"
        )
        self._disk_size = self._gauge(
            "tts_data_disk_size_bytes", "Size of the disk that the data folder lies on"
        )
        self._loop_lag = Histogram(
            "tts_event_loop_lag_seconds",
            "How much later than due the event loop took its turns",
            buckets=_LAGS_S,
            registry=self.registry,
        )
        self._loop_silence = self._gauge(
            "tts_event_loop_silence_seconds", "How long ago the event loop took a turn"
        )

    def watch_cache(
        self, tier: str, size_bytes: Callable[[], float], entries: Callable[[], float]
    ) -> None:
        """Has the size of a tier of the cache read whenever somebody asks."""
        self._cache_size.labels(tier).set_function(size_bytes)
        self._cache_entries.labels(tier).set_function(entries)

    def watch_admission(
        self,
        engine: str,
        *,
        slots: Callable[[], float],
        active: Callable[[], float],
        queued: Callable[[], float],
    ) -> None:
        """Has what an engine is asked to do at once read whenever somebody asks.

        Args:
            slots: how many calls may have the engine at the same time.
            active: how many have it.
            queued: how many wait for it.
        """
        self._slots.labels(engine).set_function(slots)
        self._active.labels(engine).set_function(active)
        self._queued.labels(engine).set_function(queued)

    def watch_worker(
        self,
        engine: str,
        *,
        states: Sequence[str],
        losses: Sequence[str],
        ready: str,
        state: Callable[[], str],
        pid: Callable[[], int | None],
    ) -> None:
        """Has the state of an engine's worker read whenever somebody asks.

        Args:
            states: all that there are.
            losses: reasons why one may be lost. Each is counted from 0, for what Prometheus sees
                first is no increase.
            ready: the one in which it can be used.
            pid: of its process; None while there is none.
        """

        def is_in(wanted: str) -> float:
            return float(state() == wanted)

        self._worker_up.labels(engine).set_function(partial(is_in, ready))
        for reason in losses:
            self.worker_restarts.labels(engine, reason)
        for one in states:
            self._worker_state.labels(engine, one).set_function(partial(is_in, one))

        def held_bytes() -> float:
            size = resident_bytes(pid())
            return math.nan if size is None else size

        self._worker_memory.labels(engine).set_function(held_bytes)

    def watch_voices(self, kind: Literal["engine", "uploaded"], count: Callable[[], float]) -> None:
        """Has the number of voices of a kind read whenever somebody asks."""
        self._voices.labels(kind).set_function(count)

    def watch_disk(self, folder: Path) -> None:
        """Has the room on a folder's disk read whenever somebody asks."""
        self._disk_free.set_function(lambda: _disk_bytes(folder, "free"))
        self._disk_size.set_function(lambda: _disk_bytes(folder, "total"))

    async def watch_event_loop(self) -> None:
        """Looks how late the event loop is, four times a second, until this is cancelled."""
        turn_s = time.monotonic()
        # Read by another thread: it tells of a loop that takes no turn at all.
        self._loop_silence.set_function(lambda: time.monotonic() - turn_s)
        while True:
            await asyncio.sleep(_LOOK_INTERVAL_S)
            now_s = time.monotonic()
            self._loop_lag.observe(max(0.0, now_s - turn_s - _LOOK_INTERVAL_S))
            turn_s = now_s

    def _make_cache_series(self) -> None:
        self.cache_requests = Counter(
            "tts_cache_requests",
            "Calls of Synthesize by where their speech came from",
            ["result"],
            registry=self.registry,
        )
        self.cache_segments = Counter(
            "tts_cache_segments",
            "Segments of calls that were no whole hit, by whether their speech was kept",
            ["result"],
            registry=self.registry,
        )
        self.cache_evictions = Counter(
            "tts_cache_evictions", "Values that had to go for others", registry=self.registry
        )
        self.cache_failures = Counter(
            "tts_cache_failures",
            "What the cache could not do, by what it was; speech goes on without it",
            ["what"],
            registry=self.registry,
        )
        self._cache_size = self._gauge("tts_cache_size_bytes", "What the cache holds", "tier")
        self._cache_entries = self._gauge(
            "tts_cache_entries", "How many values the cache holds", "tier"
        )

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(name, about, labels, registry=self.registry)


def _disk_bytes(folder: Path, what: Literal["free", "total"]) -> float:
    """Room on a disk; not a number if it can't be asked."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return math.nan
    return float(usage.free if what == "free" else usage.total)
