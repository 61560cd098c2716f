"""Calls of the public methods: how many, how they ended, how long they took."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["CallMetrics"]

# From a look into the catalog to an audiobook that is read at a listener's pace.
_DURATIONS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class CallMetrics:
    """Counts calls. Methods are those of the contract, so their number is bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter(
            "tts_calls",
            "Calls that have ended, by the status that they ended with",
            ["method", "code"],
            registry=registry,
        )
        self._duration = Histogram(
            "tts_call_duration_seconds",
            "How long calls took, from their arrival to their end",
            ["method"],
            buckets=_DURATIONS_S,
            registry=registry,
        )
        self._in_progress = Gauge(
            "tts_calls_in_progress", "Calls that have not ended yet", ["method"], registry=registry
        )
        self._refusals = Counter(
            "tts_refusals",
            "Calls that ended with an error, by the reason that the caller was told",
            ["method", "reason"],
            registry=registry,
        )

    def began(self, method: str) -> None:
        """Counts a call that has arrived."""
        self._in_progress.labels(method).inc()

    def refused(self, method: str, reason: str) -> None:
        """Counts an error that a caller is told about."""
        self._refusals.labels(method, reason).inc()

    def ended(self, method: str, code: str, duration_s: float) -> None:
        """Counts a call that is over."""
        self._in_progress.labels(method).dec()
        self._ended.labels(method, code).inc()
        self._duration.labels(method).observe(duration_s)
