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

        self._by_method: dict[str, tuple[Gauge, Histogram]] = {}
        self._by_code: dict[tuple[str, str], Counter] = {}

    def began(self, method: str) -> None:
        """Counts a call that has arrived."""
        in_progress, _ = self._of(method)
        in_progress.inc()

    def refused(self, method: str, reason: str) -> None:
        """Counts an error that a caller is told about."""
        self._refusals.labels(method, reason).inc()

    def ended(self, method: str, code: str, duration_s: float) -> None:
        """Counts a call that is over."""
        in_progress, duration = self._of(method)
        duration.observe(duration_s)
        ended = self._by_code.get((method, code))
        if ended is None:
            ended = self._by_code[method, code] = self._ended.labels(method, code)
        ended.inc()
        in_progress.dec()

    def _of(self, method: str) -> tuple[Gauge, Histogram]:
        """What calls of a method count into; looked up once."""
        found = self._by_method.get(method)
        if found is None:
            found = self._in_progress.labels(method), self._duration.labels(method)
            self._by_method[method] = found
        return found
