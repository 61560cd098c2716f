"""Which text is heard when."""

import pytest

from tts_service.synthesis.timeline import Timeline


@pytest.fixture
def timeline() -> Timeline:
    """Two sentences, a pause after each of them; the first came in two runs."""
    timeline = Timeline()
    timeline.append(100, (0, 5))
    timeline.append(50, (0, 5))
    timeline.append(10, (5, 5))
    timeline.append(40, (6, 9))
    timeline.append(10, (9, 9))
    return timeline


@pytest.mark.parametrize(
    ("samples", "span"),
    [
        pytest.param((0, 20), (0, 5), id="begin"),
        pytest.param((90, 110), (0, 5), id="across runs"),
        pytest.param((149, 150), (0, 5), id="last sample"),
        pytest.param((150, 160), (5, 5), id="pause"),
        pytest.param((160, 170), (6, 9), id="second"),
        pytest.param((140, 160), (0, 5), id="end and pause"),
        pytest.param((150, 161), (6, 9), id="pause and begin"),
        pytest.param((140, 180), (0, 9), id="both"),
        pytest.param((170, 170), (6, 9), id="no samples"),
        pytest.param((205, 400), (9, 9), id="across the end"),
        pytest.param((400, 500), (9, 9), id="past the end"),
    ],
)
def test_a_span_is_what_is_spoken(
    timeline: Timeline, samples: tuple[int, int], span: tuple[int, int]
) -> None:
    assert timeline.span_of(*samples) == span


def test_an_empty_timeline_has_no_span() -> None:
    with pytest.raises(IndexError):
        Timeline().span_of(0, 1)
