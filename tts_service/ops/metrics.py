"""What Prometheus may read of the front."""

import asyncio
from collections.abc import Callable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

__all__ = ["CacheResult", "Metrics", "serve_metrics"]

CacheResult = Literal["memory", "disk", "segments", "joined", "miss", "bypass"]


class Metrics:
    """All series. One for a server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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
        self._cache_size = Gauge(
            "tts_cache_size_bytes", "What the cache holds", ["tier"], registry=self.registry
        )
        self._cache_entries = Gauge(
            "tts_cache_entries", "How many values the cache holds", ["tier"], registry=self.registry
        )
        self._tasks = Gauge(
            "tts_event_loop_tasks",
            "Tasks of the front; more while calls are in progress, and the same again after them",
            registry=self.registry,
        )

    def watch_tasks(self, loop: asyncio.AbstractEventLoop) -> None:
        """Has the tasks of an event loop counted whenever somebody asks."""
        self._tasks.set_function(lambda: len(asyncio.all_tasks(loop)))

    def watch_cache(
        self, tier: str, size_bytes: Callable[[], float], entries: Callable[[], float]
    ) -> None:
        """Has the size of a tier of the cache read whenever somebody asks."""
        self._cache_size.labels(tier).set_function(size_bytes)
        self._cache_entries.labels(tier).set_function(entries)


def serve_metrics(metrics: Metrics, host: str, port: int) -> tuple[int, Callable[[], None]]:
    """Answers Prometheus on `http://HOST:PORT/metrics`, in a thread.

    Returns:
        The port, which differs for port 0, and what ends it.

    Raises:
        OSError: the address can't be listened on.
    """
    server, thread = start_http_server(port, addr=host, registry=metrics.registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return int(server.server_address[1]), stop
