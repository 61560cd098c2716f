"""Speech: when it begins, whether it flows, how much of it there is."""

import time
from collections.abc import Callable
from types import TracebackType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["RenderMeter", "SpeechMetrics", "StreamMeter"]

# A hit in memory takes a millisecond, the first words of an engine tens of them.
_FIRST_AUDIO_S = (
    *(0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.25, 0.5, 0.75, 1, 2.5, 5, 10),
)
_WAITS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5)
_RENDERS_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)
_REAL_TIME_FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 5, 10)
# Of a stream that was kept all frames are there: nothing of it is waited for.
_KEPT = "hit"


class SpeechMetrics:
    """Makes a meter for each stream and each render. Used in one event loop.

    Args:
        clock: seconds that only ever grow.
    """

    def __init__(
        self, registry: CollectorRegistry, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._first_audio = Histogram(
            "tts_first_audio_seconds",
            "From a request's arrival until the transport had its first audio",
            ["engine", "cache"],
            buckets=_FIRST_AUDIO_S,
            registry=registry,
        )
        self._gap = Histogram(
            "tts_frame_gap_seconds",
            "How long streams that were not kept waited for their next frame",
            ["engine"],
            buckets=_WAITS_S,
            registry=registry,
        )
        self._underrun = Counter(
            "tts_underrun_streams",
            "Streams of which a listener, playing from the first frame on, had to wait for more",
            ["engine"],
            registry=registry,
        )
        self._open = Gauge(
            "tts_streams_open",
            "Streams whose audio has begun and not ended yet",
            ["engine"],
            registry=registry,
        )
        self._sent_seconds = Counter(
            "tts_audio_sent_seconds",
            "Audio that went to callers",
            ["engine", "encoding"],
            registry=registry,
        )
        self._sent_bytes = Counter(
            "tts_audio_sent_bytes",
            "Encoded audio that went to callers",
            ["engine", "encoding"],
            registry=registry,
        )
        self._characters = Counter(
            "tts_characters",
            "Characters of the texts whose audio has begun",
            ["engine"],
            registry=registry,
        )
        self._render_duration = Histogram(
            "tts_render_duration_seconds",
            "How long the engine was waited for, for one segment",
            ["engine"],
            buckets=_RENDERS_S,
            registry=registry,
        )
        self._real_time_factor = Histogram(
            "tts_render_real_time_factor",
            "How long the engine was waited for, over the length of what it spoke",
            ["engine"],
            buckets=_REAL_TIME_FACTORS,
            registry=registry,
        )
        self._renders = Gauge(
            "tts_renders_in_progress",
            "Segments that an engine is rendering",
            ["engine"],
            registry=registry,
        )
        self._rendered_seconds = Counter(
            "tts_audio_rendered_seconds",
            "Audio that came from engines",
            ["engine"],
            registry=registry,
        )
        self._streams: dict[tuple[str, str, str], _StreamSeries] = {}
        self._engines: dict[str, _EngineSeries] = {}

    def stream(
        self, *, engine: str, encoding: str, cache: str, characters: int, arrived_s: float
    ) -> "StreamMeter":
        """Returns the meter of a stream that is about to begin.

        Args:
            cache: where the speech comes from: hit, joined or miss.
            arrived_s: when the request arrived, on the clock.
        """
        key = (engine, encoding, cache)
        series = self._streams.get(key)
        if series is None:
            series = self._streams[key] = _StreamSeries(self, *key)
        return StreamMeter(series, self._clock, characters, arrived_s)

    def render(self, engine: str) -> "RenderMeter":
        """Returns the meter of a render, which begins when its context is entered."""
        series = self._engines.get(engine)
        if series is None:
            series = self._engines[engine] = _EngineSeries(self, engine)
        return RenderMeter(series, self._clock)


class _StreamSeries:
    """What a stream counts into; looked up once."""

    def __init__(self, metrics: SpeechMetrics, engine: str, encoding: str, cache: str) -> None:
        self.first_audio = metrics._first_audio.labels(engine, cache)
        self.gap = None if cache == _KEPT else metrics._gap.labels(engine)
        self.underrun = metrics._underrun.labels(engine)
        self.open = metrics._open.labels(engine)
        self.sent_seconds = metrics._sent_seconds.labels(engine, encoding)
        self.sent_bytes = metrics._sent_bytes.labels(engine, encoding)
        self.characters = metrics._characters.labels(engine)


class _EngineSeries:
    """What a render counts into; looked up once."""

    def __init__(self, metrics: SpeechMetrics, engine: str) -> None:
        self.duration = metrics._render_duration.labels(engine)
        self.real_time_factor = metrics._real_time_factor.labels(engine)
        self.in_progress = metrics._renders.labels(engine)
        self.rendered_seconds = metrics._rendered_seconds.labels(engine)


class StreamMeter:
    """Measures one stream. Has to be closed.

    It keeps an eye on a listener who plays all audio as it comes, from the first on: `_lead_s` is
    what that listener has and hasn't heard yet.
    """

    def __init__(
        self,
        series: _StreamSeries,
        clock: Callable[[], float],
        characters: int,
        arrived_s: float,
    ) -> None:
        self._series = series
        self._clock = clock
        self._characters = characters
        self._last_s = arrived_s
        self._lead_s = 0.0
        self._plays = False
        self._has_begun = False
        self._has_underrun = False
        self._sent_ms = 0
        self._sent_bytes = 0

    def came(self, duration_ms: int) -> None:
        """Notes that the next frame is there."""
        if not self._has_begun or self._series.gap is None:
            return
        now_s = self._clock()
        gap_s = now_s - self._last_s
        self._series.gap.observe(gap_s)
        # A frame without audio, such as a file's last bytes, is missed by nobody.
        if self._plays and duration_ms and gap_s > self._lead_s and not self._has_underrun:
            self._has_underrun = True
            self._series.underrun.inc()
        self._play(now_s)

    def taken(self, size_bytes: int, duration_ms: int, now_s: float) -> None:
        """Notes that the transport has taken the frame, at `now_s` on the clock."""
        if not self._has_begun:
            self._has_begun = True
            self._series.first_audio.observe(now_s - self._last_s)
            self._series.characters.inc(self._characters)
            self._series.open.inc()
        # While the caller took it, it was not for the server to bring more.
        self._play(now_s)
        self._lead_s += duration_ms / 1000
        self._plays = self._plays or duration_ms > 0
        self._sent_ms += duration_ms
        self._sent_bytes += size_bytes

    def close(self) -> None:
        """Counts what was sent."""
        if self._has_begun:
            self._series.open.dec()
            self._series.sent_seconds.inc(self._sent_ms / 1000)
            self._series.sent_bytes.inc(self._sent_bytes)

    def _play(self, now_s: float) -> None:
        self._lead_s = max(0.0, self._lead_s - (now_s - self._last_s))
        self._last_s = now_s


class RenderMeter:
    """Measures how long an engine is waited for while the context is open.

    Not while it waits for us: a render is asked for more only when there is room for it.
    """

    def __init__(self, series: _EngineSeries, clock: Callable[[], float]) -> None:
        self._series = series
        self._clock = clock
        self._since_s = 0.0
        self._waited_s = 0.0
        self._audio_s = 0.0

    def __enter__(self) -> "RenderMeter":
        self._series.in_progress.inc()
        self._since_s = self._clock()
        return self

    def came(self, audio_s: float) -> None:
        """Notes that audio of so many seconds is there."""
        self._waited_s += self._clock() - self._since_s
        self._audio_s += audio_s

    def waits(self) -> None:
        """Notes that the engine is waited for again."""
        self._since_s = self._clock()

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        _exception: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._series.in_progress.dec()
        self._series.rendered_seconds.inc(self._audio_s)
        if exception_type is not None:
            return
        waited_s = self._waited_s + self._clock() - self._since_s
        self._series.duration.observe(waited_s)
        if self._audio_s > 0:
            self._series.real_time_factor.observe(waited_s / self._audio_s)
