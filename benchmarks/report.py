"""What a benchmark has found: rows of figures with their spread, as JSON and as Markdown."""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from machine import Machine

__all__ = ["Result", "Row", "Spread"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Many measurements of one thing.

    Attributes:
        median: of them all.
        p10: a tenth is not above it.
        p90: a tenth is not below it.
        count: how many there are.
    """

    median: float
    p10: float
    p90: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """The spread of these values, interpolated between neighbours.

        Raises:
            ValueError: there is none.
        """
        ordered = sorted(values)
        if not ordered:
            raise ValueError("nothing was measured")
        return cls(
            statistics.median(ordered), _share(ordered, 0.1), _share(ordered, 0.9), len(ordered)
        )

    def __str__(self) -> str:
        """The median, and where there are more than one also 10th and 90th percentile."""
        if self.count == 1:
            return _short(self.median)
        return f"{_short(self.median)} ({_short(self.p10)} to {_short(self.p90)})"


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured, and its figures by column; columns may be missing.

    Attributes:
        name: as readers see it.
        figures: with the unit in the column's name.
    """

    name: str
    figures: Mapping[str, Spread]


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark has found.

    Attributes:
        benchmark: its file's name without the suffix.
        title: what is measured, as a heading.
        method: how, in sentences; what somebody has to know who doubts the figures.
        rows: of one table.
        machine: where.
        settings: what the run was asked for, and what it chose itself.
        notes: findings that fit into no table, each a sentence.
    """

    benchmark: str
    title: str
    method: str
    rows: tuple[Row, ...]
    machine: Machine
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def write_json(self, path: Path) -> None:
        """Writes all of it; makes the folder if it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read_json(cls, path: Path) -> "Result":
        """Reads what `write_json` wrote.

        Raises:
            KeyError, TypeError: it is the JSON of something else.
        """
        fields = json.loads(path.read_text())
        fields["machine"] = Machine(**fields["machine"])
        fields["notes"] = tuple(fields["notes"])
        fields["rows"] = tuple(
            Row(
                row["name"],
                {column: Spread(**spread) for column, spread in row["figures"].items()},
            )
            for row in fields["rows"]
        )
        return cls(**fields)

    def to_markdown(self) -> str:
        """A heading, the method, a table and the notes."""
        columns = list(dict.fromkeys(column for row in self.rows for column in row.figures))
        lines = [f"## {self.title}", "", self.method, ""]
        lines.append("| | " + " | ".join(columns) + " |")
        lines.append("| --- |" + " ---: |" * len(columns))
        for row in self.rows:
            cells = (str(row.figures.get(column, "")) for column in columns)
            lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
        lines += [line for note in self.notes for line in ("", note)]
        return "\n".join(lines) + "\n"


def _share(ordered: list[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _short(value: float) -> str:
    """Three digits that count, and no more than two behind the point."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
