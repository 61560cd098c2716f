"""The benchmarks' results: their statistics, their JSON, their tables, and the chart."""

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a file of the folder as the benchmarks do, which are no package."""
    monkeypatch.syspath_prepend(_BENCHMARKS)
    return importlib.import_module


@pytest.fixture
def report(load: Any) -> ModuleType:
    return load("report")


@pytest.fixture
def result(load: Any, report: ModuleType) -> Any:
    def row(name: str, *values: float) -> Any:
        return report.Row(name, {"147 characters, first audio, ms": report.Spread.of(values)})

    return report.Result(
        benchmark="first_audio",
        title="Time to the first audio",
        method="By hand.",
        rows=(row("Piper", 160, 170, 180), row("tts-service, PCM", 40.04)),
        machine=load("machine").Machine.here(),
        settings={"callers": 8},
        notes=("It rained.",),
    )


def test_a_spread_knows_median_and_tenths(report: ModuleType) -> None:
    assert report.Spread.of(range(11)) == report.Spread(5, 1, 9, 11)
    assert report.Spread.of([3.0]) == report.Spread(3, 3, 3, 1)
    with pytest.raises(ValueError, match="nothing"):
        report.Spread.of([])


@pytest.mark.parametrize(
    ("values", "text"),
    [([168.4], "168"), ([39.04], "39.0"), ([0.234], "0.23"), ([-12.34], "-12.3")],
)
def test_a_spread_has_the_digits_that_count(
    report: ModuleType, values: list[float], text: str
) -> None:
    assert str(report.Spread.of(values)) == text


def test_a_result_comes_back_from_its_json(report: ModuleType, result: Any, tmp_path: Path) -> None:
    path = tmp_path / "new" / "first_audio.json"
    result.write_json(path)
    assert report.Result.read_json(path) == result


def test_a_table_leaves_open_what_was_not_measured(report: ModuleType, result: Any) -> None:
    other = report.Row("another", {"gaps": report.Spread.of([0])})
    table = replace(result, rows=(*result.rows, other)).to_markdown()
    assert table.splitlines()[4:9] == [
        "| | 147 characters, first audio, ms | gaps |",
        "| --- | ---: | ---: |",
        "| Piper | 170 (162 to 178) |  |",
        "| tts-service, PCM | 40.0 |  |",
        "| another |  | 0.00 |",
    ]
    assert table.endswith("\nIt rained.\n")


def test_the_machine_is_this_one(load: Any) -> None:
    machine = load("machine").Machine.here()
    assert machine.cores >= 1
    assert machine.memory_gib > 0
    assert machine.cpu
    assert "grpcio" in machine.packages
    assert machine.cpu in str(machine)


def test_the_chart_is_text_and_the_same_each_time(
    load: Any, report: ModuleType, result: Any, tmp_path: Path
) -> None:
    draw = load("chart").draw
    row = report.Row("tts-service, PCM", {"audio, s/s": report.Spread.of([60, 61])})
    throughput = replace(result, benchmark="throughput", rows=(row,))
    first, second = tmp_path / "one.svg", tmp_path / "two.svg"
    draw(result, throughput, first)
    draw(result, throughput, second)
    assert first.read_bytes() == second.read_bytes()
    assert b"dc:date" not in first.read_bytes()
    text = " ".join("".join(ElementTree.parse(first).getroot().itertext()).split())
    for words in ("tts-service, PCM", "170 ms", "60.5 s/s", "for one caller", result.machine.cpu):
        assert words in text
    with pytest.raises(ValueError, match="no column"):
        draw(throughput, throughput, first)


@pytest.mark.parametrize("limit", [0, 1, 2, 9, 10, 19, 47, 60, 1000])
async def test_the_largest_crowd_is_found(load: Any, limit: int) -> None:
    listeners = load("listeners")
    crowds = listeners.crowds_up_to(50)
    asked: list[int] = []

    async def is_held(crowd: int) -> bool:
        asked.append(crowd)
        return crowd <= limit

    assert crowds[0] == 1
    assert crowds[-2] < 50 <= crowds[-1]
    held = await listeners.largest(crowds, is_held)
    assert held == max((crowd for crowd in crowds if crowd <= limit), default=0)
    assert len(asked) == len(set(asked)) <= 6
