"""The dashboard and the alerts ask for what there is, in words that Grafana knows."""

import json
import re
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.metric_queries import (
    DASHBOARD,
    GUIDE,
    Query,
    alert_queries,
    alerts,
    dashboard_queries,
    listed_series,
    panels,
    selectors,
)

_TEXT = DASHBOARD.read_text()
_ALERT_ROW = re.compile(r"^\| `(Tts\w+)` \| (\w+) \|", re.M)


def _queries() -> list[Any]:
    queries = [*dashboard_queries(), *alert_queries()]
    return [pytest.param(query, id=f"{query.where} {n}") for n, query in enumerate(queries)]


@pytest.mark.parametrize("query", _queries())
def test_what_is_asked_for_is_listed_with_the_labels_it_is_asked_by(query: Query) -> None:
    listed = listed_series()
    found = list(selectors(query.expression))
    assert found
    for name, labels in found:
        assert name in listed, f"there is no series {name}"
        assert labels <= listed[name], f"{name} has no {labels - listed[name]}"
    # By what is grouped, all that is summed has to have.
    for names in re.findall(r"\bby \(([^)]*)\)", query.expression):
        grouped = {name.strip() for name in names.split(",")}
        assert grouped <= set.union(*(listed[name] for name, _ in found))


def test_every_series_of_ours_is_on_the_dashboard() -> None:
    shown = {name for query in dashboard_queries() for name, _ in selectors(query.expression)}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in listed_series()}
    silence = {"tts_event_loop_silence_seconds"}  # it is for the alert alone
    assert {name for name in ours if name.startswith("tts_")} - shown == silence


def test_grafanas_own_types_know_all_that_the_dashboard_says() -> None:
    """What they read and write again is the same: they drop what they don't know."""
    register_default_plugins()
    given = json.loads(_TEXT)
    read = json.loads(json.dumps(Dashboard.from_json(given), cls=JSONEncoder))
    assert _unknown(given, read) == []


def _unknown(given: Any, read: Any, path: str = "") -> list[str]:
    """Paths of `given` that aren't in `read` with the same value."""
    if isinstance(given, dict) and isinstance(read, dict):
        return [
            problem
            for key, value in given.items()
            for problem in _unknown(value, read.get(key), f"{path}.{key}")
        ]
    if isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        return [
            problem
            for number, (one, other) in enumerate(zip(given, read, strict=True))
            for problem in _unknown(one, other, f"{path}[{number}]")
        ]
    return [] if given == read else [f"{path}: {given!r} is read as {read!r}"]


def test_panels_have_a_place_of_their_own_a_unit_and_a_data_source_to_choose() -> None:
    taken: set[tuple[int, int]] = set()
    assert len({panel["id"] for panel in panels()}) == len(panels())
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] == "row":
            continue
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}
        if panel["type"] != "heatmap":
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_all_variables_are_defined_and_used() -> None:
    defined = {variable["name"] for variable in json.loads(_TEXT)["templating"]["list"]}
    used = {name for name in re.findall(r"\$\{?(\w+)", _TEXT) if not name.startswith("__")}
    assert used == defined


def test_alerts_say_what_is_wrong_and_what_to_do() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description", "action"}, rule["alert"]
        assert all(len(text) > 20 for text in rule["annotations"].values()), rule["alert"]


def test_the_guide_lists_every_alert() -> None:
    listed = _ALERT_ROW.findall(GUIDE.read_text())
    assert listed == [(rule["alert"], rule["labels"]["severity"]) for rule in alerts()]
