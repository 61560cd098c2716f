"""Which text is heard when."""

import pytest

from tts_service.synthesis.timeline import Timeline


def test_spans_are_found_by_sample() -> None:
    timeline = Timeline()
    timeline.append(100, (0, 5))
    timeline.append(50, (0, 5))
    timeline.append(10, (6, 9))
    assert [timeline.span_at(n) for n in (0, 149, 150, 159, 10_000)] == [
        (0, 5),
        (0, 5),
        (6, 9),
        (6, 9),
        (6, 9),
    ]


def test_an_empty_timeline_has_no_span() -> None:
    with pytest.raises(IndexError):
        Timeline().span_at(0)
