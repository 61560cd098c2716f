"""What the metrics measure, and that the guide lists all of them."""

import asyncio
import math
import os
import re
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from tts_service import __version__
from tts_service.ops.metrics import Metrics, SpeechMetrics, serve_metrics
from tts_service.ops.resident_memory import resident_bytes

_GUIDE = Path(__file__).parents[2] / "docs" / "metrics.md"
_ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<type>counter|gauge|histogram) \|", re.M)


def _value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    value = registry.get_sample_value(name, labels)
    assert value is not None, f"there is no {name}{labels}"
    return value


def test_the_guide_lists_every_series_once_and_no_other() -> None:
    def read_as(name: str, kind: str) -> tuple[str, str]:
        match kind:
            case "counter":
                return f"{name}_total", kind
            case "info":
                return f"{name}_info", "gauge"
            case _:
                return name, kind

    listed = [(row["name"], row["type"]) for row in _ROW.finditer(_GUIDE.read_text())]
    there = [read_as(family.name, family.type) for family in Metrics().registry.collect()]
    assert sorted(listed) == sorted(there)


def test_every_series_says_what_it_is() -> None:
    for family in Metrics().registry.collect():
        assert len(family.documentation) > 10, family.name


def test_the_version_is_told() -> None:
    assert _value(Metrics().registry, "tts_build_info", version=__version__) == 1


class _Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class _Stream:
    """A stream of a speaking engine whose caller takes each frame after a while."""

    def __init__(self, cache: str = "miss") -> None:
        self.registry = CollectorRegistry()
        self._clock = _Clock()
        metrics = SpeechMetrics(self.registry, clock=self._clock)
        self.meter = metrics.stream(
            engine="e", encoding="mp3", cache=cache, characters=7, arrived_s=self._clock.now_s
        )

    def frame(self, duration_ms: int, *, after_s: float, taken_after_s: float = 0.0) -> None:
        """The next frame comes, `after_s` behind when the one before was taken."""
        self._clock.now_s += after_s
        self.meter.came(duration_ms)
        self._clock.now_s += taken_after_s
        self.meter.taken(duration_ms * 4, duration_ms, self._clock.now_s)

    def underruns(self) -> float:
        return _value(self.registry, "tts_underrun_streams_total", engine="e")


def test_a_stream_is_measured() -> None:
    stream = _Stream()
    stream.frame(100, after_s=0.25)
    assert _value(stream.registry, "tts_streams_open", engine="e") == 1
    stream.frame(200, after_s=0.03)
    stream.meter.close()

    def value(name: str, **labels: str) -> float:
        return _value(stream.registry, name, engine="e", **labels)

    assert value("tts_first_audio_seconds_sum", cache="miss") == 0.25
    assert value("tts_first_audio_seconds_count", cache="miss") == 1
    assert value("tts_frame_gap_seconds_count") == 1
    assert value("tts_frame_gap_seconds_sum") == pytest.approx(0.03)
    assert value("tts_streams_open") == 0
    assert value("tts_characters_total") == 7
    assert value("tts_audio_sent_seconds_total", encoding="mp3") == pytest.approx(0.3)
    assert value("tts_audio_sent_bytes_total", encoding="mp3") == 1200
    assert stream.underruns() == 0


def test_a_stream_without_audio_counts_as_none() -> None:
    stream = _Stream()
    stream.meter.close()
    assert _value(stream.registry, "tts_first_audio_seconds_count", engine="e", cache="miss") == 0
    assert _value(stream.registry, "tts_streams_open", engine="e") == 0


def test_of_what_was_kept_no_gaps_are_measured() -> None:
    stream = _Stream("hit")
    stream.frame(100, after_s=0.001)
    stream.frame(100, after_s=9.0)
    assert stream.registry.get_sample_value("tts_frame_gap_seconds_count", {"engine": "e"}) is None
    assert stream.underruns() == 0


def test_a_stream_that_leaves_its_listener_without_audio_has_one_underrun() -> None:
    stream = _Stream()
    stream.frame(100, after_s=1.0)
    stream.frame(100, after_s=0.09)  # 10 ms before the first is over, so 110 are ahead
    assert stream.underruns() == 0
    stream.frame(100, after_s=0.105)
    assert stream.underruns() == 0
    stream.frame(100, after_s=0.2)
    stream.frame(100, after_s=0.2)
    assert stream.underruns() == 1


def test_a_caller_who_takes_its_time_is_no_underrun() -> None:
    stream = _Stream()
    stream.frame(100, after_s=1.0)
    stream.frame(100, after_s=0.05, taken_after_s=8.0)
    stream.frame(100, after_s=0.09)
    assert stream.underruns() == 0


def test_bytes_without_audio_are_missed_by_nobody() -> None:
    stream = _Stream()
    stream.frame(0, after_s=0.1)  # a file's header
    stream.frame(100, after_s=0.5)
    stream.frame(0, after_s=0.5)  # a file's last bytes
    assert stream.underruns() == 0


