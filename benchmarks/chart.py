"""Draws the README's chart from what `first_audio.py` and `throughput.py` have written.

    python benchmarks/chart.py FIRST_AUDIO.json THROUGHPUT.json CHART.svg

The same figures give the same bytes. Text stays text. The chart has a background of its own, so
that it can be read on a light page and on a dark one.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report import Result, Spread

__all__ = ["draw"]

_OURS, _THEIRS = "#0b7a75", "#8a94a6"
_INK, _PAPER = "#1f2733", "#ffffff"
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tts-service",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.bottom": False,
}


@dataclass(frozen=True, slots=True)
class _Panel:
    """Bars of one column.

    Attributes:
        column: its name in the result.
        title: of the panel; says which way is better.
        unit: behind each bar's number.
    """

    column: str
    title: str
    unit: str


def main() -> int:
    """Read two results and write the chart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first_audio", type=Path)
    parser.add_argument("throughput", type=Path)
    parser.add_argument("chart", type=Path)
    options = parser.parse_args()
    draw(Result.read_json(options.first_audio), Result.read_json(options.throughput), options.chart)
    return 0


def draw(first_audio: Result, throughput: Result, path: Path) -> None:
    """Writes the chart as SVG; makes the folder if it is missing.

    Raises:
        ValueError: a result has no column for its panel.
    """
    left = _Panel(
        _column(first_audio, "first audio, ms"), "Until the first audio\n(less is better)", "ms"
    )
    right = _Panel(
        _column(throughput, "audio, s/s"),
        "Seconds of audio a second, all cores\n(more is better)",
        "s/s",
    )
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 3.9), facecolor=_PAPER, layout="constrained")
        first, second = figure.subplots(1, 2)
        _bars(first, first_audio, left)
        _bars(second, throughput, right)
        figure.suptitle(
            f"One voice, one machine: {left.column.partition(',')[0]} for one caller, "
            f"and {throughput.settings['callers']} callers at once",
            fontweight="bold",
        )
        machine = throughput.machine
        figure.supxlabel(
            f"Medians; lines from the 10th to the 90th percentile. {machine}. `make bench`",
            fontsize=8,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _column(result: Result, ending: str) -> str:
    """The first column that ends so."""
    for column in result.rows[0].figures:
        if column.endswith(ending):
            return column
    raise ValueError(f"{result.benchmark} has no column {ending!r}")


def _bars(axes: Axes, result: Result, panel: _Panel) -> None:
    names = [row.name for row in result.rows]
    spreads = [row.figures[panel.column] for row in result.rows]
    medians = [spread.median for spread in spreads]
    colours = [_OURS if name.startswith("tts-service") else _THEIRS for name in names]
    axes.barh(names, medians, color=colours, xerr=_whiskers(spreads), ecolor=_INK, height=0.7)
    axes.invert_yaxis()
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    room = 0.02 * max(spread.p90 for spread in spreads)
    for place, spread in enumerate(spreads):
        axes.text(
            max(spread.p90, spread.median) + room,
            place,
            f"{spread.median:.3g} {panel.unit}",
            va="center",
        )
    axes.set_xlim(0, 1.25 * max(spread.p90 for spread in spreads))


def _whiskers(spreads: Sequence[Spread]) -> list[list[float]]:
    below = [spread.median - spread.p10 for spread in spreads]
    above = [spread.p90 - spread.median for spread in spreads]
    return [below, above]


if __name__ == "__main__":
    sys.exit(main())
