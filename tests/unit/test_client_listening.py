"""What a listener hears of a call, and what a report makes of many."""

import json
import math
from collections import Counter
from typing import Any

import pytest

from tts_client.load import Listener, Listening, LoadReport, heard_in_time, percentile


def hear(*arrivals: tuple[float, float], end_s: float, error: str = "") -> Listening:
    """A call that was due at 10 s and of which pieces (time, duration in ms) arrived."""
    now_s = 10.0
    listener = Listener("Hi.", 10.0, lambda: now_s, origin_s=4.0)
    for arrived_s, duration_ms in arrivals:
        now_s = arrived_s
        listener.hear(duration_ms)
    now_s = end_s
    return listener.end(error)


def a_listening(**values: Any) -> Listening:
    heard = {
        **{"text": "Hi.", "began_s": 0.0, "first_audio_ms": 50.0, "whole_ms": 90.0},
        **{"audio_ms": 1000.0, "longest_gap_ms": 7.0, "underrun_count": 0, "underrun_ms": 0.0},
        **values,
    }
    return Listening(**heard)


def a_report(*listenings: Listening, **values: Any) -> LoadReport:
    return LoadReport(listenings, **{"elapsed_s": 10.0, "audio_s": 30.0, **values})


def test_a_listener_who_is_never_kept_waiting() -> None:
    heard = hear((10.25, 500), (10.5, 500), (11.25, 250), end_s=12.0)

    assert heard == Listening(
        text="Hi.",
        began_s=6.0,
        first_audio_ms=250.0,
        whole_ms=2000.0,
        audio_ms=1250.0,
        longest_gap_ms=750.0,
        underrun_count=0,
        underrun_ms=0.0,
    )
    assert heard.played_ms == 1500.0


def test_an_underrun_is_that_all_has_been_played_and_more_comes() -> None:
    # Plays 10.5 to 11; waits until 11.25; plays to 12.25, with what came at 11.5 to 13; waits
    # until 13.5. What comes after the last piece is the end, not a wait.
    heard = hear((10.5, 500), (11.25, 1000), (11.5, 750), (13.5, 500), end_s=20.0)

    assert (heard.underrun_count, heard.underrun_ms) == (2, 750.0)
    assert heard.longest_gap_ms == 2000.0
    assert heard.played_ms == 4000.0  # from 10 to 14


def test_a_piece_at_the_last_moment_is_in_time() -> None:
    heard = hear((10.5, 500), (11.0, 500), (11.5, 500), end_s=11.5)
    assert (heard.underrun_count, heard.underrun_ms) == (0, 0.0)


def test_a_piece_without_duration_is_no_audio() -> None:
    heard = hear((10.1, 0), (10.5, 500), (10.9, 0), (11.0, 500), end_s=11.0)
    assert heard.first_audio_ms == 500.0
    assert heard.longest_gap_ms == 500.0


def test_a_call_of_which_nothing_came() -> None:
    heard = hear(end_s=10.5, error="UNAVAILABLE")
    assert heard.first_audio_ms is None
    assert (heard.whole_ms, heard.audio_ms, heard.longest_gap_ms) == (500.0, 0.0, 0.0)
    assert heard.played_ms == 0.0
    assert heard.error == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("count", "percent", "rank"),
    [
        *((1, 0, 1), (1, 50, 1), (1, 100, 1)),
        *((4, 0, 1), (4, 25, 1), (4, 26, 2), (4, 50, 2), (4, 100, 4)),
        *((20, 55, 11), (20, 95, 19), (20, 99, 20), (100, 99, 99), (1000, 99.9, 999)),
    ],
)
def test_percentiles_are_values_that_occurred(count: int, percent: float, rank: int) -> None:
    assert percentile(reversed(range(1, count + 1)), percent) == rank


def test_percentiles_that_there_are_none_of() -> None:
    assert math.isnan(percentile([], 95))
    for percent in (-1, 101, math.nan):
        with pytest.raises(ValueError, match="0 to 100"):
            percentile([1.0], percent)


def test_a_report_counts_and_writes_itself_down() -> None:
    report = a_report(
        a_listening(first_audio_ms=100.0, underrun_count=3),
        a_listening(first_audio_ms=None, error="UNAVAILABLE", message="no"),
        a_listening(first_audio_ms=300.0, longest_gap_ms=20.0, underrun_count=1),
        a_listening(first_audio_ms=200.0, error="INTERNAL"),
        callers=2,
    )

    assert (report.calls, report.underruns, report.audio_per_s) == (4, 2, 3.0)
    assert report.errors == Counter(UNAVAILABLE=1, INTERNAL=1)
    assert [report.first_audio_ms(p) for p in (50, 100)] == [200.0, 300.0]
    assert [report.longest_gap_ms(p) for p in (50, 100)] == [7.0, 20.0]
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["first_audio_ms"] == {"p50": 200, "p95": 300, "p99": 300, "max": 300}
    assert document["errors"] == {"UNAVAILABLE": 1, "INTERNAL": 1}
    assert document["listenings"][1]["message"] == "no"
    assert document["callers"] == 2


def test_statistics_of_nothing_are_nothing() -> None:
    report = a_report(elapsed_s=0.0, audio_s=0.0)
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["audio_per_s"] is None
    assert set(document["first_audio_ms"].values()) == {None}
    assert set(document["longest_gap_ms"].values()) == {None}
    assert (document["calls"], document["errors"], document["underruns"]) == (0, {}, 0)


@pytest.mark.parametrize(
    ("report", "in_time"),
    [
        (a_report(a_listening()), True),
        (a_report(a_listening(first_audio_ms=1000.0)), True),
        (a_report(a_listening(first_audio_ms=1001.0)), False),
        (a_report(*[a_listening()] * 19, a_listening(first_audio_ms=5000.0)), True),
        (a_report(*[a_listening()] * 9, a_listening(first_audio_ms=5000.0)), False),
        (a_report(a_listening(), a_listening(underrun_count=1)), False),
        (a_report(a_listening(), a_listening(error="UNAVAILABLE")), False),
        (a_report(a_listening(), unfinished=1), False),
        (a_report(a_listening(first_audio_ms=None)), False),
        (a_report(), False),
        (a_report(a_listening(), a_listening(), callers=2), True),
        (a_report(a_listening(), callers=2), False),
    ],
)
def test_what_heard_in_time_means(report: LoadReport, in_time: bool) -> None:
    assert heard_in_time(report) is in_time