def test_a_render_is_measured_while_the_engine_is_waited_for() -> None:
    registry, clock = CollectorRegistry(), _Clock()
    metrics = SpeechMetrics(registry, clock=clock)

    def value(name: str) -> float:
        return _value(registry, name, engine="e")

    with metrics.render("e") as meter:
        assert value("tts_renders_in_progress") == 1
        for _ in range(2):
            clock.now_s += 0.2
            meter.came(audio_s=1.0)
            clock.now_s += 5.0  # its reader is slow
            meter.waits()
        clock.now_s += 0.1
    assert value("tts_renders_in_progress") == 0
    assert value("tts_render_duration_seconds_sum") == pytest.approx(0.5)
    assert value("tts_render_real_time_factor_sum") == pytest.approx(0.25)
    assert value("tts_audio_rendered_seconds_total") == 2


def test_a_render_that_broke_off_tells_no_time() -> None:
    registry = CollectorRegistry()
    metrics = SpeechMetrics(registry)

    def break_off() -> None:
        with metrics.render("e") as meter:
            meter.came(audio_s=1.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert _value(registry, "tts_renders_in_progress", engine="e") == 0
    assert _value(registry, "tts_render_duration_seconds_count", engine="e") == 0
    assert _value(registry, "tts_audio_rendered_seconds_total", engine="e") == 1


@pytest.mark.parametrize(
    ("error", "result"), [(ValueError, "refused"), (asyncio.CancelledError, "abandoned")]
)
def test_an_upload_counts_by_how_it_went(error: type[BaseException], result: str) -> None:
    metrics = Metrics()
    with pytest.raises(error), metrics.uploads.measured():
        raise error
    with metrics.uploads.measured() as upload:
        upload.result = "stored"
    for name in (result, "stored"):
        assert _value(metrics.registry, "tts_upload_duration_seconds_count", result=name) == 1


def test_admission_is_looked_at_when_it_is_read() -> None:
    metrics = Metrics()
    calls = [3.0]
    metrics.watch_admission("e", slots=lambda: 8, active=lambda: calls[0], queued=lambda: 2)
    calls[0] = 4.0
    values = [
        _value(metrics.registry, f"tts_admission_{what}", engine="e")
        for what in ("slots", "active", "queued")
    ]
    assert values == [8, 4, 2]


def test_a_worker_is_in_one_state() -> None:
    metrics = Metrics()
    state = "starting"
    metrics.watch_worker(
        "e",
        states=("starting", "ready"),
        losses=("killed",),
        ready="ready",
        state=lambda: state,
        pid=lambda: None,
    )

    def seen() -> list[float]:
        return [
            _value(metrics.registry, "tts_worker_up", engine="e"),
            _value(metrics.registry, "tts_worker_state", engine="e", state="starting"),
            _value(metrics.registry, "tts_worker_state", engine="e", state="ready"),
        ]

    assert seen() == [0, 1, 0]
    state = "ready"
    assert seen() == [1, 0, 1]
    memory = _value(metrics.registry, "tts_worker_resident_memory_bytes", engine="e")
    assert math.isnan(memory)
    # From 0, or Prometheus would see no increase in the first.
    name = "tts_worker_restarts_total"
    assert _value(metrics.registry, name, engine="e", reason="killed") == 0


def test_the_memory_of_a_process_is_what_the_kernel_says() -> None:
    assert 10e6 < (resident_bytes(os.getpid()) or 0) < 100e9
    assert resident_bytes(None) is None
    assert resident_bytes(2**22 + 1) is None  # no kernel gives so many


def test_the_disk_is_looked_at_and_a_missing_one_is_no_error(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.watch_disk(tmp_path)
    free = _value(metrics.registry, "tts_data_disk_free_bytes")
    assert 0 <= free <= _value(metrics.registry, "tts_data_disk_size_bytes")
    metrics.watch_disk(tmp_path / "gone")
    assert math.isnan(_value(metrics.registry, "tts_data_disk_free_bytes"))


async def test_a_blocked_event_loop_is_seen() -> None:
    metrics = Metrics()
    watching = asyncio.create_task(metrics.watch_event_loop())
    await asyncio.sleep(0)
    time.sleep(0.75)  # noqa: ASYNC251 - that is what is looked for
    assert _value(metrics.registry, "tts_event_loop_silence_seconds") >= 0.75
    end_s = time.monotonic() + 20
    while _value(metrics.registry, "tts_event_loop_lag_seconds_count") < 1:
        assert time.monotonic() < end_s, "it never looked"
        await asyncio.sleep(0.01)
    assert _value(metrics.registry, "tts_event_loop_lag_seconds_sum") >= 0.5
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def test_the_listener_takes_names_and_gives_its_address_back() -> None:
    port, stop = serve_metrics(Metrics(), "localhost", 0)
    try:
        with urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=10) as response:
            assert b"tts_build_info" in response.read()
        with pytest.raises(OSError, match="in use"):
            serve_metrics(Metrics(), "localhost", port)
    finally:
        stop()
    again, stop_again = serve_metrics(Metrics(), "localhost", port)
    stop_again()
    assert again == port
